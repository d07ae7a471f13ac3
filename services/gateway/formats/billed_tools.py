"""The tools of a request that its provider runs and charges for by use, by the names of their fees.

Invariant: a tool that is not known to cost nothing by itself has a name that a price needs a fee
for: nothing is free by accident. A test walks the tools of the newest SDKs.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.tool_fees import WEB_SEARCH
from services.gateway.formats.base import ABSENT

# Run by the client, or paid for by the tokens that they add, or by the model that they run.
FREE_TOOLS = frozenset(
    {
        "",
        "advisor",
        "apply_patch",
        "bash",
        "browser_toolset",
        "computer",
        "computer_toolset",
        "computer_use",
        "computer_use_preview",
        "custom",
        "function",
        "image_generation",
        "local_shell",
        "mcp",
        "mcp_toolset",
        "memory",
        "namespace",
        "programmatic_tool_calling",
        "text_editor",
        "tool_search",
        "tool_search_tool_bm25",
        "tool_search_tool_regex",
    }
)
# The request does not state the size, so it costs what the dearest does.
CONTAINER = "container"
_SMALLEST = "container_1g"
_IN_CONTAINERS = frozenset({"code_interpreter", "shell"})
# xAI runs code without a container.
_CODE_EXECUTION = "code_execution"
# What asks for searches beside `tools`, each at its provider.
_SEARCH_FIELDS = ("web_search_options", "enable_search", "search_parameters", "plugins")
# What the fees for Google's tools are called, by what it calls them, in its own case or the other.
_GOOGLES = {
    "google_search": WEB_SEARCH,
    "google_search_retrieval": WEB_SEARCH,
    "enterprise_web_search": WEB_SEARCH,
    "google_maps": "maps_grounding",
}
_DECLARATIONS = "function_declarations"
_BEFORE_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
# Items that bring tools: those that the developer adds, and those that a search for tools found.
_ADDED, _FINDER, _FOUND = b'"additional_tools"', b'"tool_search"', b'"tool_search_output"'
_NOTHING = frozenset({b"null", b"false", b"[]"})
_DATE = re.compile(r"_\d{4}_?\d{2}_?\d{2}$")
# Providers let a model use a tool as often as it likes where the request sets no limit. LiteLLM's
# own tool for the largest context allows ten searches, and calls seldom come near.
_ASSUMED_USES = 10
# The most tool names that one hold covers.
_MAX_NAMES, _MAX_NAME_CHARS = 64, 64


class _Tool(msgspec.Struct):
    type: Any = None
    name: msgspec.Raw = ABSENT
    function: msgspec.Raw = ABSENT
    max_uses: Any = None
    container: Any = None
    environment: Any = None


class _Item(msgspec.Struct):
    tools: msgspec.Raw = ABSENT


_tools = msgspec.json.Decoder(list[_Tool])
_members = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_items = msgspec.json.Decoder(list[_Item])


def billed_tools(
    fields: Mapping[str, msgspec.Raw], max_tool_calls: int | None, *, disguised: bool
) -> dict[str, int]:
    """The most uses of each that the request allows, by the name of the fee; 0 where it forbids."""
    uses: dict[str, int] = {}
    for name in _SEARCH_FIELDS:
        if name in fields and bytes(fields[name]) not in _NOTHING:
            uses[WEB_SEARCH] = _ASSUMED_USES
    for tools in _lists_of_tools(fields, disguised=disguised):
        for name, count in _uses_of_tools(tools):
            if name in uses or len(uses) < _MAX_NAMES:
                uses[name] = uses.get(name, 0) + count
    if max_tool_calls is None:
        return uses
    return {name: min(count, max(max_tool_calls, 0)) for name, count in uses.items()}


def _lists_of_tools(fields: Mapping[str, msgspec.Raw], *, disguised: bool) -> Iterator[bytes]:
    """The request's own, and those that items of a Responses conversation add to them."""
    tools = bytes(fields.get("tools", ABSENT))
    if tools:
        yield tools
    raw_input = fields.get("input", ABSENT)
    if bytes(memoryview(raw_input)[:1]) != b"[":
        return
    input_bytes = bytes(raw_input)
    if not (disguised or _ADDED in input_bytes or (_FINDER in tools and _FOUND in input_bytes)):
        return
    try:
        items = _items.decode(input_bytes)
    except UNREADABLE:
        return
    for item in items:
        if item.tools != ABSENT:
            yield bytes(item.tools)


def _uses_of_tools(tools: bytes) -> Iterator[tuple[str, int]]:
    if tools == b"null":
        return
    try:
        tool_list = _tools.decode(tools)
    except UNREADABLE:
        # Its limit is unreadable; the provider rejects it.
        if b"_search" in tools:
            yield WEB_SEARCH, _ASSUMED_USES
        return
    if any(map(_is_googles, tool_list)):
        yield from _uses_of_googles(tools)
    for tool in tool_list:
        kind = tool.type if isinstance(tool.type, str) else ""
        name = kind if kind in FREE_TOOLS else _DATE.sub("", kind)[:_MAX_NAME_CHARS]
        if name in _IN_CONTAINERS:
            name = _container_fee(name, tool)
        if name not in FREE_TOOLS:
            yield name, _most_uses(name, tool.max_uses)


def _is_googles(tool: _Tool) -> bool:
    return tool.type is None and tool.name == ABSENT and tool.function == ABSENT


def _uses_of_googles(tools: bytes) -> Iterator[tuple[str, int]]:
    """Google's tools have no type: the name of their only member identifies them."""
    for members in _members.decode(tools):
        if "type" not in members and "name" not in members and "function" not in members:
            for member in members:
                name = _BEFORE_CAPITAL.sub("_", member).lower()[:_MAX_NAME_CHARS]
                if name != _DECLARATIONS:
                    yield _GOOGLES.get(name, name), _ASSUMED_USES


def _container_fee(name: str, tool: _Tool) -> str:
    """The fee's name; empty for a container that the client runs."""
    place = tool.environment if name == "shell" else tool.container
    if place is None:
        return _CODE_EXECUTION if name == "code_interpreter" else _SMALLEST
    if not isinstance(place, dict):
        return CONTAINER
    kind, size = place.get("type"), place.get("memory_limit")
    if kind == "local":
        return ""
    if kind not in ("auto", "container_auto"):
        return CONTAINER
    return f"{CONTAINER}_{size}"[:_MAX_NAME_CHARS] if isinstance(size, str) else _SMALLEST


def _most_uses(name: str, max_uses: Any) -> int:
    if name.startswith(CONTAINER):
        return 1
    return max(max_uses, 0) if isinstance(max_uses, int) else _ASSUMED_USES
