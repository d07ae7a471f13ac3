"""Writes a stream of OpenAI Responses.

Invariants: events are numbered from 0 without a gap, those of a failure too; one item is open at a
time, and one part of it; what is added is done before the terminal event, which holds it all.
"""

from typing import Any

import msgspec

from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.omissions import omission
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.reply import AnswerContext, ReportedError, Stop
from services.gateway.upstream.translation.responses.events import Events
from services.gateway.upstream.translation.responses.ids import digest, item_id
from services.gateway.upstream.translation.responses.open_items import (
    OpenCallItem,
    OpenItem,
    OpenMessage,
    OpenReasoning,
)
from services.gateway.upstream.translation.responses.output_items import (
    Item,
    call_item_head,
    hosted_item,
    output_annotation,
)
from services.gateway.upstream.translation.responses.response_object import (
    code_of,
    compact,
    end_response,
    fail,
    new_response,
    response_status,
)
from services.gateway.upstream.translation.responses.thoughts import (
    call_signature_item,
    shows_summary,
)

_SEARCH_STATES = ("in_progress", "searching", "completed")
_MALFORMED = ReportedError(
    message="The model's tool call could not be read by its provider.",
    code="upstream_malformed_call",
)


class ResponsesStreamWriter:
    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._events = Events()
        self._response: dict[str, Any] | None = None
        self._digest = ""
        self._output: list[Item] = []
        self._open: OpenItem | None = None
        self._call_key: int | None = None
        self._call_signatures: list[tuple[str, ThoughtSignature]] = []
        self._shows_summary = shows_summary(context.family)
        self._usage: TokenUsage | None = None
        self._stop: Stop | None = None
        self._has_failed = False

    def take(self) -> bytes:
        return self._events.take()

    def started(self, answer_id: str, model: str, created: int | None) -> None:
        del model  # the client is told the name that it asked for
        self._start(answer_id, created)

    def _start(self, answer_id: str, created: int | None) -> dict[str, Any]:
        self._digest = digest(answer_id)
        response = self._response = new_response(self._context, answer_id, created)
        self._events.put("response.created", {"response": response})
        self._events.put("response.in_progress", {"response": response})
        return response

    def text(self, delta: str, logprobs: msgspec.Raw | None = None) -> None:
        if delta or logprobs is not None:
            self._message().write(delta, None if logprobs is None else compact(logprobs))

    def refusal(self, delta: str) -> None:
        if delta:
            self._message().refuse(delta)

    def thinking(self, delta: str, summary: int | None = None) -> None:
        item = self._open
        if type(item) is not OpenReasoning:
            item = self._reasoning()
        if not delta:
            return
        if summary is not None or self._shows_summary:
            item.summarize(delta, summary)
        else:
            item.think(delta)

    def sign(self, signature: ThoughtSignature, call_id: str | None = None) -> None:
        if call_id is not None:
            self._call_signatures.append((call_id, signature))
            self._put_call_signatures()
            return
        item = self._open
        is_redacted = type(item) is not OpenReasoning
        if type(item) is not OpenReasoning:
            item = self._reasoning()
        item.sign(signature, is_redacted=is_redacted)
        self._close("completed")

    def call(self, key: int, call_id: str, name: str, delta: str, is_freeform: bool) -> None:
        item = self._open
        if type(item) is not OpenCallItem or self._call_key != key:
            head = call_item_head(call_id, name, is_freeform, self._context.names)
            self._close("completed")
            item = OpenCallItem(head, self._id(head.prefix), len(self._output), self._events)
            self._begin(item)
            self._call_key = key
        if delta:
            item.extend(delta)

    def cite(self, citation: msgspec.Raw, family: str) -> None:
        """Of the text that is open; one that comes too late is left out, its text stays."""
        item = self._open
        if type(item) is OpenMessage and item.text is not None:
            annotation = output_annotation(citation, family, item.text)
            if annotation is not None:
                item.annotate(annotation)

    def hosted(self, kind: str, raw: msgspec.Raw, family: str, at: int) -> None:
        self._close("completed")
        index = len(self._output)
        item = hosted_item(kind, compact(raw), family, self._digest, index)
        if item is None:
            self._events.comment(omission(self._context, kind, at))
            return
        self._put_item("added", item)
        if kind == "web_search":
            identity = _id_of(item) or item_id("ws", self._digest, index)
            for state in _SEARCH_STATES:
                place = {"output_index": index, "item_id": identity}
                self._events.put(f"response.web_search_call.{state}", place)
        self._put_item("done", item)
        self._output.append(item)

    def ended(self) -> None:
        item = self._open
        if type(item) is OpenMessage:
            item.close_part()
        elif type(item) is OpenReasoning:
            self._close("completed")

    def usage(self, usage: TokenUsage) -> None:
        self._usage = usage

    def stop(self, stop: Stop) -> None:
        self._stop = stop

    def failed(self, failure: ReportedError) -> None:
        """An open item is left as it is: it is not whole."""
        if self._has_failed:
            return
        self._has_failed = True
        response = self._current_response()
        code = code_of(failure)
        flat = {"code": code, "message": failure.message, "param": failure.param}
        nested = {"type": failure.kind or code, **flat}
        self._events.put("error", {**flat, "error": nested})
        fail(response, self._output, failure, self._usage)
        self._events.put("response.failed", {"response": response})

    def finish(self) -> None:
        if self._has_failed:
            return
        stop = self._stop or Stop(kind="end")
        if stop.kind == "malformed":
            self.failed(_MALFORMED)
            return
        if stop.kind == "blocked" and stop.explanation:
            message = self._message()
            message.close_part()
            message.refuse(stop.explanation)
        response = self._current_response()
        self._close(response_status(stop))
        end_response(response, self._output, stop, self._usage)
        self._events.put(f"response.{response['status']}", {"response": response})

    def _current_response(self) -> dict[str, Any]:
        """The response; of a provider that failed before it had begun, one without an id of its."""
        response = self._response
        if response is None:
            response = self._start("", None)
        return response

    def _id(self, prefix: str) -> str:
        return item_id(prefix, self._digest, len(self._output))

    def _reasoning(self) -> OpenReasoning:
        self._close("completed")
        item = OpenReasoning(self._id("rs"), len(self._output), self._events)
        self._begin(item)
        return item

    def _message(self) -> OpenMessage:
        item = self._open
        if type(item) is not OpenMessage:
            self._close("completed")
            item = OpenMessage(self._id("msg"), len(self._output), self._events)
            self._begin(item)
        return item

    def _begin(self, item: OpenItem) -> None:
        self._open = item
        self._put_item("added", item.opened())

    def _close(self, status: str) -> None:
        item = self._open
        if item is None:
            return
        self._open = self._call_key = None
        item.close()
        done_item = item.done(status)
        self._put_item("done", done_item)
        self._output.append(done_item)
        self._put_call_signatures()

    def _put_call_signatures(self) -> None:
        if self._open is not None:
            return
        for call_id, signature in self._call_signatures:
            item = call_signature_item(signature.family, {call_id: signature.data})
            item = {"id": item_id("rs", self._digest, len(self._output)), **item}
            self._put_item("added", {**item, "encrypted_content": None})
            self._put_item("done", item)
            self._output.append(item)
        self._call_signatures.clear()

    def _put_item(self, step: str, item: Item) -> None:
        place = {"output_index": len(self._output), "item": item}
        self._events.put(f"response.output_item.{step}", place)


class _Identified(msgspec.Struct, frozen=True):
    id: str | None = None


def _id_of(item: Item) -> str | None:
    if isinstance(item, dict):
        return str(item["id"])
    return msgspec.json.decode(item, type=_Identified).id
