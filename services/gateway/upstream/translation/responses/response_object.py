"""The response object around an answer's items: the request's echo, the end and the usage."""

from typing import Any

import msgspec

from libs.common.domain.token_classes import total_input, total_output
from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.reply import AnswerContext, ReportedError, Stop
from services.gateway.upstream.translation.responses.ids import digest

# The members of a response that echo its request, with their defaults.
_ECHOED: tuple[tuple[str, Any], ...] = (
    ("instructions", None),
    ("max_output_tokens", None),
    ("max_tool_calls", None),
    ("metadata", {}),
    ("parallel_tool_calls", True),
    ("prompt_cache_key", None),
    ("reasoning", {"effort": None, "summary": None}),
    ("safety_identifier", None),
    ("temperature", None),
    ("text", {"format": {"type": "text"}}),
    ("tool_choice", "auto"),
    ("tools", []),
    ("top_logprobs", None),
    ("top_p", None),
    ("truncation", "disabled"),
    ("user", None),
)
# Only where they were sent. Options of the prompt cache are told as they were applied, which here
# is not known.
_ECHOED_IF_SENT = ("prompt_cache_retention", "store")
_INCOMPLETE = {
    "limit": "max_output_tokens",
    "window": "max_output_tokens",
    "pause": "max_output_tokens",
    "blocked": "content_filter",
}
# Why OpenAI's own turn is not over, as it says it itself.
_PAUSES = frozenset({"max_messages", "steered"})
# Anthropic's word for what OpenAI calls the default.
_TIERS = {"standard": "default"}
_NULL = b"null"
_TRUNCATIONS = ("disabled", msgspec.Raw(b'"disabled"'), msgspec.Raw(b'"auto"'))
_WRITTEN = ("cache_write_5m", "cache_write_1h", "cache_write_30m", "cache_write_12h")


def compact(raw: msgspec.Raw) -> msgspec.Raw:
    """On one line, as a frame of a stream wants it; else the bytes that came."""
    data = bytes(raw)
    if b"\n" in data or b"\r" in data:
        return msgspec.Raw(msgspec.json.format(data, indent=-1))
    return raw


def new_response(context: AnswerContext, answer_id: str, created: int | None) -> dict[str, Any]:
    """In progress, and empty. An id that is a response's already stays."""
    response: dict[str, Any] = {
        "id": answer_id if answer_id.startswith("resp_") else f"resp_{digest(answer_id)}",
        "object": "response",
        "created_at": context.created if created is None else created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": context.model,
        "output": [],
        "previous_response_id": None,
    }
    fields = context.fields
    for name, default in _ECHOED:
        raw = fields.get(name)
        response[name] = default if raw is None or bytes(raw) == _NULL else compact(raw)
    if response["truncation"] not in _TRUNCATIONS:
        # OpenAI would not have taken it, and no other provider gets it.
        response["truncation"] = "disabled"
    for name in _ECHOED_IF_SENT:
        if name in fields:
            response[name] = compact(fields[name])
    response["usage"] = None
    return response


def response_status(stop: Stop) -> str:
    return "incomplete" if stop.kind in _INCOMPLETE else "completed"


def end_response(
    response: dict[str, Any],
    output: list[dict[str, Any] | msgspec.Raw],
    stop: Stop,
    usage: TokenUsage | None,
) -> None:
    response["status"] = response_status(stop)
    reason = _INCOMPLETE.get(stop.kind)
    if reason is not None:
        client_reason = stop.reason if stop.reason in _PAUSES else reason
        response["incomplete_details"] = {"reason": client_reason}
    response["output"] = output
    _tell_usage(response, usage)


def fail(
    response: dict[str, Any],
    output: list[dict[str, Any] | msgspec.Raw],
    failure: ReportedError,
    usage: TokenUsage | None,
) -> None:
    response["status"] = "failed"
    response["error"] = {"code": code_of(failure), "message": failure.message}
    response["output"] = output
    _tell_usage(response, usage)


def code_of(failure: ReportedError) -> str:
    return failure.code or failure.kind or "server_error"


def _tell_usage(response: dict[str, Any], usage: TokenUsage | None) -> None:
    if usage is None:
        return
    response["usage"] = usage_object(usage)
    if usage.service_tier is not None:
        response["service_tier"] = _TIERS.get(usage.service_tier, usage.service_tier)
    if usage.web_searches:
        response["tool_usage"] = {
            "image_gen": {
                "input_tokens": 0,
                "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
                "output_tokens": 0,
                "total_tokens": 0,
            },
            "web_search": {"num_requests": usage.web_searches},
        }


def usage_object(usage: TokenUsage) -> dict[str, Any]:
    """Totals include their parts, as OpenAI counts."""
    input_total, output_total = total_input(usage), total_output(usage)
    details = {
        "cached_tokens": usage.cache_read or 0,
        "cache_write_tokens": sum(getattr(usage, name) or 0 for name in _WRITTEN),
    }
    members: dict[str, Any] = {"input_tokens": input_total, "input_tokens_details": details}
    if usage.cache_write_1h is not None:
        details["cache_write_1h_tokens"] = usage.cache_write_1h
    if usage.cache_write_30m is not None or usage.cache_write_12h is not None:
        members["input_tokens_details"] = {
            **details,
            "cache_write_tokens_details": {
                "ttl_30m_tokens": usage.cache_write_30m or 0,
                "ttl_12h_tokens": usage.cache_write_12h or 0,
            },
        }
    members |= {
        "output_tokens": output_total,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": input_total + output_total,
    }
    for name in ("speed", "inference_geo"):
        value = getattr(usage, name)
        if value is not None:
            members[name] = value
    return members
