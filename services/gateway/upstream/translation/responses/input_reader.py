"""Reads the items of a Responses request into turns.

What the assistant did in consecutive items is one turn, and so are consecutive outputs of tools; a
message of another phase begins a turn of its own.
"""

from collections.abc import Callable, Sequence

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.conversation import Turn, TurnRole
from services.gateway.upstream.translation.parts import (
    At,
    Hosted,
    Opaque,
    Part,
    Result,
    Text,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.refusals import decode_at, invalid
from services.gateway.upstream.translation.responses.content_reader import RawItems, read_part
from services.gateway.upstream.translation.responses.thoughts import FAMILY, read_reasoning
from services.gateway.upstream.translation.responses.tools_reader import read_tools
from services.gateway.upstream.translation.responses.wire import (
    ABSENT,
    INPUT,
    NULL,
    STRICT_INPUT,
    TYPED,
    Item,
)
from services.gateway.upstream.translation.tools import Tool

_ROLES: dict[str, TurnRole] = {
    "user": "user",
    "system": "system",
    "developer": "developer",
    "assistant": "assistant",
}
# Of the kinds that no other format has a word for, those that do not come from the model.
_OF_CLIENT = frozenset(
    {
        "compaction_trigger",
        "computer_call_output",
        "configuration_update",
        "item_reference",
        "local_shell_call_output",
        "mcp_approval_response",
        "apply_patch_call_output",
        "shell_call_output",
        "tool_search_output",
    }
)


def read_input(raw: msgspec.Raw | None) -> tuple[tuple[Turn, ...], tuple[Tool, ...]]:
    """The turns, and the tools that items bring along."""
    if raw is None:
        return (), ()
    raws = RawItems(raw)
    items: str | Sequence[Item]
    try:
        items, is_strict = STRICT_INPUT.decode(raw), True
    except UNREADABLE:
        items, is_strict = decode_at(INPUT, raw, "input"), False
    if isinstance(items, str):
        return (Turn(role="user", parts=(Text(text=items),)),), ()
    reader = _InputReader(raws)
    for index, item in enumerate(items):
        if not is_strict and item.type in _CARRIED:
            raws.check(index, item)
        reader.read(index, item)
    return reader.turns(), tuple(reader.tools)


class _InputReader:
    def __init__(self, raws: RawItems) -> None:
        self.tools: list[Tool] = []
        self._raws = raws
        self._turns: list[Turn] = []
        # The open turn, of the assistant or of outputs.
        self._role: TurnRole | None = None
        self._at: At = ()
        self._parts: list[Part] = []
        self._phase: str | None = None
        self._call_signatures: dict[str, ThoughtSignature] = {}

    def read(self, index: int, item: Item) -> None:
        kind = item.type
        if kind is None:
            kind = "message" if item.role is not None else "item_reference"
        handle = _KINDS.get(kind)
        if handle is None:
            self._add_opaque(index, kind)
        else:
            handle(self, index, item)

    def turns(self) -> tuple[Turn, ...]:
        self._close()
        return tuple(self._turns)

    def message(self, index: int, item: Item) -> None:
        role = _ROLES.get(item.role or "")
        if role is None:
            raise invalid(f"input[{index}].role", f"must be one of {', '.join(_ROLES)}")
        parts = self._content(index, item)
        if role == "assistant":
            if item.phase is not None and self._phase not in (None, item.phase):
                self._close()
            self._open(role, index)
            self._phase = item.phase or self._phase
            self._parts += parts
            return
        self._close()
        self._turns.append(Turn(role=role, parts=parts, at=(index,), phase=item.phase))

    def _content(self, index: int, item: Item) -> tuple[Part, ...]:
        content = item.content
        if isinstance(content, str):
            return (Text(text=content, at=(index,)),)
        if content is None:
            raise invalid(f"input[{index}].content", "a message requires content")
        return tuple(
            read_part(part, (index, place), self._raws) for place, part in enumerate(content)
        )

    def call(self, index: int, item: Item) -> None:
        is_freeform = item.type == "custom_tool_call"
        arguments = item.input if is_freeform else item.arguments
        member = "input" if is_freeform else "arguments"
        if not isinstance(arguments, str):
            raise invalid(f"input[{index}].{member}", "a call requires this string")
        if not item.call_id or not item.name:
            member = "name" if item.call_id else "call_id"
            raise invalid(f"input[{index}].{member}", "a call requires this field")
        extra: dict[str, msgspec.Raw] = {}
        if not _is_direct(item, index):
            extra["caller"] = item.caller
        if item.is_async:
            extra["async"] = msgspec.Raw(b"true")
        self._add(
            "assistant",
            index,
            ToolCall(
                id=item.call_id,
                name=item.name,
                namespace=item.namespace,
                arguments=arguments,
                is_freeform=is_freeform,
                item_id=item.id,
                extra=extra,
                at=(index,),
            ),
        )

    def output(self, index: int, item: Item) -> None:
        output = item.output
        if not item.call_id or not _is_direct(item, index):
            # Of a tool that a program called, or that OpenAI tells by another name.
            self._add_opaque(index, item.type or "")
            return
        parts: tuple[Part, ...]
        if isinstance(output, str):
            parts = (Text(text=output, at=(index,)),) if output else ()
        elif isinstance(output, list):
            parts = tuple(
                read_part(part, (index, -1 - place), self._raws)
                for place, part in enumerate(output)
            )
        else:
            raise invalid(f"input[{index}].output", "must be a string or a list")
        result = Result(
            call_id=item.call_id,
            parts=parts,
            is_freeform=item.type == "custom_tool_call_output",
            name=item.name,
            at=(index,),
        )
        self._add("user", index, result)

    def reasoning(self, index: int, item: Item) -> None:
        reasoning = read_reasoning(item, (index,))
        self._open("assistant", index)
        self._parts += reasoning.thoughts
        self._call_signatures |= reasoning.call_signatures

    def search(self, index: int, item: Item) -> None:
        raw = self._raws.item(index)
        hosted = Hosted(kind="web_search", raw=raw, family=FAMILY, id=item.id, at=(index,))
        self._add("assistant", index, hosted)

    def additional_tools(self, index: int, item: Item) -> None:
        if item.tools in (ABSENT, NULL):
            raise invalid(f"input[{index}].tools", "this item requires tools")
        self.tools += read_tools(item.tools, f"input[{index}].tools", (-1 - index,))

    def _add_opaque(self, index: int, kind: str) -> None:
        role: TurnRole = "user" if kind in _OF_CLIENT or kind.endswith("_output") else "assistant"
        raw = self._raws.item(index)
        self._add(role, index, Opaque(kind=kind, raw=raw, family=FAMILY, at=(index,)))

    def _add(self, role: TurnRole, index: int, part: Part) -> None:
        self._open(role, index)
        self._parts.append(part)

    def _open(self, role: TurnRole, index: int) -> None:
        if self._role == role:
            return
        self._close()
        self._role, self._at = role, (index,)

    def _close(self) -> None:
        if self._role is None:
            return
        parts: list[Part] = self._parts
        if self._call_signatures:
            parts = [self._with_signature(part) for part in parts]
        if parts:
            turn = Turn(role=self._role, parts=tuple(parts), at=self._at, phase=self._phase)
            self._turns.append(turn)
        self._role, self._parts, self._phase, self._call_signatures = None, [], None, {}

    def _with_signature(self, part: Part) -> Part:
        if type(part) is not ToolCall or part.id not in self._call_signatures:
            return part
        return msgspec.structs.replace(part, signature=self._call_signatures[part.id])


def _is_direct(item: Item, index: int) -> bool:
    """Whether the model itself called the tool, not a program that it wrote."""
    if item.caller is ABSENT or item.caller == NULL:
        return True
    return decode_at(TYPED, item.caller, f"input[{index}].caller").type == "direct"


_KINDS: dict[str | None, Callable[[_InputReader, int, Item], None]] = {
    "message": _InputReader.message,
    "function_call": _InputReader.call,
    "custom_tool_call": _InputReader.call,
    "function_call_output": _InputReader.output,
    "custom_tool_call_output": _InputReader.output,
    "reasoning": _InputReader.reasoning,
    "web_search_call": _InputReader.search,
    "additional_tools": _InputReader.additional_tools,
}
# A search is kept as it came.
_CARRIED = frozenset((None, *_KINDS)) - {"web_search_call"}
