"""What a client tags its call with is in its usage event; the header never goes on."""

import pytest

from tests.service.gateway.dialects import Dialect
from tests.service.gateway.stage import Client, bearer
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_tags_are_in_the_event(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, stream: bool
) -> None:
    secret = await books.add_key()
    dialect.served_by(upstream, stream=stream)
    body = dialect.body(stream=stream, metadata={"team": "metadata", "case": "7", "user_id": "u"})
    headers = bearer(secret) | {"X-Gateway-Tags": "team:search,beta"}

    response = await gateway.http.post(dialect.path, json=body, headers=headers)

    assert response.status_code == 200
    (request,) = upstream.requests
    assert request.fields == body
    assert request.header("x-gateway-tags") is None
    event = await books.the_event(secret)
    of_openai = () if dialect.name == "messages" else ("user_id:u",)
    assert event.tags == ("team:search", "beta", "case:7", *of_openai)


async def test_a_wrong_header_is_refused_before_the_provider_is_asked(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    secret = await books.add_key()
    headers = bearer(secret) | {"x-gateway-tags": "team:a,team:b"}
    requests_before = len(upstream.requests)

    response = await gateway.http.post(dialect.path, json=dialect.body(), headers=headers)

    dialect.check_error(response, 400, "invalid_request")
    assert "has the name 'team' twice" in response.text
    assert len(upstream.requests) == requests_before
    event = await books.the_event(secret)
    assert (event.status, event.http_status, event.tags) == ("refused", 400, ())
