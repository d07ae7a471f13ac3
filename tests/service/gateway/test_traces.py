"""A trace context passes through a call: with a span for each attempt, and never as it came."""

import pytest

from libs.common.domain.traces import span_id_of
from tests.service.gateway.dialects import Dialect
from tests.service.gateway.stage import Client, bearer
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_each_hop_has_its_span(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, stream: bool
) -> None:
    secret = await books.add_key()
    dialect.served_by(upstream, stream=stream)
    headers = bearer(secret) | {"traceparent": PARENT, "tracestate": "a=1"}

    answer = await gateway.http.post(
        dialect.path, json=dialect.body(stream=stream), headers=headers
    )

    event = await books.the_event(secret)
    (request,) = upstream.requests
    assert request.header("traceparent") == f"00-{TRACE}-{span_id_of(event.call_id, 1)}-01"
    assert request.header("tracestate") == "a=1"
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{span_id_of(event.call_id)}-01"
    assert event.traceparent == PARENT
    assert event.asked_after_ms is not None
    assert 0 <= event.asked_after_ms <= (event.latency_ms or 0)


@pytest.mark.parametrize("parent", [None, "00-x", PARENT.upper()], ids=["none", "bad", "upper"])
async def test_without_a_context_nothing_is_sent_on(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, parent: str | None
) -> None:
    secret = await books.add_key()
    dialect.served_by(upstream, stream=False)
    headers = bearer(secret) | {"tracestate": "a=1"}
    if parent is not None:
        headers["traceparent"] = parent

    answer = await gateway.http.post(dialect.path, json=dialect.body(), headers=headers)

    assert answer.status_code == 200
    request = upstream.requests[-1]
    assert (request.header("traceparent"), request.header("tracestate")) == (None, None)
    assert "traceresponse" not in answer.headers
    assert (await books.the_event(secret)).traceparent is None


async def test_a_refusal_has_it_too(gateway: Client, books: Books, dialect: Dialect) -> None:
    secret = await books.add_key()
    headers = bearer(secret) | {"traceparent": PARENT, "x-gateway-tags": "a:1,a:2"}

    answer = await gateway.http.post(dialect.path, json=dialect.body(), headers=headers)

    dialect.check_error(answer, 400, "invalid_request")
    assert answer.headers["traceresponse"].startswith(f"00-{TRACE}-")
    assert (await books.the_event(secret)).traceparent == PARENT
