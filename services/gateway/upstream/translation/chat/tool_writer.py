"""Writes a request's tools, and the choice among them, for a chat body."""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.gateway.upstream.translation.chat.message_writer import takes_freeform
from services.gateway.upstream.translation.chat.part_writer import JsonObject
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.freeform import ONE_INPUT, description_of
from services.gateway.upstream.translation.names import sent_name
from services.gateway.upstream.translation.parts import At
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Search,
    ToolChoice,
)

_location = msgspec.json.Decoder(dict[str, msgspec.Raw])


def write_tools(request: Request, profile: Profile, report: Report) -> JsonObject:
    """`tools` and what goes with them; no choice of tools without any."""
    body: JsonObject = {}
    tools: dict[str, JsonObject] = {}
    for tool in request.tools:
        if type(tool) is Function:
            name = sent_name(tool.name, tool.namespace, profile.max_name_chars)
            tools[name] = _function(tool, name, profile, report)
        elif type(tool) is Freeform:
            name = sent_name(tool.name, tool.namespace, profile.max_name_chars)
            tools[name] = _freeform(tool, name, profile, report)
        elif type(tool) is Search:
            body |= _search(tool, profile, report)
        elif type(tool) is HostedTool:
            why = f"a tool of type {tool.kind} cannot be carried to the model's provider"
            report.unsupported(report.paths.tool(tool.at), why)
    if request.choice is not None and request.choice.kind is not None:
        report.unsupported(report.paths.field("choice"))
    elif request.choice is not None and tools:
        tools = _apply_choice(request.choice, tools, body, profile, report)
    if tools:
        body["tools"] = list(tools.values())
        if request.parallel is not None:
            body["parallel_tool_calls"] = request.parallel
    return body


def _function(tool: Function, name: str, profile: Profile, report: Report) -> JsonObject:
    if tool.extra:
        _refuse(tool.extra, tool.at, report)
    function: JsonObject = {"name": name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    definition: JsonObject = {"type": "function", "function": function}
    if tool.cache is not None and profile.takes_cache_marks and profile.family == "anthropic":
        definition["cache_control"] = {"type": "ephemeral"}
    return definition


def _freeform(tool: Freeform, name: str, profile: Profile, report: Report) -> JsonObject:
    _refuse(tool.extra, tool.at, report)
    description = tool.description
    if not takes_freeform(profile):
        return _as_function(tool, name, report)
    custom: JsonObject = {"name": name}
    if description is not None:
        custom["description"] = description
    if tool.grammar is not None:
        grammar = {"definition": tool.grammar, "syntax": tool.syntax}
        custom["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": "custom", "custom": custom}


def _as_function(tool: Freeform, name: str, report: Report) -> JsonObject:
    """With the whole input as its one argument."""
    function: JsonObject = {"name": name, "parameters": ONE_INPUT}
    if (description := description_of(tool, report)) is not None:
        function["description"] = description
    return {"type": "function", "function": function}


def _search(tool: Search, profile: Profile, report: Report) -> JsonObject:
    path = report.paths.tool(tool.at)
    if not profile.takes_search:
        report.unsupported(path, "the model cannot search the web through this API")
        return {}
    if tool.domains or tool.blocked or tool.max_uses is not None:
        report.unsupported(path, "this API cannot limit which sites are searched, or how often")
    _refuse(tool.extra, tool.at, report)
    options: JsonObject = {}
    if tool.context_size is not None:
        options["search_context_size"] = tool.context_size
    if tool.location is not None:
        place = _location.decode(tool.location)
        place.pop("type", None)
        options["user_location"] = {"type": "approximate", "approximate": place}
    return {"web_search_options": options}


def _refuse(extra: Mapping[str, Any], at: At, report: Report) -> None:
    for name in extra:
        report.unsupported(report.paths.tool(at, name))


def _apply_choice(
    choice: ToolChoice,
    tools: dict[str, JsonObject],
    body: JsonObject,
    profile: Profile,
    report: Report,
) -> dict[str, JsonObject]:
    """The tools that are sent; the choice among them goes to the body."""
    names = [name for name in choice.names if name in tools]
    if not choice.names:
        body["tool_choice"] = choice.mode
        return tools
    if not names:
        # They were left out, so no choice is left.
        return tools
    if len(choice.names) == 1 and choice.mode == "required":
        body["tool_choice"] = _reference(tools[names[0]])
        return tools
    if profile.family == "openai":
        allowed = {"mode": choice.mode, "tools": [_reference(tools[name]) for name in names]}
        body["tool_choice"] = {"type": "allowed_tools", "allowed_tools": allowed}
        return tools
    # The others know no such choice, so they are not told of the other tools.
    report.adapted(report.paths.field("choice"))
    body["tool_choice"] = choice.mode
    return {name: tools[name] for name in names}


def _reference(tool: JsonObject) -> JsonObject:
    kind = tool["type"]
    return {"type": kind, kind: {"name": tool[kind]["name"]}}
