"""Writes a request for a provider that speaks chat."""

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.chat.message_writer import write_messages
from services.gateway.upstream.translation.chat.part_writer import JsonObject
from services.gateway.upstream.translation.chat.tool_writer import write_tools
from services.gateway.upstream.translation.conversation import (
    NO_SAMPLING,
    Labels,
    OutputLimits,
    Request,
    Sampling,
    Shape,
    Wish,
)
from services.gateway.upstream.translation.names import sent_name
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report, unsupported

# OpenAI's alone, in the form in which its clients send them.
_OPENAI_FIELDS = frozenset({"audio", "modalities", "moderation", "prediction"})
_OPENAI_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
_PLAIN_TIERS = frozenset({"auto", "default", "standard_only"})
_CLAUDE = "anthropic"
_CLAUDES_OWN = {
    "off": "disabled",
    "auto": "adaptive",
    "on": "enabled",
    "between_tools": "between_tools",
}
_SHAPE_NAME = "answer"
_MAX_SHAPE_NAME_CHARS = 64


class _Titled(msgspec.Struct):
    title: str | None = None


_titled = msgspec.json.Decoder(_Titled)


def write_request(request: Request, model: str, profile: Profile, report: Report) -> JsonObject:
    """Raises UnsupportedField for what chat, or the target, cannot express."""
    body: JsonObject = {
        "model": model,
        "messages": write_messages(request.turns, profile, report),
    }
    body |= write_tools(request, profile, report)
    body |= _limits(request, profile, report)
    if request.sampling != NO_SAMPLING:
        body |= _sampling(request.sampling, profile, report)
    body |= _thinking(request.thinking, profile)
    if request.shape is not None:
        body["response_format"] = _shape(request.shape)
    if request.verbosity is not None:
        body["verbosity"] = request.verbosity
    body |= _labels(request.labels, profile, report)
    body |= _own_fields(request, profile, report)
    if request.stream:
        body["stream"] = True
        if profile.takes_stream_options:
            body["stream_options"] = {"include_usage": True}
    return body


def _limits(request: Request, profile: Profile, report: Report) -> JsonObject:
    limits: OutputLimits = request.limits
    body: JsonObject = {}
    if limits.output_tokens == 0:
        # Never left out, or the client would pay for a whole call.
        raise unsupported(
            report.paths.field("limits.prewarm"), "the provider writes at least one token"
        )
    if limits.output_tokens is not None:
        body[profile.limit_word] = limits.output_tokens
    stop = limits.stop
    if profile.max_stops is not None and len(stop) > profile.max_stops:
        report.unsupported(
            report.paths.field("limits.stop"), f"the provider takes {profile.max_stops} at most"
        )
        stop = stop[: profile.max_stops]
    if stop:
        body["stop"] = list(stop)
    if limits.answers > 1 and request.stream:
        report.unsupported(
            report.paths.field("limits.answers"), "a translated stream carries one answer"
        )
    elif limits.answers > 1:
        body["n"] = limits.answers
    if limits.hosted_calls is not None:
        report.unsupported(report.paths.field("limits.hosted_calls"))
    return body


def _thinking(wish: Wish, profile: Profile) -> JsonObject:
    """An effort; Claude is told in its own words what an effort does not say.

    So is LiteLLM of any model's budget.
    """
    has_budget = profile.library is not None and wish.budget_tokens is not None
    if (profile.family == _CLAUDE or has_budget) and wish.mode in _CLAUDES_OWN:
        thinking: JsonObject = {"type": _CLAUDES_OWN[wish.mode]}
        if wish.mode == "on":
            thinking["budget_tokens"] = wish.budget_tokens
        if wish.mode != "auto" or wish.effort is None:
            return {"thinking": thinking}
    return {} if wish.effort is None else {"reasoning_effort": wish.effort}


def _sampling(sampling: Sampling, profile: Profile, report: Report) -> JsonObject:
    body: JsonObject = {
        name: value
        for name, value in (
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            (profile.seed_word, sampling.seed),
            ("presence_penalty", sampling.presence),
            ("frequency_penalty", sampling.frequency),
            ("logit_bias", sampling.logit_bias),
        )
        if value is not None
    }
    if sampling.top_k is not None:
        if profile.takes_top_k:
            body["top_k"] = sampling.top_k
        else:
            report.unsupported(report.paths.field("sampling.top_k"))
    if sampling.wants_logprobs or sampling.top_logprobs is not None:
        body["logprobs"] = True
    if sampling.top_logprobs is not None:
        body["top_logprobs"] = sampling.top_logprobs
    return body


def _shape(shape: Shape) -> JsonObject:
    if shape.kind == "json_object":
        return {"type": "json_object"}
    json_schema: JsonObject = {"name": shape.name or _title(shape.schema)}
    for name in ("description", "schema", "strict"):
        value = getattr(shape, name)
        if value is not None:
            json_schema[name] = value
    return {"type": "json_schema", "json_schema": json_schema}


def _title(schema: msgspec.Raw | None) -> str:
    """A schema's title, or one name for all: the same schema always gets the same."""
    if schema is None:
        return _SHAPE_NAME
    try:
        title = _titled.decode(schema).title
    except UNREADABLE:
        title = None
    return sent_name(title or _SHAPE_NAME, None, _MAX_SHAPE_NAME_CHARS)


def _labels(labels: Labels, profile: Profile, report: Report) -> JsonObject:
    """What the provider notes of the call; those that keep none are not told."""
    body: JsonObject = {} if labels.user is None else {"user": labels.user}
    if profile.family == "openai":
        body |= _openai_labels(labels)
    elif labels.keeps:
        report.unsupported(report.paths.field("labels.keeps"), "answers are not stored")
    return body | _tier(labels.tier, profile, report)


def _openai_labels(labels: Labels) -> JsonObject:
    """OpenAI keeps answers that it is not told not to keep, and takes metadata of kept ones."""
    body: JsonObject = {
        name: value
        for name, value in (
            ("safety_identifier", labels.safety_id),
            ("prompt_cache_key", labels.cache_key),
            ("prompt_cache_retention", labels.cache_retention),
            ("metadata", labels.metadata if labels.keeps else None),
        )
        if value is not None
    }
    body["store"] = labels.keeps is True
    return body


def _tier(tier: str | None, profile: Profile, report: Report) -> JsonObject:
    if tier is None:
        return {}
    if profile.family == "openai":
        if tier == "standard_only":
            return {"service_tier": "default"}
        if tier in _OPENAI_TIERS:
            return {"service_tier": tier}
    if tier not in _PLAIN_TIERS:
        report.unsupported(report.paths.field("labels.tier"))
    return {}


def _own_fields(request: Request, profile: Profile, report: Report) -> JsonObject:
    body: JsonObject = {}
    is_openai = profile.family == "openai"
    for name, raw in request.extra.items():
        if is_openai and name in _OPENAI_FIELDS:
            body[name] = raw
        else:
            report.unsupported(name)
    if is_openai and "prompt_cache_options" in request.hints:
        body["prompt_cache_options"] = request.hints["prompt_cache_options"]
    return body
