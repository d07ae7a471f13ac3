"""Trace contexts are read as W3C says, and spans' ids follow from the call's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.domain.ids import uuid7
from libs.common.domain.traces import (
    MAX_ATTEMPTS,
    TraceContext,
    call_id_of,
    is_in_share,
    read_traceparent,
    span_id_of,
    trace_id_of,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALL = "01a2278a-2cb4-794c-b783-170073f70ba4"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        # Of a version to come, what is known of it counts.
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-follows", True),
    ],
)
def test_a_well_formed_traceparent_is_read(text: str, sampled: bool) -> None:
    assert read_traceparent(text) == TraceContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "text",
    [
        "", "-", "00", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}-011", f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01", f"00-{TRACE}-{SPAN}a-01", f"0-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01\n", f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-{'x' * 256}",
        f"00-{TRACE[:-1]}\u0660-{SPAN}-01",
    ],
)  # fmt: skip
def test_a_malformed_traceparent_counts_as_absent(text: str) -> None:
    assert read_traceparent(text) is None


def test_the_context_of_a_span_is_read_as_it_was_written() -> None:
    context = TraceContext(TRACE, SPAN, sampled=True)
    assert read_traceparent(context.traceparent(span_id_of(CALL))) == TraceContext(
        TRACE, span_id_of(CALL), sampled=True
    )


@settings(max_examples=20)
@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_every_span_of_a_call_has_an_id_of_its_own_and_a_valid_one(
    now_ms: int, entropy: bytes
) -> None:
    call_id = uuid7(now_ms, entropy)
    spans = [span_id_of(call_id, attempt) for attempt in range(MAX_ATTEMPTS + 1)]
    assert len(set(spans)) == len(spans)
    for span_id in spans:
        assert read_traceparent(f"00-{trace_id_of(call_id)}-{span_id}-01") is not None
    assert call_id_of(trace_id_of(call_id)) == call_id


@pytest.mark.parametrize("text", ["", CALL, TRACE.upper(), f"{TRACE}0", "z" * 32])
def test_an_invalid_trace_id_has_no_call(text: str) -> None:
    assert call_id_of(text) is None


def test_a_share_is_that_part_of_all_calls() -> None:
    calls = [uuid7(0, bytes([1, 2, 3, byte, 5, 6, 7, 8, 9, 10])) for byte in range(256)]
    assert sum(is_in_share(call_id, 0.25) for call_id in calls) == 64
    assert not any(is_in_share(call_id, 0.0) for call_id in calls)
    assert all(is_in_share(call_id, 1.0) for call_id in calls)
