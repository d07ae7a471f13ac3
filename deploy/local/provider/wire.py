"""What all formats share: the call being answered, its rendering, and how errors look."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from deploy.local.provider.answers import Ask, ScriptedAnswer, ScriptedTokens
from deploy.local.provider.directives import CallScript

encode = msgspec.json.Encoder().encode

Family = Literal["openai", "anthropic"]


class ScriptedCall(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    created: int
    ask: Ask
    script: CallScript
    answer: ScriptedAnswer
    tokens: ScriptedTokens


class ServedUsage(msgspec.Struct, frozen=True, kw_only=True):
    """A usage object exactly as written on the wire, and the tokens that it states."""

    usage: bytes
    tokens: ScriptedTokens


class ScriptedReply(msgspec.Struct, frozen=True, kw_only=True):
    body: bytes
    served: ServedUsage | None


class StreamPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A stream's frames in the order of sending, with what each part says about usage."""

    opening: list[bytes]
    deltas: list[bytes]
    closing: list[bytes]
    opened_with: ServedUsage | None = None
    closed_with: ServedUsage | None
    error_frame: Callable[[int], bytes]
    """The format's mid-stream error, given how many deltas went before it."""


class RequestRefused(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


class GenerationRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One route that generates. Adding a format is another row of these."""

    path: str
    family: Family
    id_prefix: str
    read: Callable[[bytes, dict[bytes, bytes]], Ask]
    """The request out of its body and headers."""
    reply: Callable[[ScriptedCall], ScriptedReply]
    stream: Callable[[ScriptedCall], StreamPlan] | None


def event(name: str, data: dict[str, Any]) -> bytes:
    """A named server-sent event whose data repeats the name as its type."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode({"type": name, **data}))


SCRIPTED_MID_STREAM = "[local stand-in] scripted error in mid-stream"

_OPENAI_ERRORS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
_ANTHROPIC_ERRORS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def openai_error(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    default = ("server_error", None) if status >= 500 else ("invalid_request_error", None)
    kind, code = _OPENAI_ERRORS.get(status, default)
    return {"message": message, "type": kind, "param": param, "code": code}


def anthropic_error(status: int, message: str, request_id: str | None) -> dict[str, Any]:
    default = "api_error" if status >= 500 else "invalid_request_error"
    kind = _ANTHROPIC_ERRORS.get(status, default)
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return body if request_id is None else {**body, "request_id": request_id}


def error_body(family: Family, refusal: RequestRefused, request_id: str) -> bytes:
    if family == "anthropic":
        return encode(anthropic_error(refusal.status, refusal.message, request_id))
    return encode({"error": openai_error(refusal.status, refusal.message, refusal.param)})
