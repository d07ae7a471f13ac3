"""OpenAI chat completions."""

from typing import Any

import msgspec

from deploy.local.provider import content
from deploy.local.provider.answers import Ask, ScriptedTokens
from deploy.local.provider.content import PromptTurn
from deploy.local.provider.wire import (
    SCRIPTED_MID_STREAM,
    GenerationRoute,
    ScriptedCall,
    ScriptedReply,
    ServedUsage,
    StreamPlan,
    encode,
    openai_error,
)

_FINGERPRINT = "fp_local_stand_in"
_CHUNK = (
    b'data: {"id":"%b","object":"chat.completion.chunk","created":%d,"model":%b,'
    b'"service_tier":"default","system_fingerprint":"fp_local_stand_in","choices":['
)
_DONE = b"data: [DONE]\n\n"


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _Request(msgspec.Struct, frozen=True):
    model: str
    messages: list[PromptTurn]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[Any] | None = None


_decoder = msgspec.json.Decoder(_Request)


def read(body: bytes, headers: dict[bytes, bytes]) -> Ask:
    del headers
    request = _decoder.decode(body)
    tools = request.tools if request.tools is not None else []
    talk = content.summarise(request.messages, system=None, tools=tools)
    limit = request.max_completion_tokens
    options = request.stream_options
    return Ask(
        model=request.model,
        prompt=talk.prompt,
        characters=talk.characters,
        stream=request.stream is True,
        include_usage=options is not None and options.include_usage is True,
        may_call_tools=bool(tools) and talk.ends_with_user,
        output_limit=limit if limit is not None else request.max_tokens,
    )


def usage(tokens: ScriptedTokens) -> dict[str, Any]:
    details: dict[str, int] = {"cached_tokens": tokens.cache_read, "audio_tokens": 0}
    if tokens.cache_write:
        details["cache_write_tokens"] = tokens.cache_write
    return {
        "prompt_tokens": tokens.input_total,
        "completion_tokens": tokens.output_total,
        "total_tokens": tokens.input_total + tokens.output_total,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _serve(call: ScriptedCall) -> ServedUsage | None:
    if call.script.no_usage:
        return None
    return ServedUsage(usage=encode(usage(call.tokens)), tokens=call.tokens)


def _tool_call(call: ScriptedCall, arguments: str) -> dict[str, Any]:
    return {
        "id": f"call_{call.id}",
        "type": "function",
        "function": {"name": call.answer.tool, "arguments": arguments},
    }


def _finish_reason(call: ScriptedCall) -> str:
    if call.answer.tool is not None:
        return "tool_calls"
    return "length" if call.answer.truncated else "stop"


def reply(call: ScriptedCall) -> ScriptedReply:
    calls_tool = call.answer.tool is not None
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls_tool else call.answer.whole,
        "refusal": None,
        "annotations": [],
    }
    if calls_tool:
        message["tool_calls"] = [_tool_call(call, call.answer.whole)]
    served = _serve(call)
    body: dict[str, Any] = {
        "id": call.id,
        "object": "chat.completion",
        "created": call.created,
        "model": call.ask.model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": _finish_reason(call),
            }
        ],
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    if served is not None:
        body["usage"] = msgspec.Raw(served.usage)
    return ScriptedReply(body=encode(body), served=served)


def stream(call: ScriptedCall) -> StreamPlan:
    served = _serve(call) if call.ask.include_usage else None
    head = _CHUNK % (call.id.encode(), call.created, encode(call.ask.model))
    tail = b'],"usage":null}\n\n' if served is not None else b"]}\n\n"

    def choice(delta: bytes, finish_reason: bytes) -> bytes:
        return b'%b{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}%b' % (
            head,
            delta,
            finish_reason,
            tail,
        )

    first: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
    before, after = b'{"content":', b"}"
    if call.answer.tool is not None:
        tool = {"index": 0, **_tool_call(call, "")}
        first = {"role": "assistant", "content": None, "tool_calls": [tool]}
        before, after = b'{"tool_calls":[{"index":0,"function":{"arguments":', b"}}]}"
    closing = [choice(b"{}", encode(_finish_reason(call)))]
    if served is not None:
        closing.append(b'%b],"usage":%b}\n\n' % (head, served.usage))
    closing.append(_DONE)
    return StreamPlan(
        opening=[choice(encode(first), b"null")],
        deltas=[
            choice(b"%b%b%b" % (before, encode(piece), after), b"null")
            for piece in call.answer.pieces
        ],
        closing=closing,
        closed_with=served,
        error_frame=_error_frame,
    )


def _error_frame(_deltas: int) -> bytes:
    return b"data: %b\n\n" % encode({"error": openai_error(500, SCRIPTED_MID_STREAM)})


ENDPOINT = GenerationRoute(
    path="/v1/chat/completions",
    family="openai",
    id_prefix="chatcmpl-",
    read=read,
    reply=reply,
    stream=stream,
)
