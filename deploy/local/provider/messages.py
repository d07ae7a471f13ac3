"""Anthropic messages."""

from typing import Any, Literal

import msgspec

from deploy.local.provider import content
from deploy.local.provider.answers import THOUGHT, Ask, ScriptedTokens
from deploy.local.provider.content import Content, PromptTurn
from deploy.local.provider.wire import (
    SCRIPTED_MID_STREAM,
    GenerationRoute,
    RequestRefused,
    ScriptedCall,
    ScriptedReply,
    ServedUsage,
    StreamPlan,
    anthropic_error,
    encode,
    event,
)

_NO_SAMPLING_SINCE = b"2026-10-21"
_SIGNATURE = "bG9jYWwtc3RhbmQtaW4="
_DELTA = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
)


class _Thread(msgspec.Struct, frozen=True):
    type: Literal["create", "continue"]
    previous_message_id: str | None = None


class _Request(msgspec.Struct, frozen=True):
    model: str
    messages: list[PromptTurn]
    max_tokens: int | None = None
    system: Content = None
    stream: bool | None = None
    tools: list[Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thread: _Thread | None = None


_decoder = msgspec.json.Decoder(_Request)


def read(body: bytes, headers: dict[bytes, bytes]) -> Ask:
    request = _decoder.decode(body)
    if request.max_tokens is None:
        raise RequestRefused(400, "max_tokens: Field required")
    _refuse_sampling(request, _version(headers))
    return _ask(request)


def count_tokens(body: bytes, headers: dict[bytes, bytes]) -> Ask:
    """The same request without a limit on its output."""
    _version(headers)
    return _ask(_decoder.decode(body))


def _version(headers: dict[bytes, bytes]) -> bytes:
    version = headers.get(b"anthropic-version")
    if not version:
        raise RequestRefused(400, "anthropic-version: header is required")
    return version


def _refuse_sampling(request: _Request, version: bytes) -> None:
    """From this version on the provider takes no sampling parameters."""
    if version < _NO_SAMPLING_SINCE:
        return
    for name in ("temperature", "top_p", "top_k"):
        if getattr(request, name) is not None:
            raise RequestRefused(400, f"{name}: not supported under this anthropic-version")


def _ask(request: _Request) -> Ask:
    tools = request.tools if request.tools is not None else []
    talk = content.summarise(request.messages, system=request.system, tools=tools)
    return Ask(
        model=request.model,
        prompt=talk.prompt,
        characters=talk.characters,
        stream=request.stream is True,
        may_call_tools=bool(tools) and talk.ends_with_user,
        ends_with_user=talk.ends_with_user,
        has_tools=bool(tools),
        output_limit=request.max_tokens,
        in_thread=request.thread is not None,
        continues=None if request.thread is None else request.thread.previous_message_id,
    )


def usage(tokens: ScriptedTokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input_text,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "output_tokens": tokens.output_total,
        "service_tier": "standard",
    }


def _final_usage(tokens: ScriptedTokens) -> dict[str, Any]:
    """A message_delta's usage: cumulative, and the only one that tells thinking apart."""
    final = {
        "input_tokens": tokens.input_text,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "output_tokens": tokens.output_total,
    }
    if tokens.reasoning:
        return {**final, "output_tokens_details": {"thinking_tokens": tokens.reasoning}}
    return final


def _opening_tokens(tokens: ScriptedTokens) -> ScriptedTokens:
    """message_start knows the input, and of the output only that it has begun."""
    return msgspec.structs.replace(tokens, output_text=min(1, tokens.output_total), reasoning=0)


def _stop_reason(call: ScriptedCall) -> str:
    if call.answer.tool is not None:
        return "tool_use"
    return "max_tokens" if call.answer.truncated else "end_turn"


def _thinks(call: ScriptedCall) -> bool:
    return call.tokens.reasoning > 0


def _message(
    call: ScriptedCall, blocks: list[dict[str, Any]], stop_reason: str | None
) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "message",
        "role": "assistant",
        "model": call.ask.model,
        "content": blocks,
        "stop_reason": stop_reason,
        "stop_sequence": None,
    }


def _tool_use(call: ScriptedCall, arguments: bytes) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": f"toolu_{call.id}",
        "name": call.answer.tool,
        "input": msgspec.Raw(arguments),
    }


def reply(call: ScriptedCall) -> ScriptedReply:
    blocks: list[dict[str, Any]] = []
    if _thinks(call):
        blocks.append({"type": "thinking", "thinking": THOUGHT, "signature": _SIGNATURE})
    if call.answer.tool is not None:
        blocks.append(_tool_use(call, call.answer.whole.encode()))
    else:
        blocks.append({"type": "text", "text": call.answer.whole})
    body = _message(call, blocks, _stop_reason(call))
    if call.script.no_usage:
        return ScriptedReply(body=encode(body), served=None)
    usage_fields = usage(call.tokens)
    if _thinks(call):
        usage_fields["output_tokens_details"] = {"thinking_tokens": call.tokens.reasoning}
    served = ServedUsage(usage=encode(usage_fields), tokens=call.tokens)
    body["usage"] = msgspec.Raw(served.usage)
    return ScriptedReply(body=encode(body), served=served)


def stream(call: ScriptedCall) -> StreamPlan:
    opened_with, closed_with = None, None
    message = _message(call, [], None)
    ending: dict[str, Any] = {"delta": {"stop_reason": _stop_reason(call), "stop_sequence": None}}
    if not call.script.no_usage:
        opening_tokens = _opening_tokens(call.tokens)
        opened_with = ServedUsage(usage=encode(usage(opening_tokens)), tokens=opening_tokens)
        closed_with = ServedUsage(usage=encode(_final_usage(call.tokens)), tokens=call.tokens)
        message["usage"] = msgspec.Raw(opened_with.usage)
        ending["usage"] = msgspec.Raw(closed_with.usage)
    index = 1 if _thinks(call) else 0
    return StreamPlan(
        opening=[
            event("message_start", {"message": message}),
            *(_thinking() if _thinks(call) else ()),
            event("content_block_start", {"index": index, "content_block": _empty_block(call)}),
            event("ping", {}),
        ],
        deltas=_deltas(call, index),
        closing=[
            event("content_block_stop", {"index": index}),
            event("message_delta", ending),
            event("message_stop", {}),
        ],
        opened_with=opened_with,
        closed_with=closed_with,
        error_frame=_error_frame,
    )


def _empty_block(call: ScriptedCall) -> dict[str, Any]:
    if call.answer.tool is not None:
        return _tool_use(call, b"{}")
    return {"type": "text", "text": ""}


def _deltas(call: ScriptedCall, index: int) -> list[bytes]:
    names = (b"text_delta", b"text")
    if call.answer.tool is not None:
        names = (b"input_json_delta", b"partial_json")
    head = _DELTA % (index, *names)
    return [b"%b%b}}\n\n" % (head, encode(piece)) for piece in call.answer.pieces]


def _thinking() -> list[bytes]:
    block = {"type": "thinking", "thinking": "", "signature": ""}
    thought = {"type": "thinking_delta", "thinking": THOUGHT}
    signature = {"type": "signature_delta", "signature": _SIGNATURE}
    return [
        event("content_block_start", {"index": 0, "content_block": block}),
        event("content_block_delta", {"index": 0, "delta": thought}),
        event("content_block_delta", {"index": 0, "delta": signature}),
        event("content_block_stop", {"index": 0}),
    ]


def _error_frame(_deltas: int) -> bytes:
    return event("error", anthropic_error(529, SCRIPTED_MID_STREAM, None))


ENDPOINT = GenerationRoute(
    path="/v1/messages",
    family="anthropic",
    id_prefix="msg_",
    read=read,
    reply=reply,
    stream=stream,
)
