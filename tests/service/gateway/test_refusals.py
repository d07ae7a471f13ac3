"""Refused calls: in the shape of the path, at no charge, and audited if the key is known."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from tests.service.gateway.dialects import CHAT, Dialect
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Refused(msgspec.Struct, frozen=True):
    """A bad request of a key that is known."""

    status: int
    code: str
    param: str | None = None
    body: Callable[[Dialect], Any] = Dialect.body
    key: dict[str, Any] = {}
    account: dict[str, Any] = {}
    headers: dict[str, str] = {}
    retry: str | None = None


def counted_as(reason: str) -> float:
    return REGISTRY.get_sample_value("gateway_refused_total", {"reason": reason}) or 0.0


REFUSALS = {
    "invalid JSON": Refused(400, "invalid_json", body=lambda _: b'{"model": '),
    "nesting without end": Refused(400, "invalid_json", body=lambda _: b'{"x":' + b"[" * 90_000),
    "text that is not UTF-8": Refused(
        400, "invalid_json", body=lambda _: b'{"model": "m", "input": "\xff\xfe"}'
    ),
    "half a character": Refused(
        400, "invalid_json", body=lambda _: b'{"model": "m", "input": "\xf0\x9f"}'
    ),
    "empty": Refused(400, "invalid_json", body=lambda _: b""),
    "no object": Refused(400, "invalid_request", body=lambda _: []),
    "no model": Refused(400, "invalid_request", "model", body=lambda _: {"input": "Hi"}),
    "model of a wrong type": Refused(
        400, "invalid_request", "model", body=lambda dialect: dialect.body(model=5)
    ),
    "unknown model": Refused(
        404, "model_not_found", "model", body=lambda dialect: dialect.body(model="unheard-of")
    ),
    "unpriced model": Refused(
        400,
        "model_not_priced",
        "model",
        body=lambda dialect: dialect.body(model="openai/unpriced"),
    ),
    "model not allowed": Refused(
        403, "model_not_allowed", "model", key={"allowed_models": ("gpt-3*", "claude-2")}
    ),
    "no model allowed": Refused(403, "model_not_allowed", "model", key={"allowed_models": ()}),
    "body too large": Refused(
        413, "request_too_large", body=lambda dialect: dialect.body("x" * 100_000)
    ),
    "wrong content type": Refused(
        415, "unsupported_media_type", headers={"content-type": "text/plain"}
    ),
    "revoked key": Refused(401, "api_key_revoked", key={"status": "revoked"}, retry="false"),
    "expired key": Refused(401, "api_key_expired", key={"expires_at": LONG_AGO}, retry="false"),
    "suspended account": Refused(403, "account_suspended", account={"status": "suspended"}),
    "exhausted budget": Refused(
        402, "budget_exceeded", account={"limit_usd": "0.000000001"}, retry="false"
    ),
}


@pytest.mark.parametrize("refused", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_is_audited_and_costs_nothing(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, refused: Refused
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key(await books.add_account(**refused.account), **refused.key)
    before = counted_as(refused.code)

    response = await gateway.post(dialect.path, secret, refused.body(dialect), refused.headers)

    assert counted_as(refused.code) == before + 1
    error = dialect.check_error(response, refused.status, refused.code)
    if dialect.name != "messages":
        assert error["param"] == refused.param
    assert response.headers.get("x-should-retry") == refused.retry
    assert upstream.requests == []
    event = await books.the_event(secret)
    assert event.call_id == response.headers["x-request-id"]
    assert (event.status, event.http_status) == ("refused", response.status_code)
    assert event.error_code == refused.code
    assert (event.usage, event.usage_source, event.held_nusd) == (None, "none", 0)
    assert await books.held(secret) == 0


async def test_a_wrong_method_is_audited(gateway: Client, books: Books, dialect: Dialect) -> None:
    secret = await books.add_key()

    response = await gateway.http.get(dialect.path, headers={"x-api-key": secret})

    error = dialect.check_error(response, 405, "method_not_allowed")
    assert "POST" in error["message"]
    assert response.headers["allow"] == "POST"
    event = await books.the_event(secret)
    assert (event.status, event.http_status, event.error_code) == (
        "refused",
        405,
        "method_not_allowed",
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_wrong_method_is_reported_without_a_key(
    gateway: Client, books: Books, dialect: Dialect, method: str
) -> None:
    before = len(await books.all_events())

    response = await gateway.http.request(method, dialect.path)

    dialect.check_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    assert len(await books.all_events()) == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer sk-gw-wrong"},
        {"authorization": "Basic dTpw"},
        {"x-api-key": "sk-gw-wrong"},
        {"api-key": "\xff".encode("latin-1")},
    ],
    ids=["missing", "wrong", "basic", "wrong x-api-key", "odd bytes"],
)
async def test_a_call_with_an_unknown_key_is_not_audited(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, headers: Any
) -> None:
    upstream.answers(dialect.answer)
    before = len(await books.all_events())

    response = await gateway.http.post(dialect.path, json=dialect.body(), headers=headers)

    dialect.check_error(response, 401, "invalid_api_key")
    assert response.headers["x-should-retry"] == "false"
    assert upstream.requests == []
    assert len(await books.all_events()) == before


async def test_a_secret_does_not_appear_in_its_refusal(gateway: Client, dialect: Dialect) -> None:
    response = await gateway.post(dialect.path, "sk-gw-mistyped-secret", dialect.body())

    assert "mistyped" not in response.text


async def test_a_key_without_its_account_is_unknown(
    gateway: Client, books: Books, dialect: Dialect
) -> None:
    secret = await books.add_key("deleted")

    response = await gateway.post(dialect.path, secret, dialect.body())

    dialect.check_error(response, 401, "invalid_api_key")
    assert await books.events(secret) == []


async def test_a_key_works_until_it_expires(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key(expires_at=datetime.now(UTC) + timedelta(hours=1))

    assert (await gateway.post(dialect.path, secret, dialect.body())).status_code == 200


@pytest.mark.parametrize("pattern", ["gpt-4o", "gpt-4*", "*"])
async def test_a_model_can_be_allowed_by_a_pattern(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, pattern: str
) -> None:
    upstream.answers(dialect.answer)
    secret = await books.add_key(allowed_models=(pattern, "claude-haiku-4-5"))

    assert (await gateway.post(dialect.path, secret, dialect.body())).status_code == 200


async def test_an_exhausted_budget_is_explained(
    gateway: Client, books: Books, dialect: Dialect
) -> None:
    user_id = await books.add_account(limit_usd="0.0001", period="daily")
    secret = await books.add_key(user_id)

    response = await gateway.post(dialect.path, secret, dialect.body())

    error = dialect.check_error(response, 402, "budget_exceeded")
    for part in (user_id, "limit 0.0001 USD", "spent 0", "held by calls under way 0", "ends at"):
        assert part in error["message"]


@pytest.mark.parametrize("limit", [0, -5, 10**30, 10**70 + 1])
async def test_invalid_token_limits_are_left_to_the_provider(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, limit: int
) -> None:
    """They only must not break the sums of the hold."""
    upstream.answers(b"{}", status=400)
    secret = await books.add_key()

    response = await gateway.post(
        dialect.path, secret, {**dialect.body(), dialect.limit_field: limit}
    )

    assert response.status_code == 400
    assert response.content == b"{}"
    assert (await books.the_event(secret)).status == "upstream_error"


async def test_invalid_numbers_of_answers_are_left_to_the_provider(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    upstream.answers(b"{}", status=400)

    for answers in (0, -1, 10**40):
        response = await gateway.post(CHAT.path, await books.add_key(), CHAT.body(n=answers))
        assert response.status_code == 400
