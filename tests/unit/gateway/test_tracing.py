"""A client's trace context: what is read of it, and what goes on instead."""

import pytest

from libs.common.domain.traces import read_traceparent, span_id_of
from services.gateway.calls.tracing import tracing_of

CALL = "01a2278a-2cb4-794c-b783-170073f70ba4"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def headers(*states: bytes, parents: tuple[bytes, ...] = (PARENT,)) -> list[tuple[bytes, bytes]]:
    return [
        (b"accept", b"*/*"),
        *((b"traceparent", value) for value in parents),
        *((b"tracestate", value) for value in states),
    ]


def provider_headers(*states: bytes) -> dict[bytes, bytes]:
    tracing = tracing_of(headers(*states))
    assert tracing is not None
    return dict(tracing.attempt_headers(CALL, 2))


def test_a_provider_gets_the_trace_and_the_span_of_its_attempt() -> None:
    outgoing = provider_headers(b"vendor=1, other@sys=a b")
    assert outgoing == {
        b"traceparent": f"00-{TRACE}-{span_id_of(CALL, 2)}-01".encode(),
        b"tracestate": b"vendor=1,other@sys=a b",
    }
    assert read_traceparent(outgoing[b"traceparent"].decode()) is not None


def test_the_client_gets_the_span_of_its_call() -> None:
    tracing = tracing_of(headers())
    assert tracing is not None
    answer = tracing.answer_headers(CALL)
    assert answer == [(b"traceresponse", f"00-{TRACE}-{span_id_of(CALL)}-01".encode())]
    assert tracing.received == PARENT.decode()


@pytest.mark.parametrize(
    "parents",
    [(), (b"",), (b"nonsense",), (PARENT, PARENT), (PARENT.upper(),), (b"\xff" * 55,)],
)
def test_a_request_without_one_valid_parent_has_no_trace(parents: tuple[bytes, ...]) -> None:
    assert tracing_of(headers(b"a=b", parents=parents)) is None


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ((b"a=1", b"b=2"), b"a=1,b=2"),
        ((b"a=1,, ,b=2",), b"a=1,b=2"),
        ((b"1tenant@vendor=x",), b"1tenant@vendor=x"),
    ],
)
def test_vendors_state_goes_on(states: tuple[bytes, ...], state: bytes) -> None:
    assert provider_headers(*states)[b"tracestate"] == state


@pytest.mark.parametrize(
    "state",
    [
        b"a", b"=1", b"A=1", b"a=", b"a=1=2", b"a=\x07", b"a=\xe4", b"a=1;b=2\r\nx-evil: 1",
        b"a=" + b"1" * 511, b",".join(b"k%d=1" % number for number in range(33)), b"", b",",
    ],
)  # fmt: skip
def test_wrong_state_does_not(state: bytes) -> None:
    assert b"tracestate" not in provider_headers(state)
