"""Answers that a provider may give, as it writes them whole and streamed."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.engine import LANGUAGES
from services.gateway.upstream.translation.names import ToolNames
from services.gateway.upstream.translation.parts import (
    Part,
    Refusal,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.reply import AnswerContext, Reply, Stop, StopKind
from services.gateway.upstream.translation.sequencer import Sequencer
from tests.unit.translation.responses.streams import say

# The model that answers in a format, as its deployment is named, and its family.
TARGETS: dict[ClientFormat, tuple[str, str]] = {
    "chat": ("openai/gpt-4o", "openai"),
    "messages": ("anthropic/claude-sonnet-4-5", "anthropic"),
    "responses": ("openai/gpt-5.1", "openai"),
}
BODIES: dict[ClientFormat, dict[str, Any]] = {
    "chat": {"model": "asked", "messages": [{"role": "user", "content": "q"}]},
    "messages": {
        "model": "asked",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "q"}],
    },
    "responses": {"model": "asked", "input": "q", "store": False},
}
_STOPS: dict[ClientFormat, tuple[StopKind, ...]] = {
    "chat": ("end", "limit", "blocked"),
    "messages": ("end", "limit", "window", "sequence", "blocked", "pause"),
    "responses": ("end", "limit", "blocked"),
}
_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
_values = st.one_of(_texts, st.integers(-9, 9), st.booleans(), st.none(), st.lists(_texts))
_inputs = st.one_of(
    st.just("{}"),
    st.dictionaries(_texts, _values, max_size=3).map(json.dumps),
    st.dictionaries(_texts, _values, max_size=3).map(
        lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    ),
)
# No tokens at all are none that were counted.
_counts = st.integers(1, 10_000)


@st.composite
def replies(draw: st.DrawFn, target: ClientFormat) -> Reply:
    """Such as the format can tell: chat has one thought, one text, and then its calls."""
    family = TARGETS[target][1]
    signatures = st.text("abc=", min_size=1).map(lambda data: ThoughtSignature(family, data))
    texts: Sequence[st.SearchStrategy[Part]] = [st.builds(Text, text=_texts)]
    thoughts: Sequence[st.SearchStrategy[Part]] = {
        "chat": [st.builds(Thinking, text=_texts)],
        "messages": [
            st.builds(Thinking, text=_texts, signature=signatures),
            st.builds(Thinking, signature=signatures, is_redacted=st.just(True)),
        ],
        "responses": [
            st.builds(Thinking, summaries=st.tuples(_texts), signature=signatures),
            st.builds(Thinking, summaries=st.tuples(_texts, _texts), signature=signatures),
        ],
    }[target]
    calls = [
        ToolCall(id=f"call_{number}", name=name, arguments=arguments)
        for number, (name, arguments) in enumerate(
            draw(st.lists(st.tuples(st.sampled_from(["f", "get-it"]), _inputs), max_size=3))
        )
    ]
    if target == "chat":
        content = draw(st.tuples(*(st.lists(st.one_of(k), max_size=1) for k in (thoughts, texts))))
        parts = [*content[0], *content[1], *calls]
    else:
        parts = draw(st.lists(st.one_of(*thoughts, *texts), max_size=3))
        for call in calls:
            parts.insert(draw(st.integers(0, len(parts))), call)
    kind: StopKind = "tool" if calls else draw(st.sampled_from(_STOPS[target]))
    if target != "messages" and not parts and draw(st.booleans()):
        parts, kind = [Refusal(text=draw(_texts))], "declined"
    stop = Stop(kind=kind, sequence="END" if kind == "sequence" else None)
    usage = TokenUsage(
        input_text=draw(_counts), cache_read=draw(_counts), output_text=draw(_counts)
    )
    return Reply(id="a-1", model="m", created=7, parts=tuple(parts), stop=stop, usage=usage)


def _context(target: ClientFormat) -> AnswerContext:
    return AnswerContext(
        request=Request(turns=()),
        fields=msgspec.json.decode(
            msgspec.json.encode(BODIES[target]), type=dict[str, msgspec.Raw]
        ),
        model="m",
        created=7,
        family=TARGETS[target][1],
        names=ToolNames(),
    )


def whole_answer(target: ClientFormat, reply: Reply) -> bytes:
    return LANGUAGES[target].write_answer(reply, _context(target))


def streamed(target: ClientFormat, reply: Reply) -> bytes:
    writer = LANGUAGES[target].writer(_context(target))
    say(Sequencer(writer), reply)
    writer.finish()
    return writer.take()
