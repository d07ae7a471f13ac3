"""Writes tools, and which of them to use, in Anthropic's Messages format."""

from typing import Any

import msgspec

from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.freeform import ONE_INPUT, description_of
from services.gateway.upstream.translation.messages.block_writer import written_cache_control
from services.gateway.upstream.translation.messages.family import FAMILY, is_own
from services.gateway.upstream.translation.names import sent_name
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Search,
    Tool,
    ToolChoice,
)

Members = dict[str, Any]

_SEARCH_VERSION = "web_search_20250305"
_OBJECT = b'{"type":"object"'
_ROOTED = (_OBJECT, b'{"type": "object"')
_USUAL_CONTEXT = "medium"

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Typed(msgspec.Struct):
    type: msgspec.Raw = msgspec.Raw()


_typed = msgspec.json.Decoder(_Typed)


def write_tools(request: Request, profile: Profile, report: Report) -> list[Any]:
    """Writes the tools that the choice allows. Raises UnsupportedField, or reports."""
    writer = _ToolWriter(request, profile, report)
    definitions = [writer.write(tool) for tool in _offered_tools(request, profile, report)]
    return [tool for tool in definitions if tool is not None]


def write_choice(request: Request, profile: Profile, report: Report) -> Members | None:
    """Of a request with tools."""
    choice = request.choice or ToolChoice()
    if choice.kind is not None:
        report.unsupported(report.paths.field("choice"))
        choice = ToolChoice()
    if choice.mode == "none":
        return {"type": "none"}
    members: Members = {"type": "any" if choice.mode == "required" else "auto"}
    if choice.mode == "required" and len(choice.names) == 1:
        name = _sent_names(request, profile).get(choice.names[0], choice.names[0])
        members = {"type": "tool", "name": name}
    if request.parallel is not None:
        members["disable_parallel_tool_use"] = not request.parallel
    elif request.choice is None:
        return None
    return members


def _offered_tools(request: Request, profile: Profile, report: Report) -> tuple[Tool, ...]:
    """All tools, or those that a choice of several names."""
    choice = request.choice
    if choice is None or not choice.names or (choice.mode, len(choice.names)) == ("required", 1):
        return request.tools
    report.adapted(report.paths.field("choice"))
    return tuple(tool for tool in request.tools if _names_of(tool, profile) & set(choice.names))


def _names_of(tool: Tool, profile: Profile) -> set[str]:
    if isinstance(tool, (Function, Freeform)):
        return {tool.name, sent_name(tool.name, tool.namespace, profile.max_name_chars)}
    return {"web_search"} if isinstance(tool, Search) else {tool.kind}


def _sent_names(request: Request, profile: Profile) -> dict[str, str]:
    """As the tools are sent, by how a choice may name them."""
    return {
        name: sent_name(tool.name, tool.namespace, profile.max_name_chars)
        for tool in request.tools
        if isinstance(tool, (Function, Freeform))
        for name in _names_of(tool, profile)
    }


class _ToolWriter:
    def __init__(self, request: Request, profile: Profile, report: Report) -> None:
        self._profile = profile
        self._report = report
        self._is_own = is_own(report.paths)
        self._max_uses = self._hosted_calls(request)

    def write(self, tool: Tool) -> Members | msgspec.Raw | None:
        match tool:
            case Function():
                return self._function(tool)
            case Freeform():
                return self._freeform(tool)
            case Search():
                return self._search(tool)
            case HostedTool():
                return self._hosted(tool)

    def _hosted_calls(self, request: Request) -> int | None:
        """A limit of all hosted calls is one tool's own where there is only one."""
        limit = request.limits.hosted_calls
        if limit is None:
            return None
        hosted = [tool for tool in request.tools if isinstance(tool, (Search, HostedTool))]
        if len(hosted) == 1 and isinstance(hosted[0], Search):
            return limit
        if hosted:
            self._report.unsupported(self._report.paths.field("limits.hosted_calls"))
        return None

    def _function(self, tool: Function) -> Members:
        definition = self._definition(tool, tool.description)
        definition["input_schema"] = tool.schema if self._is_own else _with_root_type(tool.schema)
        if tool.strict:
            definition["strict"] = True
        if tool.cache is not None and self._profile.takes_cache_marks:
            definition["cache_control"] = written_cache_control(tool.cache)
        if tool.extra or tool.hints:
            self._write_extra(tool, definition)
        return definition

    def _freeform(self, tool: Freeform) -> Members:
        """With the whole input as its one argument."""
        definition = self._definition(tool, description_of(tool, self._report))
        definition["input_schema"] = ONE_INPUT
        self._write_extra(tool, definition)
        return definition

    def _definition(self, tool: Function | Freeform, description: str | None) -> Members:
        name = sent_name(tool.name, tool.namespace, self._profile.max_name_chars)
        definition: Members = {"name": name}
        if description is not None:
            definition["description"] = description
        return definition

    def _search(self, tool: Search) -> Members | None:
        if self._profile.family != FAMILY and not self._profile.takes_search:
            self._unsupported(tool, None, "the model's provider has no web search")
            return None
        definition: Members = {"type": tool.version or _SEARCH_VERSION, "name": "web_search"}
        if tool.domains:
            definition["allowed_domains"] = tool.domains
        if tool.blocked:
            definition["blocked_domains"] = tool.blocked
        max_uses = self._max_uses if tool.max_uses is None else tool.max_uses
        if max_uses is not None:
            definition["max_uses"] = max_uses
        if tool.location is not None:
            definition["user_location"] = {"type": "approximate"} | _members.decode(tool.location)
        if tool.context_size not in (None, _USUAL_CONTEXT):
            self._report.adapted(self._report.paths.tool(tool.at, "search_context_size"))
        self._write_extra(tool, definition)
        return definition

    def _hosted(self, tool: HostedTool) -> msgspec.Raw | None:
        if tool.family == self._profile.family:
            return tool.raw
        self._unsupported(tool, None, f"a tool of type {tool.kind} runs only at another provider")
        return None

    def _write_extra(self, tool: Function | Freeform | Search, definition: Members) -> None:
        if self._is_own and not isinstance(tool, Freeform):
            definition.update(tool.hints)
        for name, raw in tool.extra.items():
            if self._is_own:
                definition[name] = raw
            else:
                self._unsupported(tool, name, None)

    def _unsupported(self, tool: Tool, member: str | None, why: str | None) -> None:
        self._report.unsupported(self._report.paths.tool(tool.at, member), why)


def _with_root_type(schema: msgspec.Raw | None) -> msgspec.Raw | Members:
    """With the `type` that Anthropic wants at its root; else byte for byte."""
    if schema is None:
        return {"type": "object"}
    raw = bytes(schema)
    if raw.startswith(_ROOTED) or _typed.decode(raw).type:
        return schema
    rest = raw[1:].lstrip()
    return msgspec.Raw(_OBJECT + (rest if rest[:1] == b"}" else b"," + rest))
