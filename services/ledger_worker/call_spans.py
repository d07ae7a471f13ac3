"""The spans of a posted call: its own, and one for each attempt at a provider.

Names are those of OpenTelemetry's conventions for generative AI, and `gateway.*` where these have
none. Invariants: no content and no account is in a span, nor a provider's message, which may quote
a request; the call's id leads to its entry, which has them. The same call gives the same spans.
"""

from collections.abc import Iterator, Mapping

import msgspec

from libs.common.domain.money import nusd_to_usd
from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.traces import read_traceparent, span_id_of, trace_id_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import FailedAttempt, TokenUsage
from services.ledger_worker.gen_ai_operations import GEN_AI_OPERATIONS

Attribute = str | int | float | bool
_NS_PER_MS = 1_000_000
# A client that hangs up is not a fault, nor is a correction's status that of a call.
_GOOD = frozenset({"ok", "client_closed", "unpriced"})


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Times in nanoseconds (Unix). `parent_id` is None where no other span is known to be one.

    `is_call`: it is the whole call, not an attempt. `first_chunk_ns` is when a stream began.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    is_call: bool
    start_ns: int
    end_ns: int
    first_chunk_ns: int | None = None
    error: str | None = None
    attributes: Mapping[str, Attribute]


class _Times(msgspec.Struct, frozen=True):
    """Of the call, whose whole length bounds those of its attempts."""

    start_ms: int
    length_ms: int

    def at_ns(self, after_ms: int) -> int:
        return (self.start_ms + min(max(after_ms, 0), self.length_ms)) * _NS_PER_MS


def spans_of(entry: LedgerEntry) -> list[Span]:
    """The call's span, then those of its attempts in their order."""
    context = read_traceparent(entry.traceparent)
    times = _Times(int(entry.started_at.timestamp() * 1000), max(entry.latency_ms or 0, 0))
    own = Span(
        name=_span_name(_operation(entry), entry.requested_model),
        trace_id=trace_id_of(entry.entry_id) if context is None else context.trace_id,
        span_id=span_id_of(entry.entry_id),
        parent_id=None if context is None else context.parent_id,
        is_call=True,
        start_ns=times.at_ns(0),
        end_ns=times.at_ns(times.length_ms),
        first_chunk_ns=_first_chunk_ns(entry, times),
        error=_error_of(entry),
        attributes=_known(
            {
                "gen_ai.operation.name": _operation(entry),
                "gen_ai.provider.name": entry.provider,
                "gen_ai.request.model": entry.requested_model,
                "gen_ai.request.stream": entry.stream,
                **_answer_attributes(entry),
                "http.response.status_code": entry.http_status,
                "gateway.call_id": entry.entry_id,
                "gateway.status": entry.status,
                "gateway.deployment": entry.deployment,
                "gateway.attempts": entry.attempts,
                "gateway.translated": entry.translated,
                # A float, as traces have no decimals: the ledger has the exact amount.
                "gateway.cost_usd": float(nusd_to_usd(entry.cost_nusd)),
                "gateway.overhead_ms": entry.overhead_ms,
            }
        ),
    )
    return [own, *_attempts(entry, own, times)]


def _attempts(entry: LedgerEntry, own: Span, times: _Times) -> Iterator[Span]:
    after_ms = 0
    for number, failed in enumerate(entry.failed_attempts, start=1):
        # Events of an earlier release have no start: then each follows the one before.
        after_ms = after_ms if failed.after_ms is None else failed.after_ms
        ends_ms = after_ms + failed.elapsed_ms
        yield _attempt(
            entry, own, number, failed, error=_error_of_attempt(failed),
            start_ns=times.at_ns(after_ms), end_ns=times.at_ns(ends_ms),
        )  # fmt: skip
        after_ms = ends_ms
    if not _has_answer(entry):
        return
    begins_ms = after_ms if entry.asked_after_ms is None else entry.asked_after_ms
    # A whole answer is there at its first byte, a stream at the call's end.
    first_ms = None if entry.stream else entry.first_byte_ms
    ends_ms = times.length_ms if first_ms is None else first_ms
    yield _attempt(
        entry, own, len(entry.failed_attempts) + 1, None, error=own.error,
        start_ns=times.at_ns(begins_ms), end_ns=times.at_ns(max(begins_ms, ends_ms)),
    )  # fmt: skip


def _attempt(
    entry: LedgerEntry,
    call_span: Span,
    number: int,
    failed: FailedAttempt | None,
    *,
    error: str | None,
    start_ns: int,
    end_ns: int,
) -> Span:
    attempt = entry if failed is None else failed
    attributes: dict[str, Attribute | None] = {
        "gen_ai.operation.name": _operation(entry),
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": attempt.model,
        "gateway.call_id": entry.entry_id,
        "gateway.deployment": attempt.deployment,
        "gateway.attempt": number,
    }
    if failed is None:
        attributes |= _answer_attributes(entry)
    else:
        attributes |= {
            "http.response.status_code": failed.status,
            "gateway.error_code": failed.code or None,
        }
    return Span(
        name=_span_name(_operation(entry), attempt.model),
        trace_id=call_span.trace_id,
        span_id=span_id_of(entry.entry_id, number),
        parent_id=call_span.span_id,
        is_call=False,
        start_ns=start_ns,
        end_ns=end_ns,
        first_chunk_ns=call_span.first_chunk_ns if failed is None else None,
        error=error,
        attributes=_known(attributes),
    )


def _has_answer(entry: LedgerEntry) -> bool:
    """Whether an attempt has not failed: it answered, or was cut off by the client or the end."""
    return entry.asked_after_ms is not None or entry.attempts > len(entry.failed_attempts)


def _operation(entry: LedgerEntry) -> str:
    if entry.operation != "create":
        return entry.operation
    return GEN_AI_OPERATIONS[entry.format]


def _span_name(operation: str, model: str | None) -> str:
    return operation if model is None else f"{operation} {model}"


def _answer_attributes(entry: LedgerEntry) -> dict[str, Attribute | None]:
    """The answer's own attributes."""
    usage = entry.usage
    return {
        "gen_ai.response.model": entry.model if usage is None else usage.model or entry.model,
        "gen_ai.response.id": entry.response_id,
        **({} if usage is None else _tokens(usage)),
    }


def _tokens(usage: TokenUsage) -> dict[str, Attribute | None]:
    parts = (usage, *usage.runs)
    return {
        "gen_ai.usage.input_tokens": sum(map(total_input, parts)),
        "gen_ai.usage.output_tokens": sum(map(total_output, parts)),
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
    }


def _first_chunk_ns(entry: LedgerEntry, times: _Times) -> int | None:
    if not entry.stream or entry.first_byte_ms is None:
        return None
    return times.at_ns(entry.first_byte_ms)


def _error_of(entry: LedgerEntry) -> str | None:
    if entry.status in _GOOD:
        return None
    return entry.error_code or entry.status


def _error_of_attempt(failed: FailedAttempt) -> str:
    """As in the conventions for HTTP: the status if there is one, else the error's kind."""
    return failed.code or "failed" if failed.status is None else str(failed.status)


def _known(attributes: Mapping[str, Attribute | None]) -> Mapping[str, Attribute]:
    return {name: value for name, value in attributes.items() if value is not None}
