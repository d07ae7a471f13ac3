"""Writes tools, and the choice among them, for a provider that speaks Responses."""

from typing import Any

import msgspec

from services.gateway.upstream.translation.freeform import ONE_INPUT, description_of
from services.gateway.upstream.translation.names import sent_name
from services.gateway.upstream.translation.parts import At
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.responses.paths import PATHS
from services.gateway.upstream.translation.responses.thoughts import FAMILY
from services.gateway.upstream.translation.responses.wire import ABSENT
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Search,
    Tool,
    ToolChoice,
)

_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')
_OBJECT_STARTS = (b'{"type":"object"', b'{"type": "object"')


_Definition = dict[str, Any] | msgspec.Raw


class _Schema(msgspec.Struct):
    type: msgspec.Raw = ABSENT


_schema = msgspec.json.Decoder(_Schema)


class ToolsWriter:
    """`added_tools` are those that items of the client's input brought, by the item's index."""

    def __init__(self, tools: tuple[Tool, ...], profile: Profile, report: Report) -> None:
        self._profile = profile
        self._report = report
        # The client speaks this format too, so what only it knows has its meaning.
        self._is_own = report.paths is PATHS
        # Others that speak the format know functions alone, and no namespaces.
        self._is_openai = profile.family == FAMILY
        self._tools_by_name = {
            name: tool
            for tool in tools
            if isinstance(tool, (Function, Freeform))
            for name in (tool.name, self._flat(tool))
        }
        self.definitions: list[_Definition] = []
        self.added_tools: dict[int, list[_Definition]] = {}
        self._spaces: dict[tuple[At, str], dict[str, Any]] = {}
        for tool in tools:
            self._write(tool)

    def _write(self, tool: Tool) -> None:
        if type(tool) is Function:
            self._list(tool).append(self._function(tool))
        elif type(tool) is Freeform:
            self._list(tool).append(self._freeform(tool))
        elif type(tool) is Search:
            self._search(tool)
        elif type(tool) is HostedTool:
            if self._is_own and tool.family == self._profile.family:
                self._list(tool).append(tool.raw)
            else:
                why = f"the model's provider has no tool of type {tool.kind}"
                self._report.unsupported(self._report.paths.tool(tool.at), why)

    def _list(self, tool: Tool) -> list[_Definition]:
        """Where a tool belongs: in the request's own list, an item's, or a namespace in one."""
        tools = self.definitions
        if tool.at[0] < 0 and self._is_own:
            tools = self.added_tools.setdefault(-1 - tool.at[0], [])
        if isinstance(tool, (Search, HostedTool)) or tool.namespace is None or not self._is_openai:
            return tools
        # A namespace's tools are all those beside each other in it.
        key = tool.at[:-1], tool.namespace
        space = self._spaces.get(key)
        if space is None:
            space = self._spaces[key] = {
                "type": "namespace",
                "name": tool.namespace,
                "description": tool.namespace_description or "",
                "tools": [],
            }
            tools.append(space)
        namespace_tools: list[_Definition] = space["tools"]
        return namespace_tools

    def _function(self, tool: Function) -> dict[str, Any]:
        definition: dict[str, Any] = {"type": "function", "name": self._name(tool)}
        if tool.description is not None:
            definition["description"] = tool.description
        definition["parameters"] = _object(tool.schema)
        definition["strict"] = bool(tool.strict)
        return self._with_extra(definition, tool)

    def _freeform(self, tool: Freeform) -> dict[str, Any]:
        if not self._is_openai:
            return self._as_function(tool)
        definition: dict[str, Any] = {"type": "custom", "name": self._name(tool)}
        if tool.description is not None:
            definition["description"] = tool.description
        if tool.grammar is not None:
            definition["format"] = {
                "type": "grammar",
                "syntax": tool.syntax,
                "definition": tool.grammar,
            }
        return self._with_extra(definition, tool)

    def _as_function(self, tool: Freeform) -> dict[str, Any]:
        """With the whole input as its one argument."""
        definition: dict[str, Any] = {"type": "function", "name": self._name(tool)}
        if (description := description_of(tool, self._report)) is not None:
            definition["description"] = description
        definition |= {"parameters": ONE_INPUT, "strict": False}
        return self._with_extra(definition, tool)

    def _search(self, tool: Search) -> None:
        paths = self._report.paths
        if not self._profile.takes_search and not self._is_own:
            why = "the model's provider has no tool for web searches"
            self._report.unsupported(paths.tool(tool.at), why)
            return
        definition: dict[str, Any] = {
            "type": "web_search_preview" if tool.is_preview else "web_search"
        }
        if tool.domains:
            definition["filters"] = {"allowed_domains": tool.domains}
        if tool.location is not None:
            definition["user_location"] = tool.location
        if tool.context_size is not None:
            definition["search_context_size"] = tool.context_size
        if tool.blocked:
            self._report.unsupported(paths.tool(tool.at, "blocked_domains"))
        if tool.max_uses is not None:
            self._report.unsupported(paths.tool(tool.at, "max_uses"))
        self._list(tool).append(self._with_extra(definition, tool))

    def _with_extra(
        self, definition: dict[str, Any], tool: Function | Freeform | Search
    ) -> dict[str, Any]:
        for name, raw in tool.extra.items():
            outer, _, inner = name.partition(".")
            if not self._is_own:
                self._report.unsupported(self._report.paths.tool(tool.at, name))
            elif inner:
                definition.setdefault(outer, {})[inner] = raw
            else:
                definition[name] = raw
        return definition

    def choice(self, choice: ToolChoice) -> str | dict[str, Any] | None:
        """None where there is nothing to choose from."""
        if choice.kind is not None:
            self._report.unsupported(self._report.paths.field("choice"))
            return None
        if not choice.names:
            has_tools = self.definitions or self.added_tools or choice.mode == "required"
            return choice.mode if has_tools else None
        references = [self._reference(name) for name in choice.names]
        if choice.mode == "required" and len(references) == 1:
            return references[0]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": references}

    def _reference(self, name: str) -> dict[str, Any]:
        tool = self._tools_by_name.get(name)
        is_custom = type(tool) is Freeform and self._is_openai
        sent = sent_name(name, None, self._profile.max_name_chars)
        return {
            "type": "custom" if is_custom else "function",
            "name": sent if tool is None else self._name(tool),
        }

    def _name(self, tool: Function | Freeform) -> str:
        if self._is_openai:
            return sent_name(tool.name, None, self._profile.max_name_chars)
        return self._flat(tool)

    def _flat(self, tool: Function | Freeform) -> str:
        return sent_name(tool.name, tool.namespace, self._profile.max_name_chars)


def _object(schema: msgspec.Raw | None) -> msgspec.Raw:
    """OpenAI wants to be told that arguments are an object; else the bytes are the client's."""
    if schema is None:
        return _NO_PARAMETERS
    data = bytes(schema)
    if data.startswith(_OBJECT_STARTS):
        return schema
    if b'"type"' in data and _schema.decode(data).type is not ABSENT:
        # Whatever it is, the provider says best what is wrong with it.
        return schema
    rest = data[1:].lstrip()
    return msgspec.Raw(b'{"type":"object"' + (b"" if rest[:1] == b"}" else b",") + rest)
