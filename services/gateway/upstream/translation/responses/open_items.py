"""The items of a streamed answer while they are being written.

Each writes the events of its parts; those of the item itself are the stream's.
"""

from typing import Any

import msgspec

from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.responses.events import Events, delta_head
from services.gateway.upstream.translation.responses.output_items import (
    CallItemHead,
    message_item,
    output_text_part,
    refusal_part,
)
from services.gateway.upstream.translation.responses.thoughts import reasoning_item

_TEXT = delta_head("response.output_text.delta")
_REFUSAL = delta_head("response.refusal.delta")
_SUMMARY = delta_head("response.reasoning_summary_text.delta")
_REASONING = delta_head("response.reasoning_text.delta")
_ARGUMENTS = delta_head("response.function_call_arguments.delta")
_INPUT = delta_head("response.custom_tool_call_input.delta")


class _Item:
    """`index` is its place in the output, `identity` its id."""

    def __init__(self, identity: str, index: int, events: Events) -> None:
        self.identity = identity
        self.index = index
        self._events = events

    def _at(self, **place: int) -> dict[str, Any]:
        return {"output_index": self.index, "item_id": self.identity, **place}

    def _place(self, member: str, number: int | None = None, more: str = "") -> bytes:
        inside = "" if number is None else f',"{member}":{number}'
        place = f',"output_index":{self.index},"item_id":"{self.identity}"{inside}{more},"delta":'
        return place.encode()


class OpenMessage(_Item):
    """`text` is that of the part which is open, None where none is or a refusal is."""

    def __init__(self, identity: str, index: int, events: Events) -> None:
        super().__init__(identity, index, events)
        self._parts: list[dict[str, Any]] = []
        self._kind: str | None = None
        self._deltas: list[str] = []
        self._logprobs: list[bytes] = []
        self._annotations: list[dict[str, Any]] = []
        self._delta_place = b""

    @property
    def text(self) -> str | None:
        return "".join(self._deltas) if self._kind == "output_text" else None

    def opened(self) -> dict[str, Any]:
        return message_item(self.identity, [], "in_progress")

    def done(self, status: str) -> dict[str, Any]:
        return message_item(self.identity, self._parts, status)

    def write(self, delta: str, logprobs: msgspec.Raw | None) -> None:
        if self._kind != "output_text":
            self._open("output_text", output_text_part("", [], []), ',"logprobs":[]')
        self._deltas.append(delta)
        if logprobs is None:
            self._events.put_delta(_TEXT, self._delta_place, delta)
            return
        self._logprobs.append(bytes(logprobs).strip()[1:-1])
        fields = {**self._part_at(), "delta": delta, "logprobs": logprobs}
        self._events.put("response.output_text.delta", fields)

    def refuse(self, delta: str) -> None:
        if self._kind != "refusal":
            self._open("refusal", refusal_part(""))
        self._deltas.append(delta)
        self._events.put_delta(_REFUSAL, self._delta_place, delta)

    def annotate(self, annotation: dict[str, Any]) -> None:
        self._annotations.append(annotation)
        place = {"annotation_index": len(self._annotations) - 1, "annotation": annotation}
        self._events.put("response.output_text.annotation.added", {**self._part_at(), **place})

    def close(self) -> None:
        self.close_part()

    def close_part(self) -> None:
        if self._kind is None:
            return
        text = "".join(self._deltas)
        if self._kind == "refusal":
            part = refusal_part(text)
            self._events.put("response.refusal.done", {**self._part_at(), "refusal": text})
        else:
            entries = b",".join(entry for entry in self._logprobs if entry)
            logprobs = msgspec.Raw(b"[" + entries + b"]")
            part = output_text_part(text, self._annotations, logprobs)
            fields = {**self._part_at(), "text": text, "logprobs": logprobs}
            self._events.put("response.output_text.done", fields)
        self._events.put("response.content_part.done", {**self._part_at(), "part": part})
        self._parts.append(part)
        self._kind = None
        self._deltas, self._logprobs, self._annotations = [], [], []

    def _open(self, kind: str, part: dict[str, Any], more: str = "") -> None:
        self.close_part()
        self._kind = kind
        self._delta_place = self._place("content_index", len(self._parts), more)
        self._events.put("response.content_part.added", {**self._part_at(), "part": part})

    def _part_at(self) -> dict[str, Any]:
        return self._at(content_index=len(self._parts))


class OpenReasoning(_Item):
    """Parts of a summary, or the thought itself, and a signature at the end."""

    def __init__(self, identity: str, index: int, events: Events) -> None:
        super().__init__(identity, index, events)
        self._summaries: list[str] = []
        self._text = ""
        self._deltas: list[str] = []
        # The provider's number of the summary that is open; None also where it has none.
        self._summary: int | None = None
        self._kind: str | None = None
        self._delta_place = b""
        self._signature: ThoughtSignature | None = None
        self._is_redacted = False

    def opened(self) -> dict[str, Any]:
        return {"id": self.identity, "type": "reasoning", "summary": []}

    def done(self, status: str) -> dict[str, Any]:
        del status  # an answer's reasoning items have none
        item = reasoning_item(
            self._summaries, self._text, self._signature, is_redacted=self._is_redacted
        )
        return {"id": self.identity, **item}

    def summarize(self, delta: str, summary: int | None) -> None:
        if self._kind != "summary" or self._summary != summary:
            self._close_part()
            self._kind, self._summary = "summary", summary
            self._delta_place = self._place("summary_index", len(self._summaries))
            fields = {**self._summary_at(), "part": _summary("")}
            self._events.put("response.reasoning_summary_part.added", fields)
        self._deltas.append(delta)
        self._events.put_delta(_SUMMARY, self._delta_place, delta)

    def think(self, delta: str) -> None:
        if self._kind != "text":
            self._close_part()
            self._kind = "text"
            self._delta_place = self._place("content_index", 0)
            fields = {**self._at(content_index=0), "part": _reasoning("")}
            self._events.put("response.content_part.added", fields)
        self._deltas.append(delta)
        self._events.put_delta(_REASONING, self._delta_place, delta)

    def sign(self, signature: ThoughtSignature, *, is_redacted: bool) -> None:
        self._signature, self._is_redacted = signature, is_redacted

    def close(self) -> None:
        self._close_part()

    def _close_part(self) -> None:
        if self._kind is None:
            return
        text, self._deltas = "".join(self._deltas), []
        if self._kind == "summary":
            self._events.put(
                "response.reasoning_summary_text.done", {**self._summary_at(), "text": text}
            )
            fields = {**self._summary_at(), "part": _summary(text)}
            self._events.put("response.reasoning_summary_part.done", fields)
            self._summaries.append(text)
        else:
            at = self._at(content_index=0)
            self._events.put("response.reasoning_text.done", {**at, "text": text})
            self._events.put("response.content_part.done", {**at, "part": _reasoning(text)})
            self._text += text
        self._kind = None

    def _summary_at(self) -> dict[str, Any]:
        return self._at(summary_index=len(self._summaries))


class OpenCallItem(_Item):
    """A wrapped input is known only when the call is whole."""

    def __init__(self, head: CallItemHead, identity: str, index: int, events: Events) -> None:
        super().__init__(identity, index, events)
        self._head = head
        self._deltas: list[str] = []
        self._delta_head = _INPUT if head.is_freeform else _ARGUMENTS
        self._delta_place = self._place("")

    def opened(self) -> dict[str, Any]:
        return self._head.item(self.identity, "", "in_progress")

    def done(self, status: str) -> dict[str, Any]:
        return self._head.item(self.identity, self._call_input(), status)

    def extend(self, delta: str) -> None:
        self._deltas.append(delta)
        if not self._head.is_wrapped:
            self._events.put_delta(self._delta_head, self._delta_place, delta)

    def close(self) -> None:
        text = self._call_input()
        if (self._head.is_wrapped or not self._deltas) and text:
            self._events.put_delta(self._delta_head, self._delta_place, text)
        if self._head.is_freeform:
            self._events.put("response.custom_tool_call_input.done", {**self._at(), "input": text})
            return
        fields = {**self._at(), "name": self._head.name, "arguments": text}
        self._events.put("response.function_call_arguments.done", fields)

    def _call_input(self) -> str:
        return self._head.client_input("".join(self._deltas))


OpenItem = OpenMessage | OpenReasoning | OpenCallItem


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _reasoning(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}
