"""Writes a response as the events of OpenAI's stream, numbered and in order, and as its JSON.

Invariants: one item is open at a time and items keep the order in which they were opened; every
part and item that is added is done before the terminal event; the terminal event holds them all.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.gateway.upstream.adapters.response_items import (
    CallItem,
    Events,
    FlattenedTools,
    MessageItem,
    ReasoningItem,
    SearchItem,
    new_id,
)

_encode = msgspec.json.Encoder().encode

# The members of a response that echo its request, with their defaults.
_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}

AnsweredItem = ReasoningItem | MessageItem | CallItem | SearchItem


class ResponseEvents:
    def __init__(
        self, body: Mapping[str, Any], tools: FlattenedTools, *, model: str, created_at: int
    ) -> None:
        self._tools = tools
        self._frames: list[bytes] = []
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._open: AnsweredItem | None = None
        self._searched: set[str] = set()
        self._response: dict[str, Any] = {
            "id": new_id("resp"),
            "object": "response",
            "created_at": created_at,
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            "previous_response_id": None,
            "usage": None,
            **{
                name: default if body.get(name) is None else body[name]
                for name, default in _ECHOED.items()
            },
        }
        self._emit("response.created", {"response": self._response})
        self._emit("response.in_progress", {"response": self._response})

    def take(self) -> list[bytes]:
        """The frames that have been written since the last call."""
        frames, self._frames = self._frames, []
        return frames

    def response(self) -> bytes:
        return _encode(self._response)

    def think(self, text: str | None, blocks: list[dict[str, Any]] | None) -> None:
        if not text and not blocks:
            return
        item = self._open
        if not isinstance(item, ReasoningItem):
            item = ReasoningItem()
            self._begin(item)
        item.keep(blocks or [])
        if text:
            self._emit_all(item.think(text))

    def write(self, text: str | None) -> None:
        if text:
            self._emit_all(self._message().write(text))

    def refuse(self, text: str | None) -> None:
        if text:
            self._emit_all(self._message().refuse(text))

    def annotate(self, annotations: list[dict[str, Any]] | None) -> None:
        for annotation in annotations or ():
            # Chat nests what a response has side by side.
            kind = str(annotation.get("type"))
            flat = {"type": kind, **annotation.get(kind, annotation)}
            self._emit_all(self._message().annotate(flat))

    def search(self, calls: list[Any]) -> None:
        """Searches that have completed; the provider tells of each more than once."""
        for call in calls:
            if call.get("status") == "completed" and call.get("id") not in self._searched:
                self._searched.add(call.get("id"))
                self._begin(SearchItem(call))
                self._close("completed")

    def call(
        self, number: int, call_id: str | None, name: str | None, arguments: str | None
    ) -> None:
        item = self._open
        if not isinstance(item, CallItem) or item.number != number:
            if not call_id or not name:
                raise ValueError("a tool call goes on after another item has begun")
            item = CallItem(number, call_id, name, self._tools)
            self._begin(item)
        self._emit_all(item.extend(arguments or ""))

    def finish(
        self, incomplete: str | None, usage: dict[str, Any] | None, tier: str | None
    ) -> None:
        status = "completed" if incomplete is None else "incomplete"
        self._close(status)
        self._response |= {
            "status": status,
            "incomplete_details": None if incomplete is None else {"reason": incomplete},
            "output": self._output,
            "usage": usage,
            **({} if tier is None else {"service_tier": tier}),
        }
        self._emit(f"response.{status}", {"response": self._response})

    def _message(self) -> MessageItem:
        item = self._open
        if not isinstance(item, MessageItem):
            item = MessageItem()
            self._begin(item)
        return item

    def _begin(self, item: AnsweredItem) -> None:
        self._close("completed")
        self._open = item
        self._emit("response.output_item.added", {**self._index(), "item": item.opened()})

    def _close(self, status: str) -> None:
        if self._open is None:
            return
        self._emit_all(self._open.close())
        item = self._open.closed(status)
        self._emit("response.output_item.done", {**self._index(), "item": item})
        self._output.append(item)
        self._open = None

    def _index(self) -> dict[str, Any]:
        return {"output_index": len(self._output)}

    def _emit_all(self, events: Events) -> None:
        for kind, fields in events:
            self._emit(kind, {**self._index(), **fields})

    def _emit(self, kind: str, fields: dict[str, Any]) -> None:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        self._frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(event)))
