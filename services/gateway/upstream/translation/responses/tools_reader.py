"""Reads a Responses client's tools, and which of them the model is to use."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.parts import At
from services.gateway.upstream.translation.refusals import decode_at, invalid, unsupported
from services.gateway.upstream.translation.responses.thoughts import FAMILY
from services.gateway.upstream.translation.responses.wire import (
    CHOICE,
    FILTERS,
    GRAMMAR,
    MEMBERS,
    PLAIN_FUNCTION,
    PLAIN_FUNCTIONS,
    RAWS,
    TEXT,
    TOOLS,
    TRUTH,
    PlainFunction,
    ResponsesToolChoice,
    present,
)
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Search,
    Tool,
    ToolChoice,
)

Members = Mapping[str, msgspec.Raw]

_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}
_NAMED = ("function", "custom")
_SEARCHES = ("web_search", "web_search_2025_08_26")
_PREVIEWS = ("web_search_preview", "web_search_preview_2025_03_11")
_FUNCTION = frozenset({"type", "name", "description", "parameters", "strict"})
_FREEFORM = frozenset({"type", "name", "description", "format"})
_SEARCH = frozenset({"type", "filters", "user_location", "search_context_size"})
_NAMESPACE = frozenset({"type", "name", "description", "tools"})
# Said so, they change nothing.
_NEUTRAL = {
    "allowed_callers": (b'["direct"]', b"[]"),
    "async": (b"false",),
    "defer_loading": (b"false",),
    "external_web_access": (b"true",),
    "search_content_types": (b'["text"]',),
}


def read_tools(raw: msgspec.Raw, path: str, at: At = ()) -> tuple[Tool, ...]:
    """`at` is that of the list, where it is not the request's own."""
    try:
        # As good as all lists are of plain functions alone, and read at once.
        functions = PLAIN_FUNCTIONS.decode(raw)
    except UNREADABLE:
        functions = []
    tools: list[Tool] = []
    for index, plain in enumerate(functions):
        function = _function(plain, (*at, index))
        if function is None:
            break
        tools.append(function)
    if tools and len(tools) == len(functions):
        return tuple(tools)
    return _read_each(raw, path, at)


def _read_each(raw: msgspec.Raw, path: str, at: At) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    raw_tools: list[msgspec.Raw] = decode_at(RAWS, raw, path)
    for index, tool in enumerate(raw_tools):
        place = (*at, index)
        plain = _plain_function(tool, place)
        if plain is not None:
            tools.append(plain)
        else:
            where = f"{path}[{index}]"
            members: dict[str, msgspec.Raw] = decode_at(MEMBERS, tool, where)
            tools += _read(members, tool, where, place)
    return tuple(tools)


def _plain_function(raw: msgspec.Raw, at: At) -> Function | None:
    """None for any other tool, and for one that is misshapen."""
    try:
        return _function(PLAIN_FUNCTION.decode(raw), at)
    except UNREADABLE:
        return None


def _function(plain: PlainFunction, at: At) -> Function | None:
    if not plain.name or not bytes(plain.parameters).startswith(b"{"):
        return None
    return Function(
        name=plain.name,
        at=at,
        description=plain.description,
        schema=plain.parameters,
        strict=plain.strict,
    )


def _read(members: Members, raw: msgspec.Raw, path: str, at: At) -> Iterator[Tool]:
    kind = _text(members, "type", path)
    if kind in _NAMED:
        yield _read_named(kind, members, path, at)
    elif kind == "namespace":
        yield from _read_namespace(members, path, at)
    elif kind in _SEARCHES or kind in _PREVIEWS:
        yield _read_search(members, path, at, is_preview=kind in _PREVIEWS)
    elif not kind:
        raise invalid(f"{path}.type", "a tool requires a type, such as `function`")
    else:
        yield HostedTool(kind=kind, at=at, raw=raw, family=FAMILY)


def _read_named(
    kind: str, members: Members, path: str, at: At, namespace: tuple[str, str] | None = None
) -> Function | Freeform:
    name = _text(members, "name", path)
    if not name:
        raise invalid(f"{path}.name", "a tool requires a name")
    space, space_description = namespace or (None, None)
    description = _text(members, "description", path)
    if kind == "custom":
        syntax, grammar = _read_grammar(members, path)
        return Freeform(
            name=name,
            at=at,
            namespace=space,
            namespace_description=space_description,
            description=description,
            syntax=syntax,
            grammar=grammar,
            extra=_extra_members(members, _FREEFORM),
        )
    schema = present(members, "parameters")
    if schema is not None and not bytes(schema).startswith(b"{"):
        raise invalid(f"{path}.parameters", "a JSON schema must be an object")
    strict = present(members, "strict")
    return Function(
        name=name,
        at=at,
        namespace=space,
        namespace_description=space_description,
        description=description,
        schema=schema,
        strict=None if strict is None else decode_at(TRUTH, strict, f"{path}.strict"),
        extra=_extra_members(members, _FUNCTION),
    )


def _read_grammar(members: Members, path: str) -> tuple[str | None, str | None]:
    raw = present(members, "format")
    if raw is None:
        return None, None
    grammar = decode_at(GRAMMAR, raw, f"{path}.format")
    if grammar.type == "text":
        return None, None
    if grammar.type != "grammar" or grammar.syntax is None or grammar.definition is None:
        raise invalid(f"{path}.format", "must be `text` or a complete `grammar`")
    return grammar.syntax, grammar.definition


def _read_namespace(members: Members, path: str, at: At) -> Iterator[Tool]:
    name = _text(members, "name", path)
    raw = present(members, "tools")
    if not name or raw is None:
        raise invalid(path, "a namespace requires a name and tools")
    for member in _extra_members(members, _NAMESPACE):
        raise invalid(f"{path}.{member}", "a namespace does not have this field")
    namespace = (name, _text(members, "description", path) or "")
    tools: list[dict[str, msgspec.Raw]] = decode_at(TOOLS, raw, f"{path}.tools")
    for index, inner in enumerate(tools):
        place = f"{path}.tools[{index}]"
        kind = _text(inner, "type", place)
        if kind not in _NAMED:
            raise invalid(f"{place}.type", "a namespace holds only `function` and `custom` tools")
        yield _read_named(kind, inner, place, (*at, index), namespace)


def _read_search(members: Members, path: str, at: At, *, is_preview: bool) -> Search:
    filters = present(members, "filters")
    extra = _extra_members(members, _SEARCH)
    domains: tuple[str, ...] = ()
    if filters is not None:
        domains = decode_at(FILTERS, filters, f"{path}.filters").allowed_domains or ()
        inside = decode_at(MEMBERS, filters, f"{path}.filters")
        extra |= {f"filters.{name}": inside[name] for name in inside if name != "allowed_domains"}
    location = present(members, "user_location")
    if location is not None and bytes(location)[:1] != b"{":
        raise invalid(f"{path}.user_location", "must be an object")
    return Search(
        at=at,
        domains=domains,
        location=location,
        context_size=_text(members, "search_context_size", path),
        is_preview=is_preview,
        extra=extra,
    )


def _extra_members(members: Members, known: frozenset[str]) -> dict[str, msgspec.Raw]:
    """What only the own family knows, less what changes nothing."""
    if members.keys() <= known:
        return {}
    extra = {}
    for name in members:
        value = present(members, name)
        if name in known or value is None:
            continue
        if bytes(value).replace(b" ", b"") not in _NEUTRAL.get(name, ()):
            extra[name] = value
    return extra


def _text(members: Members, name: str, path: str) -> str | None:
    raw = present(members, name)
    return None if raw is None else decode_at(TEXT, raw, f"{path}.{name}")


def read_choice(raw: msgspec.Raw) -> ToolChoice | None:
    """None for a choice of what only the own family knows."""
    choice = decode_at(CHOICE, raw, "tool_choice")
    if isinstance(choice, str):
        if choice in _MODES:
            return ToolChoice(mode=_MODES[choice])
        raise invalid("tool_choice", f"must be one of {', '.join(_MODES)}, or an object")
    if choice.type in _NAMED:
        if not choice.name:
            raise invalid("tool_choice.name", "the tool requires a name")
        for name in decode_at(MEMBERS, raw, "tool_choice").keys() - {"type", "name"}:
            raise unsupported(f"tool_choice.{name}")
        return ToolChoice(mode="required", names=(choice.name,))
    if choice.type == "allowed_tools":
        return _allowed_tools(choice)
    if not choice.type:
        raise invalid("tool_choice.type", "a choice requires a type, such as `function`")
    return None


def _allowed_tools(choice: ResponsesToolChoice) -> ToolChoice | None:
    tools: Sequence[ResponsesToolChoice] = choice.tools or ()
    if not tools:
        raise invalid("tool_choice.tools", "must name at least one tool")
    if any(tool.type not in _NAMED or not tool.name for tool in tools):
        return None
    names = tuple(tool.name for tool in tools if tool.name)
    return ToolChoice(mode="required" if choice.mode == "required" else "auto", names=names)
