"""Records the calls that the stand-in served, to check a ledger against.

A call is recorded before the last byte of its response is sent, so a whole response always has a
record. The list of calls is bounded; the totals cover all calls.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from types import TracebackType
from typing import IO, Any, Literal, Self, get_args

import msgspec

from deploy.local.provider.answers import ScriptedTokens

ExchangeOutcome = Literal[
    "served", "refused", "errored", "cut", "ended_early", "garbage", "client_gone"
]

OUTCOMES: tuple[ExchangeOutcome, ...] = get_args(ExchangeOutcome)

CALLS_KEPT = 200_000
MODELS_KEPT = 1_000
PAGE_LIMIT = 10_000
UNKNOWN_MODEL = "(unknown)"
OTHER_MODELS = "(other)"

_encode = msgspec.json.Encoder().encode


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    """Order of completion, gapless from 1."""
    id: str
    """The id that the response carries."""
    request_id: str
    """The id in the response's own request-id header."""
    client_request_id: str | None
    """The `x-request-id` header as received."""
    path: str
    model: str | None
    """`None` when the request was refused before its model was read."""
    stream: bool
    status: int
    outcome: ExchangeOutcome
    completed: bool
    """The client was handed a whole answer or a whole refusal."""
    deltas: int
    """Handed to the connection; what a client that left has seen of them is not known here."""
    usage: msgspec.Raw | None
    """The last usage object written on the wire, in the format's own convention."""
    tokens: ScriptedTokens | None
    """The same by class; `None` when no usage was sent."""
    started_at_ms: int


class Oracle:
    """Single-threaded, as the event loop that owns it."""

    def __init__(self, log: IO[bytes] | None = None, *, calls_kept: int = CALLS_KEPT) -> None:
        self._calls: deque[CallRecord] = deque(maxlen=calls_kept)
        self._totals: dict[str, dict[str, int]] = {}
        self._seq = 0
        self._log = log
        self._arrived = asyncio.Event()
        self.in_flight = 0

    def __enter__(self) -> Self:
        self.in_flight += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.in_flight -= 1

    def record(self, **facts: Any) -> None:
        self._seq += 1
        call = CallRecord(seq=self._seq, **facts)
        self._calls.append(call)
        self._add(call)
        if self._log is not None:
            self._log.write(_encode(call) + b"\n")
            self._log.flush()
        self._arrived.set()

    def _add(self, call: CallRecord) -> None:
        name = UNKNOWN_MODEL if call.model is None else call.model
        if name not in self._totals and len(self._totals) >= MODELS_KEPT:
            name = OTHER_MODELS
        totals = self._totals.get(name)
        if totals is None:
            classes = dict.fromkeys(ScriptedTokens.__struct_fields__, 0)
            totals = {"calls": 0, **dict.fromkeys(OUTCOMES, 0), "with_usage": 0, **classes}
            self._totals[name] = totals
        totals["calls"] += 1
        totals[call.outcome] += 1
        if call.tokens is not None:
            totals["with_usage"] += 1
            for token_class in ScriptedTokens.__struct_fields__:
                totals[token_class] += getattr(call.tokens, token_class)

    def totals(self) -> dict[str, Any]:
        calls = sum(totals["calls"] for totals in self._totals.values())
        return {"calls": calls, "in_flight": self.in_flight, "models": self._totals}

    def page(self, after: int, limit: int) -> dict[str, Any]:
        """Calls with a `seq` above `after`, oldest first."""
        first = self._seq - len(self._calls) + 1
        skipped = max(0, after + 1 - first)
        stop = skipped + min(limit, PAGE_LIMIT)
        calls = list(itertools.islice(self._calls, skipped, stop))
        return {
            "calls": calls,
            "next": calls[-1].seq if calls else max(after, 0),
            "more": bool(calls) and calls[-1].seq < self._seq,
            "dropped": first - 1,
        }

    async def wait_page(self, after: int, limit: int, wait_s: float) -> dict[str, Any]:
        """The page, once it has a call or the time is over; spares callers a polling loop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self._seq <= after:
                    self._arrived.clear()
                    await self._arrived.wait()
        return self.page(after, limit)

    def reset(self) -> None:
        """Forgets calls and totals. `seq` goes on, so that no pager reads a call twice."""
        self._calls.clear()
        self._totals.clear()
