"""Rich answers of providers, whole and streamed, as each format has them."""

import json
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.formats.sse import FrameSplitter
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.engine import LANGUAGES
from services.gateway.upstream.translation.names import ToolNames
from services.gateway.upstream.translation.parts import (
    Hosted,
    Part,
    Refusal,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.reply import AnswerContext, Reply, Stop
from tests.unit.translation.responses.streams import say

FAMILIES: dict[ClientFormat, str] = {
    "chat": "openai",
    "messages": "anthropic",
    "responses": "openai",
}
_SEARCHES: dict[ClientFormat, tuple[str, ...]] = {
    "chat": (),
    "messages": (
        '{"type":"server_tool_use","id":"srv_1","name":"web_search","input":{"query":"q"}}',
        '{"type":"web_search_tool_result","tool_use_id":"srv_1","content":'
        '[{"type":"web_search_result","url":"https://x","title":"X","encrypted_content":"e"}]}',
    ),
    "responses": (
        '{"type":"web_search_call","id":"ws_1","status":"completed",'
        '"action":{"type":"search","query":"q"}}',
    ),
}
_CITATIONS: dict[ClientFormat, str] = {
    "chat": '{"type":"url_citation","url_citation":{"url":"https://x","title":"X",'
    '"start_index":0,"end_index":4}}',
    "messages": '{"type":"web_search_result_location","url":"https://x","title":"X",'
    '"cited_text":"o","encrypted_index":"i"}',
    "responses": '{"type":"url_citation","url":"https://x","title":"X","start_index":0,'
    '"end_index":4}',
}
USAGE = TokenUsage(input_text=10, cache_read=5, output_text=7, reasoning=4)
_NAMES = ToolNames({"f": (None, "f", False), "g": (None, "g", True)})


def _reply(format_: ClientFormat) -> Reply:
    family = FAMILIES[format_]
    citations = msgspec.Raw(f"[{_CITATIONS[format_]}]".encode())
    searches = (
        Hosted(kind="web_search", raw=msgspec.Raw(raw.encode()), family=family)
        for raw in _SEARCHES[format_]
    )
    openai_parts: tuple[Part, ...] = (
        Refusal(text="Not that."),
        ToolCall(id="call_2", name="g", arguments="free text", is_freeform=True),
    )
    return Reply(
        id="answer_1",
        model="m",
        created=1_700_000_000,
        parts=(
            Thinking(text="Let me see.", signature=ThoughtSignature(family, "c2VhbA==")),
            Thinking(is_redacted=True, signature=ThoughtSignature(family, "cmVkYWN0ZWQ=")),
            *searches,
            Text(text="Oslo it is.", citations=citations, family=family),
            Text(text="And more."),
            *(() if format_ == "messages" else openai_parts),
            ToolCall(id="call_1", name="f", arguments='{"a":1}'),
            ToolCall(id="call_3", name="f", arguments=""),
        ),
        stop=Stop(kind="tool"),
        usage=USAGE,
    )


def _context(format_: ClientFormat) -> AnswerContext:
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    return AnswerContext(
        request=Request(turns=()),
        fields={name: msgspec.Raw(json.dumps(raw).encode()) for name, raw in fields.items()},
        model="m",
        created=1_700_000_000,
        family=FAMILIES[format_],
        names=_NAMES,
    )


def whole_answer(format_: ClientFormat) -> dict[str, Any]:
    body = LANGUAGES[format_].write_answer(_reply(format_), _context(format_))
    decoded: dict[str, Any] = json.loads(body)
    return decoded


def frames(format_: ClientFormat) -> list[bytes]:
    writer = LANGUAGES[format_].writer(_context(format_))
    say(writer, _reply(format_))
    writer.finish()
    return FrameSplitter().feed(writer.take())
