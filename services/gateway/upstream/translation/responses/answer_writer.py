"""Writes whole answers for a client that speaks Responses."""

from typing import Any

import msgspec

from libs.common.errors import CallMalformed
from services.gateway.formats.responses import Responses
from services.gateway.upstream.translation.omissions import omit
from services.gateway.upstream.translation.parts import (
    Hosted,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from services.gateway.upstream.translation.reply import AnswerContext, Reply
from services.gateway.upstream.translation.responses.ids import digest, item_id
from services.gateway.upstream.translation.responses.output_items import (
    Item,
    call_item_head,
    hosted_item,
    message_item,
    output_annotation,
    output_text_part,
    refusal_part,
)
from services.gateway.upstream.translation.responses.response_object import (
    end_response,
    new_response,
    response_status,
)
from services.gateway.upstream.translation.responses.thoughts import (
    call_signature_item,
    reasoning_item,
    shows_summary,
)

_encode = msgspec.json.encode
_METERED = Responses()
_MAX_NAME_CHARS = 64
_RAW_LISTS = msgspec.json.Decoder(list[msgspec.Raw])
# Kinds of items that may not be whole where an answer is not.
_CUT_SHORT = ("message", "function_call", "custom_tool_call")


def write_answer(reply: Reply, context: AnswerContext) -> bytes:
    """Raises CallMalformed for an answer without anything that can be written."""
    if reply.stop.kind == "malformed":
        raise CallMalformed("The model's tool call could not be read by its provider.")
    response = new_response(context, reply.id, reply.created)
    output = _Output(reply, context).items()
    end_response(response, output, reply.stop, reply.usage)
    if reply.tier is not None and "service_tier" not in response:
        response["service_tier"] = reply.tier
    return _encode(response)


class _Output:
    """Consecutive texts and refusals are the parts of one message."""

    def __init__(self, reply: Reply, context: AnswerContext) -> None:
        self._reply = reply
        self._context = context
        self._digest = digest(reply.id)
        self._items: list[Item] = []
        self._content: list[dict[str, Any]] = []
        self._logprobs: msgspec.Raw | None = reply.logprobs

    def items(self) -> list[Item]:
        for part in self._reply.parts:
            self._part(part)
        stop = self._reply.stop
        if stop.kind == "blocked" and stop.explanation:
            self._content.append(refusal_part(stop.explanation))
        self._close()
        last = self._items[-1] if self._items else None
        if isinstance(last, dict) and last["type"] in _CUT_SHORT:
            last["status"] = response_status(stop)
        return self._items

    def _id(self, prefix: str) -> str:
        return item_id(prefix, self._digest, len(self._items))

    def _part(self, part: Part) -> None:
        if type(part) is Text:
            if part.text:
                self._content.append(self._text(part))
        elif type(part) is Refusal:
            self._content.append(refusal_part(part.text))
        elif type(part) is Thinking:
            self._close()
            self._thinking(part)
        elif type(part) is ToolCall:
            self._close()
            self._call(part)
        elif isinstance(part, Hosted | Opaque):
            self._close()
            item = hosted_item(part.kind, part.raw, part.family, self._digest, len(self._items))
            if item is not None:
                self._items.append(item)
            else:
                omit(self._context, part.kind, part.at)

    def _text(self, part: Text) -> dict[str, Any]:
        annotations: list[Any] = []
        if part.citations is not None:
            for raw in _RAW_LISTS.decode(part.citations):
                annotation = output_annotation(raw, part.family or "", part.text)
                if annotation is not None:
                    annotations.append(annotation)
        # The entries are of all texts; those that have some have one.
        logprobs, self._logprobs = self._logprobs, None
        return output_text_part(part.text, annotations, logprobs or [])

    def _thinking(self, part: Thinking) -> None:
        summaries, text = list(part.summaries), part.text
        if text and shows_summary(self._context.family):
            summaries, text = [*summaries, text], ""
        item = reasoning_item(summaries, text, part.signature, is_redacted=part.is_redacted)
        self._items.append({"id": self._id("rs"), **item})

    def _call(self, part: ToolCall) -> None:
        head = call_item_head(part.id, part.name, part.is_freeform, self._context.names)
        call_input = head.client_input(part.arguments)
        self._items.append(head.item(self._id(head.prefix), call_input, "completed"))
        if part.signature is not None:
            item = call_signature_item(part.signature.family, {part.id: part.signature.data})
            self._items.append({"id": self._id("rs"), **item})

    def _close(self) -> None:
        if self._content:
            self._items.append(message_item(self._id("msg"), self._content, "completed"))
            self._content = []
