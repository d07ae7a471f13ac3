"""Reads a client's body in Anthropic's Messages format."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

import msgspec

from services.gateway.formats.base import NULL
from services.gateway.upstream.translation.conversation import (
    Effort,
    Labels,
    OutputLimits,
    Request,
    Sampling,
    Shape,
    Wish,
)
from services.gateway.upstream.translation.messages import wire
from services.gateway.upstream.translation.messages.block_reader import read_mark
from services.gateway.upstream.translation.messages.tool_reader import read_tools
from services.gateway.upstream.translation.messages.turn_reader import read_messages, read_system
from services.gateway.upstream.translation.parts import CacheMark
from services.gateway.upstream.translation.refusals import decode_at, invalid
from services.gateway.upstream.translation.tools import ToolChoice

T = TypeVar("T")
Fields = Mapping[str, msgspec.Raw]
Members = dict[str, msgspec.Raw]

_MODES: dict[str, Literal["off", "auto", "on", "between_tools"]] = {
    "enabled": "on",
    "adaptive": "auto",
    "disabled": "off",
    "between_tools": "between_tools",
}
_NOT_SHOWN = ("disabled", "between_tools")
_CHOICES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "required",
    "none": "none",
}
_TIERS = {"auto": "auto", "standard_only": "default"}
# Fields that the conversation has words for; `model` is the route's affair.
_READ = frozenset(
    {
        "model", "messages", "system", "tools", "tool_choice", "max_tokens", "stop_sequences",
        "temperature", "top_p", "top_k", "thinking", "output_config", "output_format", "metadata",
        "service_tier", "cache_control", "stream",
    }
)  # fmt: skip
# What these ask for is no more than what every target does.
_NEUTRAL: dict[str, tuple[bytes, ...]] = {
    "speed": (b'"standard"',),
    "mcp_servers": (b"[]",),
    "fallbacks": (b"[]",),
}
# It tells the provider of an earlier answer, and is answered by what the gateway has not.
_HINTS = frozenset({"diagnostics"})

_bool = msgspec.json.Decoder(bool | None)
_limit = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0)] | None)
_int = msgspec.json.Decoder(int | None)
_float = msgspec.json.Decoder(float | None)
_str = msgspec.json.Decoder(str | None)
_strs = msgspec.json.Decoder(list[str] | None)
_members = msgspec.json.Decoder(Members | None)
_effort = msgspec.json.Decoder(Literal["low", "medium", "high", "xhigh", "max"] | None)
_tier = msgspec.json.Decoder(Literal["auto", "standard_only"] | None)
_thinking = msgspec.json.Decoder(wire.ThinkingConfig | None)
_choice = msgspec.json.Decoder(wire.MessagesToolChoice | None)
_format = msgspec.json.Decoder(wire.OutputFormat | None)
_control = msgspec.json.Decoder(wire.CacheControl | None)
_context = msgspec.json.Decoder(wire.ContextManagement)


def read_request(fields: Fields) -> Request:
    """Raises InvalidRequest, which names the path of what is wrong."""
    if "messages" not in fields:
        raise invalid("messages", "this field is missing")
    extra, hints = _extra_and_hints(fields)
    config = _members_of(fields, "output_config", extra, ("effort", "format"))
    user = _members_of(fields, "metadata", extra, ("user_id",)).get("user_id", NULL)
    tier = _value(fields, "service_tier", _tier)
    choice, parallel = _read_choice(fields)
    return Request(
        turns=read_system(fields.get("system", NULL)) + read_messages(fields["messages"]),
        tools=read_tools(fields.get("tools", NULL)),
        choice=choice,
        parallel=parallel,
        limits=OutputLimits(
            output_tokens=_value(fields, "max_tokens", _limit),
            stop=tuple(_value(fields, "stop_sequences", _strs) or ()),
        ),
        sampling=Sampling(
            temperature=_value(fields, "temperature", _float),
            top_p=_value(fields, "top_p", _float),
            top_k=_value(fields, "top_k", _int),
        ),
        thinking=_wish(
            fields, decode_at(_effort, config.get("effort", NULL), "output_config.effort")
        ),
        shape=_shape(fields, config),
        labels=Labels(
            user=decode_at(_str, user, "metadata.user_id"),
            tier=None if tier is None else _TIERS[tier],
        ),
        auto_cache=_auto_cache(fields),
        stream=_value(fields, "stream", _bool) is True,
        extra=extra,
        hints=hints,
    )


def _value(fields: Fields, name: str, decoder: msgspec.json.Decoder[T | None]) -> T | None:
    raw = fields.get(name)
    return None if raw is None else decode_at(decoder, raw, name)


def _extra_and_hints(fields: Fields) -> tuple[Members, Members]:
    """Members that only Anthropic knows: requests, and mere hints."""
    extra: Members = {}
    hints: Members = {}
    for name, raw in fields.items():
        if name not in _READ:
            (hints if _is_hint(name, raw) else extra)[name] = raw
    return extra, hints


def _is_hint(name: str, raw: msgspec.Raw) -> bool:
    if raw == NULL or name in _HINTS or bytes(raw) in _NEUTRAL.get(name, ()):
        return True
    if name != "context_management":
        return False
    edits = decode_at(_context, raw, name).edits or ()
    # To leave earlier thinking out is what other families do anyway.
    return all(edit.type.startswith("clear_thinking") for edit in edits)


def _members_of(fields: Fields, name: str, extra: Members, known: tuple[str, ...]) -> Members:
    """An object's members; those beside the `known` ones go to `extra` by their full path."""
    members = _value(fields, name, _members) or {}
    for member, raw in members.items():
        if member not in known and raw != NULL:
            extra[f"{name}.{member}"] = raw
    return members


def _read_choice(fields: Fields) -> tuple[ToolChoice | None, bool | None]:
    choice = _value(fields, "tool_choice", _choice)
    if choice is None:
        return None, None
    if (choice.type == "tool") != (choice.name is not None):
        raise invalid("tool_choice.name", "required for type tool, and allowed for no other")
    names = () if choice.name is None else (choice.name,)
    alone = choice.disable_parallel_tool_use
    return ToolChoice(mode=_CHOICES[choice.type], names=names), None if alone is None else not alone


def _wish(fields: Fields, effort: Effort | None) -> Wish:
    config = _value(fields, "thinking", _thinking)
    if config is None:
        return Wish(effort=effort)
    if config.type == "enabled" and config.budget_tokens is None:
        raise invalid("thinking.budget_tokens", "this field is missing")
    if config.type != "enabled" and config.budget_tokens is not None:
        raise invalid("thinking.budget_tokens", f"thinking of type {config.type} has no budget")
    if config.type in _NOT_SHOWN and config.display is not None:
        raise invalid("thinking.display", f"thinking of type {config.type} cannot be displayed")
    return Wish(
        mode=_MODES[config.type],
        effort=effort,
        budget_tokens=config.budget_tokens,
        is_shown=None if config.display is None else config.display == "summarized",
    )


def _shape(fields: Fields, config: Members) -> Shape | None:
    """`output_format` is what the first clients of structured answers call it."""
    older = _value(fields, "output_format", _format)
    newer = decode_at(_format, config.get("format", NULL), "output_config.format")
    if older is not None and newer is not None and older != newer:
        raise invalid("output_format", "differs from output_config.format, which replaces it")
    output_format = newer or older
    if output_format is None:
        return None
    if bytes(output_format.schema)[:1] != b"{":
        path = "output_format" if newer is None else "output_config.format"
        raise invalid(f"{path}.schema", "expected an object")
    return Shape(kind="json_schema", schema=output_format.schema)


def _auto_cache(fields: Fields) -> CacheMark | None:
    return read_mark(_value(fields, "cache_control", _control))
