"""Rules that hold for any text and script, checked on the formats without a server."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.provider import answers, chat, messages, responses
from deploy.local.provider.answers import Ask
from deploy.local.provider.directives import CallScript, InvalidDirectiveError, parse, without
from deploy.local.provider.wire import GenerationRoute, ScriptedCall, StreamPlan

FORMATS = (chat.ENDPOINT, responses.ENDPOINT, messages.ENDPOINT)

scripts = st.builds(
    CallScript,
    chunks=st.none() | st.integers(1, 60),
    text=st.none() | st.text(min_size=1, max_size=80),
    tool_call=st.none() | st.just("look_up"),
    input_tokens=st.none() | st.integers(0, 200),
    output_tokens=st.none() | st.integers(0, 200),
    cached_tokens=st.integers(0, 200),
    cache_write_tokens=st.integers(0, 200),
    cache_write_1h_tokens=st.integers(0, 200),
    reasoning_tokens=st.integers(0, 200),
)
asks = st.builds(
    Ask,
    model=st.just("m"),
    prompt=st.text(max_size=80).filter(lambda text: "[[" not in text),
    characters=st.integers(0, 10_000),
    stream=st.just(True),
    may_call_tools=st.booleans(),
    output_limit=st.none() | st.integers(1, 40),
)


def call_of(endpoint: GenerationRoute, ask: Ask, script: CallScript) -> ScriptedCall:
    answer = answers.compose(ask, script)
    tokens = answers.scripted_tokens(ask, script, answer, inclusive=endpoint.family == "openai")
    return ScriptedCall(id="id", created=0, ask=ask, script=script, answer=answer, tokens=tokens)


def whole_of(endpoint: GenerationRoute, body: dict[str, Any]) -> str:
    """The text of a JSON answer, or its tool call's arguments."""
    if endpoint is chat.ENDPOINT:
        message = body["choices"][0]["message"]
        if message["content"] is None:
            return str(message["tool_calls"][0]["function"]["arguments"])
        return str(message["content"])
    if endpoint is responses.ENDPOINT:
        item = body["output"][-1]
        return str(item["content"][0]["text"] if "content" in item else item["arguments"])
    block = body["content"][-1]
    return str(block["text"]) if "text" in block else encode_compactly(block["input"])


def encode_compactly(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def joined_deltas(endpoint: GenerationRoute, plan: StreamPlan) -> str:
    pieces: list[str] = []
    for frame in plan.deltas:
        data = json.loads(frame.decode().split("data: ", 1)[1])
        if endpoint is chat.ENDPOINT:
            delta = data["choices"][0]["delta"]
            tool = "tool_calls" in delta
            piece = delta["tool_calls"][0]["function"]["arguments"] if tool else delta["content"]
        elif endpoint is responses.ENDPOINT:
            piece = data["delta"]
        else:
            piece = data["delta"]["text" if "text" in data["delta"] else "partial_json"]
        pieces.append(piece)
    return "".join(pieces)


@pytest.mark.parametrize("endpoint", FORMATS, ids=lambda endpoint: endpoint.path)
@given(ask=asks, script=scripts)
def test_the_deltas_joined_are_the_json_answer(
    endpoint: GenerationRoute, ask: Ask, script: CallScript
) -> None:
    call = call_of(endpoint, ask, script)
    assert endpoint.stream is not None
    plan, body = endpoint.stream(call), json.loads(endpoint.reply(call).body)
    whole = whole_of(endpoint, body)
    assert joined_deltas(endpoint, plan) == whole
    assert whole != ""


@given(ask=asks, script=scripts)
def test_as_many_deltas_as_asked_for(ask: Ask, script: CallScript) -> None:
    answer = answers.compose(ask, script)
    if script.chunks is None or answer.tool is not None:
        return
    limit = None if script.output_tokens is not None else ask.output_limit
    assert len(answer.pieces) == (script.chunks if limit is None else min(script.chunks, limit))


@given(ask=asks, script=scripts, inclusive=st.booleans())
def test_token_classes_sum_to_what_was_scripted(
    ask: Ask, script: CallScript, inclusive: bool
) -> None:
    answer = answers.compose(ask, script)
    tokens = answers.scripted_tokens(ask, script, answer, inclusive=inclusive)
    assert all(number >= 0 for number in msgspec.structs.astuple(tokens))
    if script.output_tokens is not None:
        assert tokens.output_total == script.output_tokens
    if script.input_tokens is not None:
        reported = tokens.input_total if inclusive else tokens.input_text
        assert reported == script.input_tokens
    if not inclusive:
        assert tokens.cache_read == script.cached_tokens
        assert tokens.cache_write == max(script.cache_write_tokens, script.cache_write_1h_tokens)


def test_the_same_request_gets_the_same_answer() -> None:
    ask = Ask(model="m", prompt="Hello there", characters=11)
    first, second = (call_of(chat.ENDPOINT, ask, parse("")) for _ in range(2))
    assert first == second
    assert first.tokens.input_text == 3


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello", CallScript()),
        ("a [[stand-in chunks=3]] b", CallScript(chunks=3)),
        (
            "[[stand-in chunks='3', text=\"two ]] words\"]]",
            CallScript(chunks=3, text="two ]] words"),
        ),
        ("[[stand-in no_usage garbage=false]]", CallScript(no_usage=True)),
        ("[[stand-in chunks=3]][[stand-in chunks=4 status=429]]", CallScript(chunks=4, status=429)),
        ("[[stand-in\n  chunks = 3;\n  retry_after=1 ]]", CallScript(chunks=3, retry_after=1)),
    ],
)
def test_directives_are_parsed(text: str, script: CallScript) -> None:
    assert parse(text) == script


def test_a_setting_without_a_value_is_a_flag_only() -> None:
    with pytest.raises(InvalidDirectiveError, match="chunks"):
        parse("[[stand-in chunks]]")


def test_the_echo_leaves_directives_out() -> None:
    assert without("Hi [[stand-in chunks=3]]there") == "Hi there"
