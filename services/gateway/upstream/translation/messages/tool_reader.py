"""Reads a client's tools."""

from collections.abc import Sequence

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.formats.base import ABSENT, NULL
from services.gateway.upstream.translation.messages import wire
from services.gateway.upstream.translation.messages.block_reader import read_mark
from services.gateway.upstream.translation.messages.family import FAMILY
from services.gateway.upstream.translation.refusals import decode_at, invalid
from services.gateway.upstream.translation.tools import (
    Function,
    HostedTool,
    Search,
    Tool,
)

Members = dict[str, msgspec.Raw]

_SEARCH_PREFIX = "web_search_"
_CUSTOM = "custom"
_OWN = ("input_examples", "allowed_callers", "defer_loading", "eager_input_streaming")
_SEARCH_OWN = (
    "allowed_callers",
    "defer_loading",
    "strict",
    "response_inclusion",
    "cache_control",
)
# What these say is so without them; how inputs are streamed changes nothing of them.
_NEUTRAL: dict[str, tuple[bytes, ...]] = {
    "input_examples": (b"[]",),
    "allowed_callers": (b'["direct"]', b"[]"),
    "defer_loading": (b"false",),
    "eager_input_streaming": (b"true", b"false"),
    "strict": (b"false",),
    "response_inclusion": (b'"full"',),
}

_tools = msgspec.json.Decoder(list[wire.CustomTool] | None)
_raw_tools = msgspec.json.Decoder(list[msgspec.Raw])
_kind = msgspec.json.Decoder(wire.BlockHead)
_custom = msgspec.json.Decoder(wire.CustomTool)
_search = msgspec.json.Decoder(wire.WebSearchTool)
_members = msgspec.json.Decoder(Members)


def read_tools(raw: msgspec.Raw) -> tuple[Tool, ...]:
    """Raises InvalidRequest, which names the path of what is wrong."""
    try:
        tools: Sequence[wire.CustomTool] | None = _tools.decode(raw)
    except UNREADABLE:
        # Tools of Anthropic's, or a mistake: the slow way tells, tool by tool.
        raw_tools = decode_at(_raw_tools, raw, "tools")
        return tuple(_read(tool, index) for index, tool in enumerate(raw_tools))
    return tuple(_function(tool, index, {}) for index, tool in enumerate(tools or ()))


def _read(raw: msgspec.Raw, index: int) -> Tool:
    path = f"tools[{index}]"
    kind = decode_at(_kind, raw, path).type
    if kind is None or kind == _CUSTOM:
        return _function(*_custom_tool(raw, index))
    if kind.startswith(_SEARCH_PREFIX):
        return _search_tool(decode_at(_search, raw, path), index)
    return HostedTool(kind=kind, at=(index,), raw=raw, family=FAMILY)


def _custom_tool(raw: msgspec.Raw, index: int) -> tuple[wire.CustomTool, int, Members]:
    """The tool, and those of its members that are not known here."""
    members = decode_at(_members, raw, f"tools[{index}]")
    unknown = {
        name: members.pop(name) for name in set(members) - set(wire.CustomTool.__struct_fields__)
    }
    tool = decode_at(_custom, msgspec.json.encode(members), f"tools[{index}]")
    return tool, index, dict(sorted(unknown.items()))


def _function(tool: wire.CustomTool, index: int, unknown: Members) -> Function:
    if bytes(tool.input_schema)[:1] != b"{":
        raise invalid(f"tools[{index}].input_schema", "expected an object")
    extra, hints = _extra_and_hints(tool, _OWN) if _has_own(tool) else ({}, {})
    return Function(
        name=tool.name,
        at=(index,),
        schema=tool.input_schema,
        description=tool.description,
        strict=tool.strict,
        cache=read_mark(tool.cache_control),
        extra=extra | unknown if unknown else extra,
        hints=hints,
    )


def _has_own(tool: wire.CustomTool) -> bool:
    return not (
        tool.input_examples
        is tool.allowed_callers
        is tool.defer_loading
        is tool.eager_input_streaming
        is ABSENT
    )


def _search_tool(tool: wire.WebSearchTool, index: int) -> Search:
    extra, hints = _extra_and_hints(tool, _SEARCH_OWN)
    location = None if tool.user_location in (ABSENT, NULL) else tool.user_location
    if location is not None and bytes(location)[:1] != b"{":
        raise invalid(f"tools[{index}].user_location", "expected an object")
    return Search(
        at=(index,),
        domains=tuple(tool.allowed_domains or ()),
        blocked=tuple(tool.blocked_domains or ()),
        max_uses=tool.max_uses,
        location=location,
        version=tool.type,
        extra=extra,
        hints=hints,
    )


def _extra_and_hints(
    tool: wire.CustomTool | wire.WebSearchTool, names: tuple[str, ...]
) -> tuple[Members, Members]:
    """Members that only Anthropic knows: requests, and mere hints."""
    extra: Members = {}
    hints: Members = {}
    for name in names:
        raw = getattr(tool, name)
        if raw is not ABSENT and raw not in (ABSENT, NULL):
            is_hint = name == "cache_control" or bytes(raw) in _NEUTRAL.get(name, ())
            (hints if is_hint else extra)[name] = raw
    return extra, hints
