"""Requests of OpenAI's clients that go to OpenAI are, once translated, what they were."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.upstream.translation.conversation import Turn
from services.gateway.upstream.translation.parts import Result, ToolCall
from tests.unit.translation.chat.bodies import OPENAI, read, write

_words = st.text('ab é😀"\\\n', min_size=1, max_size=8)
_marks = st.sampled_from([{}, {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}])
_text_parts = st.builds(lambda text, mark: {"type": "text", "text": text, **mark}, _words, _marks)
_image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA=", "detail": "low"}}
_file = {
    "type": "file",
    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAA="},
}
_audio = {"type": "input_audio", "input_audio": {"data": "AAA=", "format": "wav"}}
_parts = st.one_of(_text_parts, st.sampled_from([_image, _file, _audio]))
_content = st.one_of(_words, st.lists(_parts, min_size=1, max_size=3))


def _message(role: str, content: Any, **members: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **members}


@st.composite
def _exchanges(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A user's turn, and what the assistant makes of it, with the results of its calls."""
    first = draw(st.integers(0, 1_000_000))
    calls = [
        {"id": f"c{first}_{n}", "type": "custom", "custom": {"name": "g", "input": text}}
        if is_custom
        else {
            "id": f"c{first}_{n}",
            "type": "function",
            "function": {"name": "f", "arguments": f'{{"a": "{len(text)}"}}'},
        }
        for n, (text, is_custom) in enumerate(
            draw(st.lists(st.tuples(_words, st.booleans()), max_size=2))
        )
    ]
    assistant = _message("assistant", draw(_words))
    if draw(st.booleans()):
        assistant["refusal"] = draw(_words)
    if calls:
        assistant["tool_calls"] = calls
    results = [_message("tool", draw(_words), tool_call_id=call["id"]) for call in calls]
    return [_message("user", draw(_content)), assistant, *results]


def _placeless(value: Any) -> Any:
    """Without where the client put it: system messages in front become one."""
    if isinstance(value, msgspec.Struct):
        kind = type(value).__name__
        members = ((n, getattr(value, n)) for n in value.__struct_fields__ if n != "at")
        return kind, {name: _placeless(member) for name, member in members}
    if isinstance(value, tuple):
        return [_placeless(each) for each in value]
    return bytes(value) if isinstance(value, msgspec.Raw) else value


@given(
    st.lists(_exchanges(), min_size=1, max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.floats(0, 2),
            "stop": st.lists(_words, min_size=1, max_size=4),
            "max_completion_tokens": st.integers(1, 100),
            "reasoning_effort": st.sampled_from(["none", "low", "xhigh"]),
            "verbosity": st.sampled_from(["low", "high"]),
            "n": st.integers(1, 3),
            "user": _words,
            "service_tier": st.sampled_from(["auto", "flex"]),
            "store": st.booleans(),
            "top_logprobs": st.integers(1, 5),
        },
    ),
)
def test_openai_to_openai(exchanges: list[list[dict[str, Any]]], options: dict[str, Any]) -> None:
    messages = [_message("system", "s"), *(each for exchange in exchanges for each in exchange)]
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
        {"type": "custom", "custom": {"name": "g"}},
    ]
    request = read(messages=messages, tools=tools, **options)
    body = write(request, OPENAI)
    again = read(**body)
    # Unsaid, it is kept by OpenAI, so it is told not to.
    assert again.labels.keeps is bool(options.get("store"))
    labels = msgspec.structs.replace(again.labels, keeps=request.labels.keeps)
    again = msgspec.structs.replace(again, labels=labels)
    sampling = msgspec.structs.replace(
        request.sampling, wants_logprobs=again.sampling.wants_logprobs
    )
    request = msgspec.structs.replace(request, sampling=sampling)
    assert _placeless(_developed(again)) == _placeless(_developed(request))


def _developed(request: Any) -> Any:
    """OpenAI's word for who instructs is `developer`; what is once written stays as it is."""
    turns = tuple(
        msgspec.structs.replace(turn, role="developer") if turn.role == "system" else turn
        for turn in request.turns
    )
    assert all(isinstance(turn, Turn) for turn in turns)
    return msgspec.structs.replace(request, turns=turns)


@given(st.lists(_exchanges(), min_size=1, max_size=3))
def test_every_call_keeps_its_result(exchanges: list[list[dict[str, Any]]]) -> None:
    messages = [each for exchange in exchanges for each in exchange]
    parts = [part for turn in read(messages=messages).turns for part in turn.parts]
    call_ids = [part.id for part in parts if isinstance(part, ToolCall)]
    result_ids = [part.call_id for part in parts if isinstance(part, Result)]
    assert call_ids == result_ids
