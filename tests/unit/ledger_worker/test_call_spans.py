"""A call's spans: what they say, and when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.common.domain.traces import span_id_of, trace_id_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import FailedAttempt, ModelRun, TokenUsage
from services.ledger_worker.call_spans import Span, spans_of
from tests.unit import builders

CALL = "01a2278a-2cb4-794c-b783-170073f70ba4"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STARTED = datetime(2026, 11, 24, 12, 30, 1, 234_000, tzinfo=UTC)
USAGE = TokenUsage(
    input_text=10, cache_read=4, output_text=3, runs=(ModelRun(role="advisor", input_text=1),)
)


def call(**fields: Any) -> LedgerEntry:
    defaults: dict[str, Any] = {
        "started_at": STARTED,
        "latency_ms": 900,
        "attempts": 1,
        "requested_model": "best",
        "deployment": "east",
        "asked_after_ms": 20,
    }
    return builders.entry(CALL, **(defaults | fields))


def failed(deployment: str, **fields: Any) -> FailedAttempt:
    defaults: dict[str, Any] = {"provider": "openai", "model": "gpt-4o", "elapsed_ms": 100}
    return FailedAttempt(deployment=deployment, **(defaults | fields))


def times(span: Span) -> tuple[float, float]:
    """In milliseconds from the call's start."""
    start = STARTED.timestamp() * 1_000
    return tuple(round(ns / 1_000_000 - start, 3) for ns in (span.start_ns, span.end_ns))  # type: ignore[return-value]


def test_a_call_of_a_client_with_a_trace_is_a_part_of_it() -> None:
    own, attempt = spans_of(call(traceparent=f"00-{TRACE}-{PARENT}-01"))
    assert (own.trace_id, own.span_id, own.parent_id) == (TRACE, span_id_of(CALL), PARENT)
    assert (attempt.trace_id, attempt.span_id, attempt.parent_id) == (
        TRACE, span_id_of(CALL, 1), own.span_id,
    )  # fmt: skip
    assert (own.is_call, attempt.is_call) == (True, False)


def test_a_call_without_one_has_a_trace_of_its_own() -> None:
    own, attempt = spans_of(call())
    assert own.trace_id == attempt.trace_id == trace_id_of(CALL)
    assert own.parent_id is None


def test_attempts_are_where_they_were_in_time() -> None:
    tries = (
        failed("a", status=529, code="overloaded_error", after_ms=15),
        failed("b", code="upstream_timeout", after_ms=140, elapsed_ms=300),
    )
    spans = spans_of(call(failed_attempts=tries, attempts=3, asked_after_ms=450, first_byte_ms=890))
    assert [times(span) for span in spans] == [(0, 900), (15, 115), (140, 440), (450, 890)]
    assert [span.error for span in spans] == [None, "529", "upstream_timeout", None]
    assert [span.attributes.get("gateway.deployment") for span in spans] == [
        "east", "a", "b", "east",
    ]  # fmt: skip
    assert [span.span_id for span in spans[1:]] == [span_id_of(CALL, n) for n in (1, 2, 3)]


def test_a_stream_says_when_it_began_and_ends_with_its_call() -> None:
    own, attempt = spans_of(call(stream=True, first_byte_ms=200))
    assert times(attempt) == (20, 900)
    first = int(STARTED.timestamp() * 1_000 + 200) * 1_000_000
    assert own.first_chunk_ns == attempt.first_chunk_ns == first
    assert spans_of(call(first_byte_ms=200))[0].first_chunk_ns is None


def test_an_unanswered_call_has_only_its_failed_attempts() -> None:
    spans = spans_of(
        call(
            status="upstream_error", error_code="upstream_timeout", asked_after_ms=None,
            failed_attempts=(failed("a", after_ms=5),),
        )
    )  # fmt: skip
    assert [span.error for span in spans] == ["upstream_timeout", "failed"]


def test_a_call_that_was_refused_has_one_span() -> None:
    refused = call(
        status="refused", http_status=429, error_code="budget_exceeded", attempts=0,
        asked_after_ms=None, provider=None, model=None, deployment=None, latency_ms=1,
    )  # fmt: skip
    (own,) = spans_of(refused)
    assert own.error == "budget_exceeded"
    assert own.attributes["http.response.status_code"] == 429
    assert "gen_ai.provider.name" not in own.attributes


def test_an_entry_of_an_earlier_release_has_spans_too() -> None:
    """It does not say when its attempts began: each follows the one before."""
    tries = (failed("a"), failed("b", elapsed_ms=50))
    spans = spans_of(call(failed_attempts=tries, attempts=3, asked_after_ms=None))
    assert [times(span) for span in spans] == [(0, 900), (0, 100), (100, 150), (150, 900)]


@pytest.mark.parametrize("latency_ms", [None, 0, -5])
def test_no_span_is_longer_than_its_call(latency_ms: int | None) -> None:
    tries = (failed("a", after_ms=-7, elapsed_ms=10**12),)
    for span in spans_of(call(failed_attempts=tries, latency_ms=latency_ms)):
        assert times(span) == (0, 0)


def test_spans_carry_usage_and_cost() -> None:
    own, attempt = spans_of(call(usage=USAGE, cost_nusd=1_500, overhead_ms=0.4, response_id="r"))
    tokens = {
        "gen_ai.usage.input_tokens": 15,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.response.id": "r",
        "gen_ai.response.model": "gpt-4o",
    }
    assert tokens.items() <= own.attributes.items()
    assert tokens.items() <= attempt.attributes.items()
    assert own.attributes["gateway.cost_usd"] == 0.0000015
    assert (own.name, attempt.name) == ("chat best", "chat gpt-4o")
    assert "gateway.cost_usd" not in attempt.attributes


def test_no_account_and_no_message_is_in_them() -> None:
    spans = spans_of(
        call(
            failed_attempts=(failed("a", message="quotes a prompt"),), client_user="end-user",
            tags=("team:secret",), requested_model="m", reason="of nobody's concern",
        )
    )  # fmt: skip
    text = repr(spans)
    for private in ("acme", "key-1", "quotes a prompt", "end-user", "secret", "concern"):
        assert private not in text


def test_the_same_call_has_the_same_spans() -> None:
    later = STARTED + timedelta(minutes=3)
    assert spans_of(call()) == spans_of(call(posted_at=later, seq=7))
