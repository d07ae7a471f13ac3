"""Reads a Responses request."""

from collections.abc import Mapping
from typing import TypeVar, get_args

import msgspec

from services.gateway.upstream.translation.conversation import (
    Effort,
    Labels,
    OutputLimits,
    Request,
    Sampling,
    Shape,
    Turn,
    Wish,
)
from services.gateway.upstream.translation.parts import Text
from services.gateway.upstream.translation.refusals import decode_at, invalid
from services.gateway.upstream.translation.responses.input_reader import read_input
from services.gateway.upstream.translation.responses.tools_reader import read_choice, read_tools
from services.gateway.upstream.translation.responses.wire import (
    FORMAT,
    MEMBERS,
    NUMBER,
    REASONING,
    TEXT,
    TEXTS,
    TRUTH,
    WHOLE,
    present,
)
from services.gateway.upstream.translation.tools import Tool

T = TypeVar("T")
Fields = Mapping[str, msgspec.Raw]

_EFFORTS = get_args(Effort)
_LOGPROBS = "message.output_text.logprobs"
# Read into the conversation, whole.
_READ = frozenset(
    {
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    }
)
_LABELS = msgspec.json.Decoder(dict[str, str])
# Their lack changes nothing that was asked.
_HINTS = frozenset({"client_metadata", "include", "prompt_cache_options", "stream_options"})
_REASONING_MEMBERS = frozenset({"effort", "summary", "generate_summary"})
_NEUTRAL = {
    "background": (b"false",),
    "reasoning.context": (b'"auto"',),
    "reasoning.mode": (b'"standard"',),
    "truncation": (b'"disabled"',),
}


def read_request(fields: Fields) -> Request:
    """Raises InvalidRequest, which names the full path of what is wrong."""
    turns, added_tools = read_input(present(fields, "input"))
    instructions = _read(fields, "instructions", TEXT)
    if instructions:
        text = Text(text=instructions, at=(-1,))
        turns = (Turn(role="system", parts=(text,), at=(-1,)), *turns)
    extra, hints = _extra_and_hints(fields)
    choice_raw = present(fields, "tool_choice")
    choice = None if choice_raw is None else read_choice(choice_raw)
    if choice is None and choice_raw is not None:
        extra["tool_choice"] = choice_raw
    shape, verbosity = _read_text(fields, extra)
    is_stream = _read(fields, "stream", TRUTH)
    return Request(
        turns=turns,
        tools=_with_added(_read_tools(fields), added_tools),
        choice=choice,
        parallel=_read(fields, "parallel_tool_calls", TRUTH),
        limits=_read_limits(fields),
        sampling=_read_sampling(fields),
        thinking=_read_thinking(fields, extra, hints),
        shape=shape,
        verbosity=verbosity,
        labels=_read_labels(fields),
        stream=is_stream is True,
        extra=extra,
        hints=hints,
    )


def _read(fields: Fields, name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    raw = present(fields, name)
    return None if raw is None else decode_at(decoder, raw, name)


def _read_tools(fields: Fields) -> tuple[Tool, ...]:
    raw = present(fields, "tools")
    return () if raw is None else read_tools(raw, "tools")


def _with_added(tools: tuple[Tool, ...], added_tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """The tools that items bring; the earliest wins a name."""
    if not added_tools:
        return tools
    names = {_name(tool) for tool in tools}
    new_tools: list[Tool] = []
    for tool in added_tools:
        name = _name(tool)
        if name is None or name not in names:
            names.add(name)
            new_tools.append(tool)
    return (*tools, *new_tools)


def _name(tool: Tool) -> tuple[str | None, str] | None:
    name = getattr(tool, "name", None)
    return None if name is None else (getattr(tool, "namespace", None), name)


def _read_limits(fields: Fields) -> OutputLimits:
    limits = OutputLimits(
        output_tokens=_read(fields, "max_output_tokens", WHOLE),
        hosted_calls=_read(fields, "max_tool_calls", WHOLE),
    )
    if limits.output_tokens is not None and limits.output_tokens < 1:
        raise invalid("max_output_tokens", "must be at least 1")
    if _is_prewarm(fields):
        return msgspec.structs.replace(limits, output_tokens=0)
    return limits


def _is_prewarm(fields: Fields) -> bool:
    options = _read(fields, "prompt_cache_options", MEMBERS) or {}
    raw = present(options, "prewarm")
    return raw is not None and decode_at(TRUTH, raw, "prompt_cache_options.prewarm")


def _read_sampling(fields: Fields) -> Sampling:
    include = _read(fields, "include", TEXTS) or []
    return Sampling(
        temperature=_read(fields, "temperature", NUMBER),
        top_p=_read(fields, "top_p", NUMBER),
        wants_logprobs=_LOGPROBS in include,
        top_logprobs=_read(fields, "top_logprobs", WHOLE),
    )


def _read_thinking(
    fields: Fields, extra: dict[str, msgspec.Raw], hints: dict[str, msgspec.Raw]
) -> Wish:
    raw = present(fields, "reasoning")
    if raw is None:
        return Wish()
    reasoning = decode_at(REASONING, raw, "reasoning")
    members = decode_at(MEMBERS, raw, "reasoning")
    for name in members.keys() - _REASONING_MEMBERS:
        _note(f"reasoning.{name}", members[name], extra, hints)
    effort = reasoning.effort
    if effort is not None and effort not in _EFFORTS:
        raise invalid("reasoning.effort", f"must be one of {', '.join(_EFFORTS)}")
    return Wish(
        effort=effort,  # type: ignore[arg-type]  # one of its words, as proven
        summary=reasoning.summary or reasoning.generate_summary,
    )


def _read_text(fields: Fields, extra: dict[str, msgspec.Raw]) -> tuple[Shape | None, str | None]:
    raw = present(fields, "text")
    if raw is None:
        return None, None
    members = decode_at(MEMBERS, raw, "text")
    for name in members.keys() - {"format", "verbosity"}:
        extra[f"text.{name}"] = members[name]
    raw_verbosity, raw_format = present(members, "verbosity"), present(members, "format")
    verbosity = None if raw_verbosity is None else decode_at(TEXT, raw_verbosity, "text.verbosity")
    return (None if raw_format is None else _read_format(raw_format)), verbosity


def _read_format(raw: msgspec.Raw) -> Shape | None:
    form = decode_at(FORMAT, raw, "text.format")
    if form.type == "text":
        return None
    if form.type == "json_object":
        return Shape(kind="json_object")
    if form.type != "json_schema":
        raise invalid("text.format.type", "must be text, json_object or json_schema")
    if not form.name:
        raise invalid("text.format.name", "a schema requires a name")
    if not bytes(form.schema).startswith(b"{"):
        raise invalid("text.format.schema", "a JSON schema must be an object")
    return Shape(
        kind="json_schema",
        name=form.name,
        description=form.description,
        schema=form.schema,
        strict=form.strict,
    )


def _read_labels(fields: Fields) -> Labels:
    metadata = present(fields, "metadata")
    if metadata is not None:
        decode_at(_LABELS, metadata, "metadata")
    return Labels(
        user=_read(fields, "user", TEXT),
        safety_id=_read(fields, "safety_identifier", TEXT),
        metadata=metadata,
        cache_key=_read(fields, "prompt_cache_key", TEXT),
        cache_retention=_read(fields, "prompt_cache_retention", TEXT),
        keeps=_read(fields, "store", TRUTH),
        tier=_read(fields, "service_tier", TEXT),
    )


def _extra_and_hints(fields: Fields) -> tuple[dict[str, msgspec.Raw], dict[str, msgspec.Raw]]:
    extra: dict[str, msgspec.Raw] = {}
    hints: dict[str, msgspec.Raw] = {}
    for name in fields:
        raw = None if name in _READ else present(fields, name)
        if raw is not None:
            _note(name, raw, extra, hints)
    return extra, hints


def _note(
    name: str, raw: msgspec.Raw, extra: dict[str, msgspec.Raw], hints: dict[str, msgspec.Raw]
) -> None:
    value = bytes(raw)
    if name in _HINTS or value == b"null" or value in _NEUTRAL.get(name, ()):
        hints[name] = raw
    else:
        extra[name] = raw
