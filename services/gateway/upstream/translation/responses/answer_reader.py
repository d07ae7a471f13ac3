"""Reads whole answers of a provider that speaks Responses."""

from collections.abc import Iterator
from typing import Any

import msgspec

from services.gateway.formats.base import decode_answer
from services.gateway.formats.responses import Responses
from services.gateway.upstream.translation.names import sent_name
from services.gateway.upstream.translation.parts import (
    Family,
    Hosted,
    Part,
    Refusal,
    Text,
    ToolCall,
)
from services.gateway.upstream.translation.reply import Reply, ReportedError, Stop
from services.gateway.upstream.translation.responses.thoughts import (
    read_reasoning,
)
from services.gateway.upstream.translation.responses.wire import ABSENT, RAWS, ContentPart
from services.gateway.upstream.translation.responses.wire import Item as WireItem

_encode = msgspec.json.encode
_METERED = Responses()
_MAX_NAME_CHARS = 64
_CALLS = ("function_call", "custom_tool_call")
# All others are kept as they are.
_READ = frozenset({"message", "reasoning", *_CALLS})
# It may yet come to an end, which nobody would hear of.
_NOT_OVER = ("failed", "cancelled", "queued", "in_progress")
_RAW_LISTS = msgspec.json.Decoder(list[msgspec.Raw])


class Incomplete(msgspec.Struct, frozen=True):
    reason: str | None = None


class WireError(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None
    param: str | None = None


class WireResponse(msgspec.Struct, frozen=True):
    id: str = ""
    model: str = ""
    created_at: float | None = None
    status: str | None = None
    service_tier: Any = None
    error: WireError | str | None = None
    incomplete_details: Incomplete | None = None
    output: list[WireItem] = []


class _RawOutput(msgspec.Struct, frozen=True):
    output: msgspec.Raw = ABSENT


_response = msgspec.json.Decoder(WireResponse)
_raw_output = msgspec.json.Decoder(_RawOutput)


def read_answer(body: bytes, family: Family) -> Reply | ReportedError:
    """A ReportedError where an answer 200 holds an error. Raises UpstreamFailed if unreadable."""
    response = decode_answer(body, _response)
    if response.status in _NOT_OVER or (response.error and not response.output):
        return response_failure(response.error, response.status)
    if _READ.issuperset([item.type for item in response.output]):
        raws = [ABSENT] * len(response.output)
    else:
        raws = RAWS.decode(_raw_output.decode(body).output)
    parts: list[Part] = []
    for index, (item, raw) in enumerate(zip(response.output, raws, strict=True)):
        parts += _parts(item, raw, family, index)
    usage = _METERED.usage_of_answer(body)
    logprobs = _all_logprobs(response.output)
    return Reply(
        id=response.id,
        model=response.model,
        parts=tuple(parts),
        stop=response_stop(response, parts),
        usage=usage,
        created=None if response.created_at is None else int(response.created_at),
        tier=None if usage is None else usage.service_tier,
        logprobs=logprobs,
    )


def response_failure(error: WireError | str | None, status: str | None = None) -> ReportedError:
    if error is None:
        return ReportedError(message=f"The provider's answer ended as '{status or 'failed'}'.")
    if isinstance(error, str):
        return ReportedError(message=error)
    return ReportedError(
        message=error.message or "The provider gave no reason.",
        kind=error.type,
        code=None if error.code is None else str(error.code),
        param=error.param,
    )


def response_stop(response: WireResponse, parts: list[Part]) -> Stop:
    kinds = {type(part) for part in parts}
    return stop_for(response, has_calls=ToolCall in kinds, has_refusal=Refusal in kinds)


def stop_for(response: WireResponse, *, has_calls: bool, has_refusal: bool) -> Stop:
    details = response.incomplete_details
    reason = None if details is None else details.reason
    if response.status == "incomplete":
        if reason == "content_filter":
            return Stop(kind="blocked", reason=reason)
        if reason in ("max_messages", "steered"):
            return Stop(kind="pause", reason=reason)
        return Stop(kind="limit", reason=reason)
    if has_calls:
        return Stop(kind="tool", reason=response.status)
    return Stop(kind="declined" if has_refusal else "end", reason=response.status)


def _parts(item: WireItem, raw: msgspec.Raw, family: Family, index: int) -> Iterator[Part]:
    kind = item.type
    if kind == "message":
        for part in item.content if isinstance(item.content, list) else ():
            yield from _content(part, family)
    elif kind == "reasoning":
        yield from read_reasoning(item, (), family).thoughts
    elif kind in _CALLS:
        is_freeform = kind == "custom_tool_call"
        arguments = item.input if is_freeform else item.arguments
        yield ToolCall(
            id=item.call_id or item.id or "",
            name=flat_name(item.name or "", item.namespace),
            arguments=arguments if isinstance(arguments, str) else "",
            is_freeform=is_freeform,
            item_id=item.id,
        )
    else:
        yield Hosted(kind=hosted_kind(kind), raw=raw, family=family, id=item.id, at=(index,))


def flat_name(name: str, namespace: str | None) -> str:
    """The name by which the way back is known."""
    return name if namespace is None else sent_name(name, namespace, _MAX_NAME_CHARS)


def hosted_kind(kind: str | None) -> str:
    return "web_search" if kind == "web_search_call" else kind or ""


def _content(part: ContentPart, family: Family) -> Iterator[Part]:
    if part.type == "refusal":
        yield Refusal(text=part.refusal or "")
    elif part.text is not None:
        annotations = bytes(part.annotations)
        has_citations = annotations[:1] == b"[" and annotations != b"[]"
        yield Text(
            text=part.text,
            citations=part.annotations if has_citations else None,
            family=family if has_citations else None,
        )


def _all_logprobs(items: list[WireItem]) -> msgspec.Raw | None:
    lists = [
        bytes(part.logprobs).strip()[1:-1].strip()
        for item in items
        for part in (item.content if isinstance(item.content, list) else ())
        if bytes(part.logprobs).startswith(b"[")
    ]
    entries = b",".join(entry for entry in lists if entry)
    return msgspec.Raw(b"[" + entries + b"]") if entries else None
