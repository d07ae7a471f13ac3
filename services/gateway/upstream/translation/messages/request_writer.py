"""Writes a body for a provider that speaks Anthropic's Messages format."""

from typing import Any

from services.gateway.upstream.translation.conversation import (
    NO_LABELS,
    NO_SAMPLING,
    Labels,
    Request,
    Sampling,
    Wish,
)
from services.gateway.upstream.translation.messages.block_writer import written_cache_control
from services.gateway.upstream.translation.messages.family import is_own
from services.gateway.upstream.translation.messages.tool_writer import write_choice, write_tools
from services.gateway.upstream.translation.messages.turn_writer import TurnWriter
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report, unsupported

Members = dict[str, Any]

_MODES = {
    "off": "disabled",
    "auto": "adaptive",
    "on": "enabled",
    "between_tools": "between_tools",
}
_EFFORTS = {"minimal": "low"}
_TIERS = {"auto": "auto", "default": "standard_only"}
_MAX_TEMPERATURE = 1
_USUAL_VERBOSITY = "medium"
_JSON_MODE = "Answer with a single JSON object and nothing else."


def write_request(request: Request, model: str, profile: Profile, report: Report) -> Members:
    """Raises UnsupportedField for, or reports, what Anthropic cannot express."""
    if request.limits.answers > 1:
        raise unsupported(report.paths.field("limits.answers"), "the model gives one answer")
    body: Members = {"model": model}
    if request.limits.output_tokens is not None:
        body["max_tokens"] = request.limits.output_tokens
    system, body["messages"] = TurnWriter(profile, report).write(request.turns)
    if request.shape is not None and request.shape.schema is None:
        # Any object; Anthropic takes no schema that would allow it.
        system.append({"type": "text", "text": _JSON_MODE})
        report.adapted(report.paths.field("shape"))
    if system:
        body["system"] = system
    if request.tools:
        _tools(request, body, profile, report)
    _options(request, body, profile, report)
    if request.sampling != NO_SAMPLING:
        body.update(_sampling(request.sampling, report))
    if request.labels != NO_LABELS:
        _labels(request.labels, body, report)
    if request.extra or request.hints:
        _write_extra(request, body, report)
    return body


def _tools(request: Request, body: Members, profile: Profile, report: Report) -> None:
    tools = write_tools(request, profile, report)
    if not tools:
        return
    body["tools"] = tools
    choice = write_choice(request, profile, report)
    if choice is not None:
        body["tool_choice"] = choice


def _options(request: Request, body: Members, profile: Profile, report: Report) -> None:
    if request.limits.stop:
        body["stop_sequences"] = _stop(request.limits.stop, report)
    if request.thinking.mode is not None:
        body["thinking"] = _thinking(request.thinking, request.thinking.mode)
    if config := _config(request, report):
        body["output_config"] = config
    if request.auto_cache is not None and profile.takes_cache_marks:
        body["cache_control"] = written_cache_control(request.auto_cache)
    if request.stream:
        body["stream"] = True


def _config(request: Request, report: Report) -> Members:
    """Effort and shape of the answer."""
    config: Members = {}
    effort = request.thinking.effort
    if effort is not None and effort != "none":
        config["effort"] = _EFFORTS.get(effort, effort)
    if request.shape is not None and request.shape.schema is not None:
        config["format"] = {"type": "json_schema", "schema": request.shape.schema}
    if request.verbosity not in (None, _USUAL_VERBOSITY):
        report.adapted(report.paths.field("verbosity"))
    return config


def _stop(stop: tuple[str, ...], report: Report) -> tuple[str, ...]:
    if not all(map(str.strip, stop)):
        why = "the model's provider rejects a stop sequence of white space alone"
        raise unsupported(report.paths.field("limits.stop"), why)
    return stop


def _sampling(sampling: Sampling, report: Report) -> Members:
    members: Members = {}
    temperature = sampling.temperature
    if temperature is not None:
        if temperature > _MAX_TEMPERATURE:
            report.adapted(report.paths.field("sampling.temperature"))
            temperature = _MAX_TEMPERATURE
        members["temperature"] = temperature
    if sampling.top_p is not None:
        members["top_p"] = sampling.top_p
    if sampling.top_k is not None:
        members["top_k"] = sampling.top_k
    for name in _foreign(sampling):
        report.unsupported(report.paths.field(f"sampling.{name}"))
    return members


def _foreign(sampling: Sampling) -> list[str]:
    """Refuses options that Anthropic lacks; zeros and an empty table count as unset."""
    bias = sampling.logit_bias
    options = {
        "seed": sampling.seed is not None,
        "presence": bool(sampling.presence),
        "frequency": bool(sampling.frequency),
        "logit_bias": bias is not None and bytes(bias).translate(None, b" \t\r\n") != b"{}",
        "wants_logprobs": sampling.wants_logprobs,
        "top_logprobs": bool(sampling.top_logprobs),
    }
    return [name for name, is_set in options.items() if is_set]


def _thinking(wish: Wish, mode: str) -> Members:
    members: Members = {"type": _MODES[mode]}
    if mode == "on":
        members["budget_tokens"] = wish.budget_tokens
    is_shown = True if wish.is_shown is None and wish.summary is not None else wish.is_shown
    if is_shown is not None and mode in ("on", "auto"):
        members["display"] = "summarized" if is_shown else "omitted"
    return members


def _labels(labels: Labels, body: Members, report: Report) -> None:
    user = labels.safety_id if labels.user is None else labels.user
    if user is not None:
        body["metadata"] = {"user_id": user}
    if labels.keeps:
        report.unsupported(
            report.paths.field("labels.keeps"), "the model's provider does not store answers"
        )
    if labels.tier is not None:
        if labels.tier in _TIERS:
            body["service_tier"] = _TIERS[labels.tier]
        else:
            report.unsupported(report.paths.field("labels.tier"))


def _write_extra(request: Request, body: Members, report: Report) -> None:
    """Members that the conversation does not know are written only to the format they came in."""
    if not is_own(report.paths):
        for name in request.extra:
            report.unsupported(report.paths.field(name))
        return
    body.update(request.hints)
    for name, raw in request.extra.items():
        field, _, member = name.partition(".")
        if member:
            body[field] = body.get(field, {}) | {member: raw}
        else:
            body[name] = raw
