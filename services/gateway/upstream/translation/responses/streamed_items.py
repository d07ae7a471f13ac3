"""The items of a provider's stream while they come: what of each has been told, and what is left.

Items are told apart by their place in the output: some servers change an item's id with every
event. What no delta brought is taken from the event that says that it is done.
"""

from typing import TypeVar

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.parts import Family, ThoughtSignature
from services.gateway.upstream.translation.reply import Sink
from services.gateway.upstream.translation.responses.answer_reader import flat_name, hosted_kind
from services.gateway.upstream.translation.responses.wire import ABSENT, ContentPart, Item

T = TypeVar("T")

CALLS = ("function_call", "custom_tool_call")

_item = msgspec.json.Decoder(Item)
_raws = msgspec.json.Decoder(list[msgspec.Raw])


class _ItemState:
    """What has come of one item beside its texts."""

    __slots__ = ("call", "cites", "is_done")

    def __init__(self) -> None:
        self.cites: dict[int, int] = {}
        # The call's id, name, and whether it is freeform, once it is known.
        self.call: tuple[str, str, bool] | None = None
        self.is_done = False


class StreamedItems:
    def __init__(self, sink: Sink, family: Family) -> None:
        self.has_calls = False
        self.has_refusal = False
        self._sink = sink
        self._family = family
        self._items: dict[int, _ItemState] = {}
        # How much of each text has come, by its item, kind and number.
        self._chars: dict[tuple[int, str, int], int] = {}

    def text(self, index: int, number: int, delta: str, logprobs: msgspec.Raw | None) -> None:
        self._count(index, "text", number, len(delta))
        self._sink.text(delta, logprobs)

    def end_text(self, index: int, number: int, whole: str | None) -> None:
        rest = self._rest(index, "text", number, whole)
        if rest:
            self.text(index, number, rest, None)

    def cite(self, index: int, number: int, citation: msgspec.Raw) -> None:
        cites = self._state(index).cites
        cites[number] = cites.get(number, 0) + 1
        self._sink.cite(citation, self._family)

    def refuse(self, index: int, number: int, delta: str) -> None:
        self.has_refusal = True
        self._count(index, "refusal", number, len(delta))
        self._sink.refusal(delta)

    def end_refusal(self, index: int, number: int, whole: str | None) -> None:
        rest = self._rest(index, "refusal", number, whole)
        if rest:
            self.refuse(index, number, rest)

    def summarize(self, index: int, number: int, delta: str) -> None:
        self._count(index, "summary", number, len(delta))
        self._sink.thinking(delta, number)

    def end_summary(self, index: int, number: int, whole: str | None) -> None:
        rest = self._rest(index, "summary", number, whole)
        if rest:
            self.summarize(index, number, rest)

    def think(self, index: int, number: int, delta: str) -> None:
        self._count(index, "thought", number, len(delta))
        self._sink.thinking(delta)

    def end_thought(self, index: int, number: int, whole: str | None) -> None:
        rest = self._rest(index, "thought", number, whole)
        if rest:
            self.think(index, number, rest)

    def begin_call(self, index: int, item: Item) -> None:
        """Once its id and its name are known; some servers tell them late."""
        state = self._state(index)
        if state.call is not None or not item.name or not item.call_id:
            return
        self.has_calls = True
        name = flat_name(item.name, item.namespace)
        state.call = (item.call_id, name, item.type == "custom_tool_call")
        self.argue(index, "")

    def argue(self, index: int, delta: str) -> None:
        call = self._state(index).call
        if call is not None:
            self._count(index, "call", 0, len(delta))
            call_id, name, is_freeform = call
            self._sink.call(index, call_id, name, delta, is_freeform)

    def end_arguments(self, index: int, whole: str | None) -> None:
        rest = self._rest(index, "call", 0, whole)
        if rest:
            self.argue(index, rest)

    def end_part(self, index: int, number: int, part: ContentPart) -> None:
        self.end_text(index, number, part.text if part.type == "output_text" else None)
        self.end_refusal(index, number, part.refusal)
        try:
            annotations = _raws.decode(part.annotations) if part.annotations is not ABSENT else []
        except UNREADABLE:
            annotations = []
        for citation in annotations[self._state(index).cites.get(number, 0) :]:
            self.cite(index, number, citation)
        self._sink.ended()

    def end_item(self, index: int, raw: msgspec.Raw) -> None:
        state = self._state(index)
        item = None if state.is_done else decoded_member(_item, raw)
        if item is None:
            return
        state.is_done = True
        content = item.content if isinstance(item.content, list) else []
        if item.type == "message":
            for number, part in enumerate(content):
                self.end_part(index, number, part)
        elif item.type == "reasoning":
            self._end_reasoning(index, item, content)
        elif item.type in CALLS:
            self._end_call(index, item)
        else:
            self._sink.hosted(hosted_kind(item.type), raw, self._family, index)

    def _end_reasoning(self, index: int, item: Item, content: list[ContentPart]) -> None:
        for number, part in enumerate(item.summary or ()):
            self.end_summary(index, number, part.text)
        for number, part in enumerate(content):
            self.end_thought(index, number, part.text)
        if item.encrypted_content:
            self._sink.sign(ThoughtSignature(self._family, item.encrypted_content))
        else:
            self._sink.ended()

    def _end_call(self, index: int, item: Item) -> None:
        self.begin_call(index, item)
        arguments = item.input if item.type == "custom_tool_call" else item.arguments
        self.end_arguments(index, arguments if isinstance(arguments, str) else None)
        if item.type == "function_call" and not self._chars.get((index, "call", 0)):
            self.argue(index, "{}")

    def _state(self, index: int) -> _ItemState:
        state = self._items.get(index)
        if state is None:
            state = self._items[index] = _ItemState()
        return state

    def _count(self, index: int, kind: str, number: int, chars: int) -> None:
        place = (index, kind, number)
        self._chars[place] = self._chars.get(place, 0) + chars

    def _rest(self, index: int, kind: str, number: int, whole: str | None) -> str:
        """What no delta has brought."""
        return whole[self._chars.get((index, kind, number), 0) :] if whole else ""


def decoded_member(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    """None for what is not there; an odd member of a known event must not end a good answer."""
    if raw is ABSENT:
        return None
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        return None
