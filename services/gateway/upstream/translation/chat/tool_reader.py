"""Reads a chat client's tools, and which of them the model is to use."""

from collections.abc import Mapping

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import InvalidRequest, UnsupportedField
from services.gateway.upstream.translation.chat import wire
from services.gateway.upstream.translation.chat.content_reader import cache_mark, is_object
from services.gateway.upstream.translation.chat.paths import PATHS, SEARCH_AT, legacy_at
from services.gateway.upstream.translation.parts import At
from services.gateway.upstream.translation.refusals import decode_at, invalid, unsupported
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Search,
    Tool,
    ToolChoice,
)

_MODES = ("auto", "none", "required")
_SYNTAXES = ("lark", "regex")
_NEUTRAL = {"defer_loading": b"false", "allowed_callers": b'["direct"]', "async": b"false"}
_TOOL_MEMBERS = frozenset(wire.SentTool.__struct_fields__)
_FUNCTION_MEMBERS = frozenset(wire.SentFunction.__struct_fields__)

_OWN = frozenset({"function", "custom"})
_NO_EXTRA: dict[str, msgspec.Raw] = {}

_tools = msgspec.json.Decoder(list[wire.SentTool])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_tool = msgspec.json.Decoder(wire.SentTool)
_type = msgspec.json.Decoder(wire.ToolType)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_legacy = msgspec.json.Decoder(list[wire.SentFunction])
_choice = msgspec.json.Decoder(str | wire.ChatToolChoice)
_legacy_choice = msgspec.json.Decoder(str | wire.NamedTool)
_search = msgspec.json.Decoder(wire.SearchOptions)


def read_tools(raw: msgspec.Raw) -> tuple[Tool, ...]:
    try:
        # As good as always: all are the client's, in the members that are known.
        tools = _tools.decode(raw)
    except UNREADABLE:
        tools = []
    if tools and _OWN.issuperset([tool.type for tool in tools]):
        return tuple([_read_own(tool, at, _NO_EXTRA) for at, tool in enumerate(tools)])
    raws = decode_at(_raws, raw, "tools")
    return tuple([_read_tool(tool, at) for at, tool in enumerate(raws)])


def read_legacy_tools(raw: msgspec.Raw) -> tuple[Tool, ...]:
    functions = decode_at(_legacy, raw, "functions")
    return tuple([_function(each, legacy_at(n), {}) for n, each in enumerate(functions)])


def read_search(raw: msgspec.Raw) -> Search:
    """The options are the tool."""
    options = decode_at(_search, raw, "web_search_options")
    location = None
    if options.user_location is not None:
        place = msgspec.to_builtins(options.user_location.approximate)
        location = msgspec.Raw(msgspec.json.encode({"type": "approximate", **place}))
    return Search(at=SEARCH_AT, location=location, context_size=options.search_context_size)


def read_choice(raw: msgspec.Raw) -> ToolChoice:
    choice = decode_at(_choice, raw, "tool_choice")
    if isinstance(choice, str):
        if choice not in _MODES:
            raise invalid("tool_choice", f"must be auto, none or required, not {choice!r}")
        return ToolChoice(mode=choice)  # type: ignore[arg-type]
    return _read_named(choice)


def read_legacy_choice(raw: msgspec.Raw) -> ToolChoice:
    choice = decode_at(_legacy_choice, raw, "function_call")
    if type(choice) is wire.NamedTool:
        return ToolChoice(mode="required", names=(choice.name,))
    if choice not in ("auto", "none"):
        raise invalid("function_call", f"must be auto or none, not {choice!r}")
    return ToolChoice(mode=choice)


def _read_named(choice: wire.ChatToolChoice) -> ToolChoice:
    if choice.type in _OWN:
        named_tool = choice.function if choice.type == "function" else choice.custom
        if named_tool is None:
            raise invalid(f"tool_choice.{choice.type}", "this field is missing")
        return ToolChoice(mode="required", names=(named_tool.name,))
    if choice.type != "allowed_tools":
        return ToolChoice(kind=choice.type)
    allowed = choice.allowed_tools
    if allowed is None:
        raise invalid("tool_choice.allowed_tools", "this field is missing")
    if allowed.mode not in ("auto", "required"):
        raise invalid("tool_choice.allowed_tools.mode", "must be auto or required")
    if not allowed.tools:
        raise invalid("tool_choice.allowed_tools.tools", "it is empty")
    names = []
    for index, tool in enumerate(allowed.tools):
        named_tool = tool.function or tool.custom
        if named_tool is None:
            where = f"tool_choice.allowed_tools.tools[{index}]"
            raise unsupported(where, f"a tool of type {tool.type!r} cannot be named here")
        names.append(named_tool.name)
    if allowed.mode == "auto":
        return ToolChoice(mode="auto", names=tuple(names))
    return ToolChoice(mode="required", names=tuple(names))


def _read_tool(raw: msgspec.Raw, at: int) -> Tool:
    path = f"tools[{at}]"
    kind = decode_at(_type, raw, path).type
    if kind not in _OWN:
        return HostedTool(kind=kind, at=(at,), raw=raw, family="openai")
    extra: dict[str, msgspec.Raw] = {}
    try:
        tool = decode_at(_tool, raw, path)
    except UnsupportedField:
        known, extra = _split_members(raw, path)
        tool = decode_at(_tool, known, path)
    return _read_own(tool, at, extra)


def _read_own(tool: wire.SentTool, at: int, extra: dict[str, msgspec.Raw]) -> Tool:
    if tool.type == "custom" and tool.custom is not None:
        return _freeform(tool.custom, at, extra)
    if tool.type == "custom" or tool.function is None:
        raise _misplaced(tool, at)
    function = _function(tool.function, (at,), extra)
    if tool.cache_control is None:
        return function
    mark = cache_mark(tool.cache_control, f"tools[{at}].cache_control")
    return msgspec.structs.replace(function, cache=mark)


def _misplaced(tool: wire.SentTool, at: int) -> InvalidRequest:
    """The Responses API has them flat."""
    why = "this field is missing"
    if tool.name != wire.ABSENT:
        why += f": the tool's name and all else but its type belong into `{tool.type}`"
    return invalid(f"tools[{at}].{tool.type}", why)


def _split_members(raw: msgspec.Raw, path: str) -> tuple[bytes, dict[str, msgspec.Raw]]:
    """What is known of a tool, and the other members by name; neutral ones are left out."""
    tool = decode_at(_members, raw, path)
    extra = {name: tool.pop(name) for name in tool.keys() - _TOOL_MEMBERS}
    if bytes(tool.get("function", b""))[:1] == b"{":
        function = decode_at(_members, tool["function"], f"{path}.function")
        unknown = function.keys() - _FUNCTION_MEMBERS
        extra |= {f"function.{name}": function.pop(name) for name in unknown}
        tool["function"] = msgspec.Raw(msgspec.json.encode(function))
    # In the client's order, so that equal bodies are refused alike.
    extra = {name: extra[name] for name in sorted(extra)}
    return msgspec.json.encode(tool), _without_neutral(extra)


def _without_neutral(extra: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    return {
        name: raw
        for name, raw in extra.items()
        if raw != wire.NULL and bytes(raw) != _NEUTRAL.get(name.removeprefix("function."))
    }


def _function(function: wire.SentFunction, at: At, extra: dict[str, msgspec.Raw]) -> Function:
    if not function.name:
        raise invalid(PATHS.tool(at, "name"), "it is empty")
    parameters: msgspec.Raw | None = function.parameters
    if is_object(function.parameters):
        pass
    elif parameters in (wire.ABSENT, wire.NULL):
        parameters = None
    else:
        raise invalid(
            PATHS.tool(at, "parameters"),
            "expected an object, a JSON schema",
        )
    return Function(
        name=function.name,
        at=at,
        schema=parameters,
        description=function.description,
        strict=function.strict,
        extra=extra,
    )


def _freeform(custom: wire.SentCustom, at: int, extra: dict[str, msgspec.Raw]) -> Freeform:
    path = f"tools[{at}].custom"
    if not custom.name:
        raise invalid(f"{path}.name", "it is empty")
    grammar = None
    if custom.format is not None and custom.format.type == "grammar":
        grammar = custom.format.grammar
        if grammar is None:
            raise invalid(f"{path}.format.grammar", "this field is missing")
        if grammar.syntax not in _SYNTAXES:
            raise invalid(f"{path}.format.grammar.syntax", "must be lark or regex")
    elif custom.format is not None and custom.format.type != "text":
        raise invalid(f"{path}.format.type", "must be text or grammar")
    return Freeform(
        name=custom.name,
        at=(at,),
        description=custom.description,
        syntax=None if grammar is None else grammar.syntax,
        grammar=None if grammar is None else grammar.definition,
        extra=extra,
    )
