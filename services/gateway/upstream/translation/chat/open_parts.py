"""The open parts of a stream that is being written."""

from services.gateway.formats.base import MAX_KEPT_BYTES
from services.gateway.upstream.translation.chat.calls import ChatCallHead
from services.gateway.upstream.translation.chat.part_writer import BREAK


class OpenChatCall:
    """The call that is open, and the bytes around its deltas."""

    __slots__ = ("deltas", "end", "head", "key", "start")

    def __init__(self, key: int, head: ChatCallHead, number: int, *, is_legacy: bool) -> None:
        self.key = key
        self.head = head
        # Of a wrapped input, which can be taken out of its JSON only when it is whole.
        self.deltas: list[str] = []
        if is_legacy:
            self.start, self.end = b'{"function_call":{"arguments":', b"}}"
        else:
            place = f'{{"tool_calls":[{{"index":{number},"{head.kind}":{{"{head.member}":'
            self.start, self.end = place.encode(), b"}}]}"


class OpenThought:
    """The text of a part of thinking, which its signature is told with; None for too long a one."""

    __slots__ = ("_chars", "_deltas", "_summary", "is_begun", "is_told")

    def __init__(self, *, is_begun: bool = False) -> None:
        self.is_begun = is_begun
        self.is_told = False
        self._deltas: list[str] = []
        self._chars = 0
        self._summary: int | None = None

    def add(self, delta: str, summary: int | None) -> str:
        """The delta, after a break where another part of the summary begins."""
        if self._deltas and summary != self._summary:
            delta = BREAK + delta
        self._summary = summary
        self._chars += len(delta)
        if self._chars <= MAX_KEPT_BYTES:
            self._deltas.append(delta)
        return delta

    def text(self) -> str | None:
        return "".join(self._deltas) if self._chars <= MAX_KEPT_BYTES else None
