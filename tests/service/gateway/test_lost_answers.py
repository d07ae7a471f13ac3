"""Answers that are paid for and cannot be told, through the gateway: one call, and its charge."""

import pytest

from tests.service.gateway.dialects import CHAT, MESSAGES, Dialect
from tests.service.gateway.routes import Endpoints, add_route, deployment
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books
from tests.unit.translation.coverage.bodies import BASES
from tests.unit.translation.engine.test_costs import FAILED

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("dialect", [MESSAGES, CHAT], ids=lambda dialect: dialect.name)
async def test_a_response_that_failed_is_charged_and_not_tried_again(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    Endpoints(upstream).answers("a", FAILED)
    route = await add_route(
        books, deployment(upstream, "a", "openai/gpt-4o", formats=("responses",))
    )
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, {**BASES[dialect.name], "model": route})

    assert response.status_code == 500, response.text
    assert "boom" in response.text
    assert response.headers["x-should-retry"] == "false"
    assert len(upstream.requests) == 1
    event = await books.the_event(secret)
    assert event.usage_source == "provider"
    assert event.usage is not None
    assert (event.usage.input_text, event.usage.output_text) == (1000, 500)
