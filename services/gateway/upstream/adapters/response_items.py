"""The output items of a response while they are being written, one class per kind.

Each is opened, gets its deltas and is closed; `events` yields (event type, fields) pairs, to which
the stream adds the numbers.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import msgspec

Events = Iterator[tuple[str, dict[str, Any]]]


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"


class FlattenedTools(msgspec.Struct, frozen=True, kw_only=True):
    """How the tools that the provider knows as functions were named by the client.

    LiteLLM flattens a namespace's tools and makes a function with one argument, `content`, of a
    custom tool.
    """

    custom: frozenset[str]
    namespaced: Mapping[str, tuple[str, str]]


class ReasoningItem:
    """A summary, and the provider's thinking as an opaque text that it wants back.

    The text is what LiteLLM reads when the client sends the item back: the signed blocks as JSON.
    """

    def __init__(self) -> None:
        self.id = new_id("rs")
        self._text = ""
        self._blocks: list[dict[str, Any]] = []
        self._thinking = ""

    def opened(self) -> dict[str, Any]:
        return {"id": self.id, "type": "reasoning", "summary": []}

    def think(self, text: str) -> Events:
        if not self._text:
            yield (
                "response.reasoning_summary_part.added",
                {"item_id": self.id, "summary_index": 0, "part": _summary("")},
            )
        self._text += text
        yield (
            "response.reasoning_summary_text.delta",
            {"item_id": self.id, "summary_index": 0, "delta": text},
        )

    def keep(self, blocks: list[dict[str, Any]]) -> None:
        """A block's text comes in parts; its signature comes last and completes it."""
        for block in blocks:
            if block.get("type") == "redacted_thinking":
                self._blocks.append({"type": "redacted_thinking", "data": block.get("data")})
                continue
            self._thinking += block.get("thinking") or ""
            if block.get("signature"):
                signature = block["signature"]
                self._blocks.append(
                    {"type": "thinking", "thinking": self._thinking, "signature": signature}
                )
                self._thinking = ""

    def close(self) -> Events:
        if self._text:
            fields = {"item_id": self.id, "summary_index": 0}
            yield "response.reasoning_summary_text.done", {**fields, "text": self._text}
            yield "response.reasoning_summary_part.done", {**fields, "part": _summary(self._text)}

    def closed(self, status: str) -> dict[str, Any]:
        del status  # OpenAI's reasoning items have none in an answer
        summary = [_summary(self._text)] if self._text else []
        item: dict[str, Any] = {"id": self.id, "type": "reasoning", "summary": summary}
        if self._blocks:
            item["encrypted_content"] = msgspec.json.encode(self._blocks).decode()
        return item


class MessageItem:
    """The assistant's words: one part of text, or one part of refusal after it."""

    def __init__(self) -> None:
        self.id = new_id("msg")
        self._parts: list[dict[str, Any]] = []

    def opened(self) -> dict[str, Any]:
        return self._item("in_progress", [])

    def write(self, text: str) -> Events:
        yield from self._open("output_text")
        self._parts[-1]["text"] += text
        yield "response.output_text.delta", {**self._at(), "delta": text, "logprobs": []}

    def refuse(self, text: str) -> Events:
        yield from self._open("refusal")
        self._parts[-1]["refusal"] += text
        yield "response.refusal.delta", {**self._at(), "delta": text}

    def annotate(self, annotation: dict[str, Any]) -> Events:
        yield from self._open("output_text")
        annotations = self._parts[-1]["annotations"]
        annotations.append(annotation)
        yield (
            "response.output_text.annotation.added",
            {**self._at(), "annotation_index": len(annotations) - 1, "annotation": annotation},
        )

    def close(self) -> Events:
        yield from self._close_part()

    def closed(self, status: str) -> dict[str, Any]:
        return self._item(status, self._parts)

    def _open(self, kind: str) -> Events:
        if self._parts and self._parts[-1]["type"] == kind:
            return
        yield from self._close_part()
        self._parts.append(_part(kind))
        yield "response.content_part.added", {**self._at(), "part": _part(kind)}

    def _close_part(self) -> Events:
        if not self._parts:
            return
        part = self._parts[-1]
        if part["type"] == "refusal":
            yield "response.refusal.done", {**self._at(), "refusal": part["refusal"]}
        else:
            fields = {**self._at(), "text": part["text"], "logprobs": []}
            yield "response.output_text.done", fields
        yield "response.content_part.done", {**self._at(), "part": part}

    def _at(self) -> dict[str, Any]:
        return {"item_id": self.id, "content_index": len(self._parts) - 1}

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }


class CallItem:
    """A call of a function, or of a custom tool, whose input is known only when it is whole."""

    def __init__(self, number: int, call_id: str, name: str, tools: FlattenedTools) -> None:
        self.number = number
        self._call_id = call_id
        self._is_custom = name in tools.custom
        self._namespace: str | None
        self._namespace, self._name = tools.namespaced.get(name, (None, name))
        self.id = new_id("ctc" if self._is_custom else "fc")
        self._arguments = ""

    def opened(self) -> dict[str, Any]:
        return self._item("in_progress", "")

    def extend(self, arguments: str) -> Events:
        self._arguments += arguments
        if arguments and not self._is_custom:
            yield (
                "response.function_call_arguments.delta",
                {"item_id": self.id, "delta": arguments},
            )

    def close(self) -> Events:
        if self._is_custom:
            call_input = _custom_input(self._arguments)
            yield "response.custom_tool_call_input.delta", {"item_id": self.id, "delta": call_input}
            yield "response.custom_tool_call_input.done", {"item_id": self.id, "input": call_input}
            return
        yield (
            "response.function_call_arguments.done",
            {"item_id": self.id, "name": self._name, "arguments": self._arguments},
        )

    def closed(self, status: str) -> dict[str, Any]:
        call_input = _custom_input(self._arguments) if self._is_custom else self._arguments
        return self._item(status, call_input)

    def _item(self, status: str, call_input: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "custom_tool_call" if self._is_custom else "function_call",
            "status": status,
            "call_id": self._call_id,
            "name": self._name,
            "input" if self._is_custom else "arguments": call_input,
            **({} if self._namespace is None else {"namespace": self._namespace}),
        }


class SearchItem:
    """A web search that the provider ran; it comes as a whole."""

    def __init__(self, call: Mapping[str, Any]) -> None:
        self.id = str(call.get("id") or new_id("ws"))
        self._action = call.get("action")

    def opened(self) -> dict[str, Any]:
        return self._item("in_progress")

    def close(self) -> Events:
        for state in ("in_progress", "searching", "completed"):
            yield f"response.web_search_call.{state}", {"item_id": self.id}

    def closed(self, status: str) -> dict[str, Any]:
        del status  # it was complete before the answer was
        return self._item("completed")

    def _item(self, status: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "web_search_call",
            "status": status,
            "action": self._action,
        }


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _part(kind: str) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": kind, "refusal": ""}
    return {"type": kind, "annotations": [], "logprobs": [], "text": ""}


def _custom_input(arguments: str) -> str:
    """The one argument that LiteLLM gives a custom tool; what is not shaped so stays as it is."""
    try:
        decoded = msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return arguments
    content = decoded.get("content") if isinstance(decoded, dict) else None
    return content if isinstance(content, str) else arguments
