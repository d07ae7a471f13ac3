"""Who gets in, and what every answer has in common."""

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx2
import msgspec
import pytest

from libs.common.settings import Secret
from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.web.bounded_http import BOUNDS
from services.admin.errors import refuse
from services.admin.pages import cursor_of
from services.admin.settings import Settings
from services.admin.validation import MAX_BODY_BYTES
from services.admin.wrong_keys import PER_SOURCE
from tests.servers import free_port, mongo_server, running
from tests.service.admin.conftest import ADMIN_KEY, app_with, client_of
from tests.service.admin.problems import problem, wrong_fields
from tests.service.web.test_bounded_http import START, connecting
from tests.support.sockets import serving

JSON = {"content-type": "application/json"}
ADMIN_PATHS = ["/admin", "/admin/", "/admin/accounts", "/admin/ledger/verify", "/admin/nothing"]


@pytest.mark.parametrize("path", ADMIN_PATHS)
@pytest.mark.parametrize(
    "authorization",
    [
        "",
        ADMIN_KEY,
        f"Basic {ADMIN_KEY}",
        "Bearer",
        "Bearer ",
        f"Bearer {ADMIN_KEY}x",
        f"Bearer {ADMIN_KEY[:-1]}",
        f"Bearer {ADMIN_KEY} {ADMIN_KEY}",
        "Bearer \xe9",
    ],
)
async def test_requests_without_the_key_are_rejected(
    admin: httpx2.AsyncClient, path: str, authorization: str
) -> None:
    answer = await admin.get(path, headers={b"authorization": authorization.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    error = problem(answer)
    assert error["code"] == "invalid_api_key"
    assert error["request_id"] == answer.headers["x-request-id"]
    assert ADMIN_KEY not in answer.text


async def test_the_scheme_is_written_in_any_case(admin: httpx2.AsyncClient) -> None:
    answer = await admin.get("/admin/accounts", headers={"authorization": f"bearer {ADMIN_KEY}"})
    assert answer.status_code == 200


async def test_health_readiness_and_metrics_are_open(admin: httpx2.AsyncClient) -> None:
    await admin.get("/admin/accounts")
    nobody = {"authorization": ""}
    health = await admin.get("/health", headers=nobody)
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    ready = await admin.get("/ready", headers=nobody)
    assert ready.json() == {"status": "ok", "checks": {"mongo": "ok", "redis": "ok"}}
    metrics = await admin.get("/metrics", headers=nobody)
    assert metrics.headers["content-type"].startswith("text/plain")
    line = 'admin_requests_total{method="GET",route="/admin/accounts",status="200"} 1.0'
    assert line in metrics.text
    assert 'admin_database_up{database="mongo"} 1.0' in metrics.text


async def test_readiness_names_the_unavailable_database(
    settings: Settings, database: Database
) -> None:
    async with (
        open_redis(f"redis://127.0.0.1:{free_port()}/0") as away,
        client_of(app_with(settings, database, away)) as admin,
    ):
        ready = await admin.get("/ready")
    assert ready.status_code == 503
    checks = ready.json()["checks"]
    assert checks["mongo"] == "ok"
    assert checks["redis"].startswith("ConnectionError")


async def test_an_extra_slash_is_ignored(admin: httpx2.AsyncClient) -> None:
    """Nobody is redirected, to `http://` and the host that they named; and the key is asked for."""
    assert (await admin.post("/admin/accounts/", json={"user_id": "a"})).status_code == 201
    for path in ("/admin/accounts/a/", "http://admin//admin/accounts/a", "/health/"):
        answer = await admin.get(path)
        assert answer.status_code == 200
        answer = await admin.get(path, headers={"authorization": ""})
        assert answer.status_code == (200 if path == "/health/" else 401)


async def test_heads_are_bounded(settings: Settings, database: Database, redis: Redis) -> None:
    bounds = msgspec.structs.replace(BOUNDS, head_timeout_s=0.2)
    app = app_with(settings, database, redis)
    async with serving(app, refuse=refuse, bounds=bounds) as url, connecting(url) as slow:
        await slow.send(b"GET /admin/accounts HTTP/1.1\r\nhost: x\r\nauthor")
        for code, head in (
            ("request_head_too_large", START + b"a: 1\r\n" * BOUNDS.head_fields),
            ("request_head_too_large", START + b"a: " + b"x" * BOUNDS.head_bytes),
        ):
            async with connecting(url) as client:
                await client.send(head + b"\r\n")
                status, body = await client.answer()
                assert (status, json.loads(body)["code"]) == (431, code)
                assert await client.is_closed()
        status, body = await slow.answer()
        assert (status, json.loads(body)["code"]) == (408, "request_timeout")
        assert await slow.is_closed()


async def test_every_answer_has_its_own_request_id(admin: httpx2.AsyncClient) -> None:
    ids = {
        (await admin.get(path)).headers["x-request-id"]
        for path in ("/health", "/health", "/admin/accounts", "/admin/accounts/a", "/nothing")
    }
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/admin/nothing", 404, "not_found"),
        ("GET", "/admin/accounts/a/b", 404, "not_found"),
        ("PUT", "/admin/accounts", 405, "method_not_allowed"),
        ("DELETE", "/admin/accounts/a", 405, "method_not_allowed"),
        ("POST", "/admin/ledger/verify", 405, "method_not_allowed"),
    ],
)
async def test_unknown_paths_and_methods(
    admin: httpx2.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await admin.request(method, path)
    assert answer.status_code == status
    error = problem(answer)
    assert error["code"] == code
    assert error["request_id"] == answer.headers["x-request-id"]


async def test_a_405_lists_the_allowed_methods(admin: httpx2.AsyncClient) -> None:
    answer = await admin.put("/admin/keys/key_1")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PATCH", "DELETE"}


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"{",
        b'{"user_id": a}',
        b'{"user_id": "a",}',
        b"\xff",
        b'{"user_id": "\xff"}',
        b'{"user_id": "\\ud800"}',
        b'{"user_id": NaN}',
        b'{"user_id":' * 50_000,
        b'{"metadata":' + b"[" * 50_000,
    ],
)
async def test_invalid_json_is_400(admin: httpx2.AsyncClient, body: bytes) -> None:
    answer = await admin.post("/admin/accounts", content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid_json"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/admin/recordings?until=0.5", "until"),
        ("/admin/recordings?until=null", "until"),
        ("/admin/costs?at=1700000000", "at"),
        ("/admin/usage?usage_source=null", "usage_source"),
        ("/admin/accounts?limit=null", "limit"),
    ],
)
async def test_a_number_is_not_a_time_and_null_is_not_a_value(
    admin: httpx2.AsyncClient, path: str, field: str
) -> None:
    answer = await admin.get(path)
    assert answer.status_code == 422, answer.text
    assert set(wrong_fields(answer)) == {field}


async def test_an_error_says_what_is_allowed(admin: httpx2.AsyncClient) -> None:
    body = {"user_id": "a", "limit": 1, "budget": {"limit_usd": 1, "period": "yearly"}}
    errors = {
        each["field"]: each
        for each in problem(await admin.post("/admin/accounts", json=body))["errors"]
    }
    assert errors["limit"]["detail"] == "is not a known field: did you mean limits?"
    assert "limits" in errors["limit"]["allowed"]
    assert errors["budget.period"]["allowed"] == ["total", "daily", "weekly", "monthly"]


async def test_a_missing_body_is_one_without_fields(admin: httpx2.AsyncClient) -> None:
    answer = await admin.post("/admin/accounts")
    assert answer.status_code == 422, answer.text
    assert wrong_fields(answer) == {"user_id": "is required"}


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_other_content_types_are_415(
    admin: httpx2.AsyncClient, media_type: str | None
) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    answer = await admin.post("/admin/accounts", content=b'{"user_id": "a"}', headers=headers)
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize(("coding", "status"), [("gzip", 415), ("x", 415), ("identity", 201)])
async def test_a_compressed_body_is_rejected(
    admin: httpx2.AsyncClient, coding: str, status: int
) -> None:
    headers = {**JSON, "content-encoding": coding}
    answer = await admin.post("/admin/accounts", content=b'{"user_id": "a"}', headers=headers)
    assert answer.status_code == status
    if status == 415:
        assert answer.json()["code"] == "unsupported_content_encoding"


async def test_a_content_type_can_have_parameters(admin: httpx2.AsyncClient) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    answer = await admin.post("/admin/accounts", content=b'{"user_id": "a"}', headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_is_at_most_1_mib(admin: httpx2.AsyncClient, announced: bool) -> None:
    async def send(size: int) -> httpx2.Response:
        body = json.dumps({"user_id": "a", "name": ""}).encode()
        body += b" " * (size - len(body))

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(body), 65536):
                yield body[start : start + 65536]

        content = body if announced else chunks()
        return await admin.post("/admin/accounts", content=content, headers=JSON)

    answer = await send(MAX_BODY_BYTES + 1)
    assert answer.status_code == 413
    assert answer.json()["code"] == "request_too_large"
    assert (await send(MAX_BODY_BYTES)).status_code == 201


async def test_a_body_that_does_not_arrive_is_a_408_and_closes_its_connection(
    settings: Settings, database: Database, redis: Redis
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"user_id": '
        await asyncio.Event().wait()

    app = app_with(msgspec.structs.replace(settings, body_timeout_s=1), database, redis)
    async with client_of(app) as client:
        answer = await client.post("/admin/accounts", content=chunks(), headers=JSON)
    assert answer.status_code == 408
    assert answer.json()["code"] == "request_timeout"
    assert answer.headers["connection"] == "close"


async def test_many_invalid_fields_are_answered_briefly(admin: httpx2.AsyncClient) -> None:
    answer = await admin.post("/admin/accounts", json={f"x{n}" * 50: 1 for n in range(3000)})
    assert answer.status_code == 422
    assert len(answer.content) < 20_000


async def test_while_mongo_is_down_the_answer_is_503(
    settings: Settings, redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(mongo_server(tmp_path_factory.mktemp("mongo"))) as server:
        async with (
            open_database(server.url) as database,
            client_of(app_with(settings, database, redis)) as admin,
        ):
            assert (await admin.get("/admin/accounts/a")).status_code == 404
            server.kill()
            answer = await admin.get("/admin/accounts/a")
            ready = await admin.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["code"] == "service_unavailable"
    assert answer.headers["retry-after"] == "2"
    assert ready.status_code == 503


async def test_a_fault_is_answered_and_logged(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    # Nobody but a bug writes such an account.
    await database["accounts"].insert_one({"_id": "broken"})
    answer = await admin.get("/admin/accounts/broken")
    assert answer.status_code == 500
    error = problem(answer)
    assert error["code"] == "internal_error"
    assert error["request_id"] == answer.headers["x-request-id"]


async def test_wrong_keys_are_throttled_and_the_right_one_is_not(
    admin: httpx2.AsyncClient,
) -> None:
    wrong = {"authorization": f"Bearer {ADMIN_KEY}x"}
    for _ in range(PER_SOURCE):
        assert (await admin.get("/admin/accounts", headers=wrong)).status_code == 401
    answer = await admin.get("/admin/nothing", headers=wrong)
    assert answer.status_code == 429
    assert answer.json()["code"] == "rate_limit_exceeded"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["connection"] == "close"
    assert (await admin.get("/admin/accounts")).status_code == 200
    assert (await admin.get("/health", headers=wrong)).status_code == 200
    metrics = (await admin.get("/metrics")).text
    assert f'admin_unauthenticated_total{{answer="refused"}} {PER_SOURCE}.0' in metrics
    assert 'admin_unauthenticated_total{answer="slowed"} 1.0' in metrics


async def test_two_root_keys_work_while_one_is_replaced(
    settings: Settings, database: Database, redis: Redis
) -> None:
    following = f"{ADMIN_KEY}-2"
    both = msgspec.structs.replace(settings, admin_api_key_next=Secret(following))
    async with client_of(app_with(both, database, redis)) as client:
        for key, status in ((ADMIN_KEY, 200), (following, 200), (f"{following}x", 401)):
            headers = {"authorization": f"Bearer {key}"}
            answer = await client.get("/admin/accounts", headers=headers)
            assert answer.status_code == status


@pytest.mark.parametrize(
    ("path", "params", "field", "told"),
    [
        ("/admin/costs", {"source": "bank"}, "source", "must be one of admin, litellm"),
        ("/admin/costs", {"at": "soon"}, "at", "a time such as 2026-11-24T00:00:00Z, or a day"),
        ("/admin/costs", {"at": "2026-02-30"}, "at", "a time such as"),
        ("/admin/costs", {"at": "2026-11-01T00:00:00"}, "at", "a time such as"),
    ],
)
async def test_a_rejection_names_the_valid_values(
    admin: httpx2.AsyncClient, path: str, params: dict[str, str], field: str, told: str
) -> None:
    answer = await admin.get(path, params=params)
    assert answer.status_code == 422
    assert told in wrong_fields(answer)[field]


async def test_an_invalid_enum_in_a_list_names_the_valid_values(admin: httpx2.AsyncClient) -> None:
    budgets = [{"limit_usd": 1, "period": "yearly"}]
    answer = await admin.post("/admin/accounts", json={"user_id": "a", "budgets": budgets})
    [message] = wrong_fields(answer).values()
    assert "'yearly': must be one of" in message
    assert "monthly" in message


@pytest.mark.parametrize(
    "at", ["2027-01-01", "2027-01-01T01:00:00 01:00", "2027-01-01T00:00:00.0+00:00"]
)
async def test_days_and_unencoded_offsets_are_times(admin: httpx2.AsyncClient, at: str) -> None:
    rates = {"input_cost_per_million": 1, "output_cost_per_million": 1}
    answer = await admin.post("/admin/costs", json={"model": "m", **rates, "effective_from": at})
    assert answer.json()["effective_from"] == "2027-01-01T00:00:00Z"
    page = await admin.get(f"/admin/costs?model=m&at={at.replace(' ', '+')}")
    assert [version["in_force"] for version in page.json()["data"]] == [True]


LISTS = (
    "accounts",
    "keys",
    "costs",
    "costs?history=true",
    "costs?model=gpt-4o",
    "costs/imports",
    "models",
    "usage",
    "ledger/verify",
    "ledger/provider-costs",
    "ledger/dead-letters",
    "recordings",
)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("cursor", ["zzz", "key_1", "é", cursor_of("another list", "a")])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_cursor_of_another_list_is_refused(
    shared_admin: httpx2.AsyncClient, path: str, cursor: str
) -> None:
    """Else `verify` would prove nothing, and a list would seem to be at its end."""
    sign = "&" if "?" in path else "?"
    answer = await shared_admin.get(f"/admin/{path}{sign}cursor={quote(cursor)}")
    assert answer.status_code == 400, answer.text
    assert set(wrong_fields(answer)) == {"cursor"}
