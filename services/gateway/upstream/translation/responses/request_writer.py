"""Writes a request for a provider that speaks Responses."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.conversation import (
    NO_LABELS,
    NO_SAMPLING,
    Request,
    Sampling,
    Shape,
    Turn,
)
from services.gateway.upstream.translation.names import sent_name
from services.gateway.upstream.translation.parts import Text
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report, unsupported
from services.gateway.upstream.translation.responses.input_writer import InputWriter
from services.gateway.upstream.translation.responses.paths import PATHS
from services.gateway.upstream.translation.responses.thoughts import FAMILY
from services.gateway.upstream.translation.responses.tools_writer import ToolsWriter
from services.gateway.upstream.translation.responses.wire import MEMBERS, TEXTS

_SIGNATURES = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
_MIN_OUTPUT_TOKENS = 16
_MAX_NAME_CHARS = 64
# OpenAI's chat has them too, and in the same shape.
_SHARED = frozenset({"moderation", "prompt_cache_options"})
_TIERS = {"standard_only": "default"}


def write_request(request: Request, model: str, profile: Profile, report: Report) -> dict[str, Any]:
    """Raises UnsupportedField for content that the format cannot express."""
    is_own = report.paths is PATHS
    tools = ToolsWriter(request.tools, profile, report)
    instructions, turns = _instructions(request.turns, profile, is_own=is_own)
    keeps = request.labels.keeps is True
    body: dict[str, Any] = {"model": model}
    if instructions is not None:
        body["instructions"] = instructions
    _refuse_prefill(turns, report, is_own=is_own)
    body["input"] = InputWriter(profile, report, tools.added_tools, keeps=keeps).write(turns)
    if tools.definitions:
        body["tools"] = tools.definitions
    if request.choice is not None:
        choice = tools.choice(request.choice)
        if choice is not None:
            body["tool_choice"] = choice
    if request.parallel is not None and (tools.definitions or tools.added_tools):
        body["parallel_tool_calls"] = request.parallel
    _write_limits(body, request, profile, report)
    if request.sampling != NO_SAMPLING:
        _write_sampling(body, request.sampling, report)
    _write_thinking(body, request, profile)
    _write_text(body, request)
    _write_labels(body, request)
    _write_include(body, request, profile, is_own=is_own)
    if request.stream:
        body["stream"] = True
    _write_rest(body, request, profile, report, is_own=is_own)
    return body


def _instructions(
    turns: tuple[Turn, ...], profile: Profile, *, is_own: bool
) -> tuple[str | None, tuple[Turn, ...]]:
    """The leading system turns, unless one has a cache mark, which instructions cannot carry."""
    count = 0
    texts: list[str] = []
    for turn in turns:
        if turn.role not in ("system", "developer") or (is_own and turn.at != (-1,)):
            break
        for part in turn.parts:
            if type(part) is not Text or (part.cache is not None and profile.takes_cache_marks):
                return None, turns
            if part.text:
                texts.append(part.text)
        count += 1
    return "\n\n".join(texts) or None, turns[count:]


def _refuse_prefill(turns: tuple[Turn, ...], report: Report, *, is_own: bool) -> None:
    if is_own or not turns or turns[-1].role != "assistant":
        return
    if any(type(part) is Text and part.text for part in turns[-1].parts[-1:]):
        why = "the model's provider does not continue a turn that the client began"
        raise unsupported(report.paths.of(turns[-1].at), why)


def _write_limits(body: dict[str, Any], request: Request, profile: Profile, report: Report) -> None:
    limits, paths = request.limits, report.paths
    tokens = limits.output_tokens
    if tokens == 0:
        if profile.family != FAMILY:
            raise unsupported(paths.field("limits.prewarm"), "must be at least 1")
        body["prompt_cache_options"] = {"prewarm": True}
    elif tokens is not None:
        if profile.family == FAMILY and tokens < _MIN_OUTPUT_TOKENS:
            # OpenAI takes no less.
            report.adapted(paths.field("limits.output_tokens"))
            tokens = _MIN_OUTPUT_TOKENS
        body["max_output_tokens"] = tokens
    if limits.hosted_calls is not None:
        body["max_tool_calls"] = limits.hosted_calls
    if limits.stop:
        report.unsupported(paths.field("limits.stop"))
    if limits.answers != 1:
        raise unsupported(paths.field("limits.answers"), "the provider gives one answer per call")


def _write_sampling(body: dict[str, Any], sampling: Sampling, report: Report) -> None:
    if sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        body["top_p"] = sampling.top_p
    if sampling.top_logprobs is not None:
        body["top_logprobs"] = sampling.top_logprobs
    has_bias = sampling.logit_bias is not None and bytes(sampling.logit_bias) != b"{}"
    for name, is_set in (
        ("sampling.top_k", sampling.top_k is not None),
        ("sampling.seed", sampling.seed is not None),
        ("sampling.presence", bool(sampling.presence)),
        ("sampling.frequency", bool(sampling.frequency)),
        ("sampling.logit_bias", has_bias),
    ):
        if is_set:
            report.unsupported(report.paths.field(name))


def _write_thinking(body: dict[str, Any], request: Request, profile: Profile) -> None:
    wish = request.thinking
    if not profile.can_think:
        return
    reasoning: dict[str, Any] = {}
    if wish.effort is not None:
        reasoning["effort"] = wish.effort
    if wish.summary is not None:
        reasoning["summary"] = wish.summary
    elif wish.mode in ("on", "auto", "between_tools") and wish.is_shown is not False:
        reasoning["summary"] = "auto"
    if reasoning:
        body["reasoning"] = reasoning


def _write_text(body: dict[str, Any], request: Request) -> None:
    text: dict[str, Any] = {}
    if request.shape is not None:
        text["format"] = _format(request.shape)
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    if text:
        body["text"] = text


def _format(shape: Shape) -> dict[str, Any]:
    if shape.kind == "json_object":
        return {"type": "json_object"}
    members: dict[str, Any] = {"type": "json_schema", "name": shape.name or _title(shape.schema)}
    if shape.description is not None:
        members["description"] = shape.description
    members["schema"] = {} if shape.schema is None else shape.schema
    if shape.strict is not None:
        members["strict"] = shape.strict
    return members


class _Titled(msgspec.Struct, frozen=True):
    title: str | None = None


_titled = msgspec.json.Decoder(_Titled)


def _title(schema: msgspec.Raw | None) -> str:
    """A name for a schema of a format that gives it none."""
    try:
        title = None if schema is None else _titled.decode(schema).title
    except UNREADABLE:
        title = None
    return sent_name(title, None, _MAX_NAME_CHARS) if title else "answer"


def _write_labels(body: dict[str, Any], request: Request) -> None:
    labels = request.labels
    if labels != NO_LABELS:
        tier = None if labels.tier is None else _TIERS.get(labels.tier, labels.tier)
        members = {
            "metadata": labels.metadata,
            "user": labels.user,
            "safety_identifier": labels.safety_id,
            "prompt_cache_key": labels.cache_key,
            "prompt_cache_retention": labels.cache_retention,
            "service_tier": None if tier == "auto" else tier,
        }
        body.update({name: value for name, value in members.items() if value is not None})
    # OpenAI keeps an answer for a month unless it is told not to.
    body["store"] = labels.keeps is True


def _write_include(
    body: dict[str, Any], request: Request, profile: Profile, *, is_own: bool
) -> None:
    include = (
        TEXTS.decode(request.hints["include"]) if is_own and "include" in request.hints else []
    )
    thinks = profile.can_think
    if profile.efforts is None:
        # Nothing is known of the model.
        thinks = profile.always_thinks or request.thinking.effort is not None
    if thinks and _SIGNATURES not in include:
        include.append(_SIGNATURES)
    elif not profile.can_think and _SIGNATURES in include:
        # OpenAI refuses it of a model that does not think.
        include.remove(_SIGNATURES)
    if request.sampling.wants_logprobs and _LOGPROBS not in include:
        include.append(_LOGPROBS)
    if include:
        body["include"] = include


def _write_rest(
    body: dict[str, Any], request: Request, profile: Profile, report: Report, *, is_own: bool
) -> None:
    """What only this format knows, and only of its own clients, or of its sister's."""
    for name, raw in request.extra.items():
        if is_own or (name in _SHARED and profile.family == FAMILY):
            _put(body, name, raw)
        else:
            report.unsupported(name)
    for name, raw in request.hints.items():
        is_shared = name in _SHARED and profile.family == FAMILY
        if name != "include" and (is_own or is_shared):
            _put(body, name, raw)


def _put(body: dict[str, Any], name: str, raw: msgspec.Raw) -> None:
    outer, _, inner = name.partition(".")
    if inner:
        body.setdefault(outer, {})[inner] = raw
    elif isinstance(body.get(name), Mapping):
        body[name] = {**MEMBERS.decode(raw), **body[name]}
    else:
        body[name] = raw
