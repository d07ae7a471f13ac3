"""The console's forms and pages at their edges: what is far, odd, forged, or was there before."""

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx2
import pytest
from starlette.applications import Starlette

from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.conftest import ADMIN_KEY, NOW, app_with
from tests.service.admin.console import browser_of, forms_of, send_form, sign_in
from tests.service.admin.test_console import make


@pytest.fixture
async def browser(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with browser_of(app) as client:
        yield client


@pytest.fixture
async def stranger(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with browser_of(app, key=None) as client:
        yield client


async def test_a_form_of_a_key_keeps_what_its_budget_has(
    admin: httpx2.AsyncClient, browser: httpx2.AsyncClient
) -> None:
    budget = {"limit_usd": 5, "period": "daily", "soft_limit_usd": 3, "alert_percents": [50]}
    await make(admin, "accounts", user_id="a")
    key = await make(admin, "keys", user_id="a", budgets=[budget])
    path = f"/console/edit/key/{key['key_id']}"
    assert (await send_form(browser, path, name="new")).status_code == 303
    after = (await admin.get(f"/admin/keys/{key['key_id']}")).json()
    assert (after["name"], after["budgets"]) == ("new", [budget])


async def test_an_expired_key_can_be_renamed(
    settings: Settings, database: Database, redis: Redis, admin: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a")
    key = await make(admin, "keys", user_id="a", expires_at="2026-11-25T00:00:00.5Z")
    path = f"/console/edit/key/{key['key_id']}"
    later = app_with(settings, database, redis, now=lambda: NOW.replace(day=30))
    async with browser_of(later) as browser:
        assert (await send_form(browser, path, name="new")).status_code == 303
        wrong = await send_form(browser, path, expires_at="2026-11-26T00:00:00Z")
        assert wrong.status_code == 422
    after = (await admin.get(f"/admin/keys/{key['key_id']}")).json()
    assert (after["name"], after["expires_at"]) == ("new", key["expires_at"])


async def test_a_form_of_an_archived_account_leaves_it_so(
    admin: httpx2.AsyncClient, browser: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a", status="archived")
    page = await browser.get("/console/edit/account/a")
    assert forms_of(page)["/console/edit/account/a"]["status"] == "archived"


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
async def test_the_last_moment_of_the_calendar_is_shown(
    admin: httpx2.AsyncClient, browser: httpx2.AsyncClient, zone: str
) -> None:
    await make(admin, "accounts", user_id="a")
    key = await make(admin, "keys", user_id="a", expires_at="9999-12-31T23:59:59Z")
    browser.cookies.set("zone", zone, path="/console")
    for path in ("/console/keys", f"/console/keys/{key['key_id']}"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert "9999-12-31" in page.text


@pytest.mark.parametrize("typed", ["9" * 5000, "9" * 30, "1,5", "10,00", "-1", "٣", "1e3"])
async def test_an_invalid_number_is_refused_and_shown_again(
    admin: httpx2.AsyncClient, browser: httpx2.AsyncClient, typed: str
) -> None:
    await make(admin, "accounts", user_id="a")
    limit = {"limits.requests_per_minute": typed}
    refused = await send_form(browser, "/console/edit/account/a", **limit)
    assert refused.status_code == 422
    assert forms_of(refused)["/console/edit/account/a"]["limits.requests_per_minute"] == typed


async def test_thousands_may_have_commas(
    admin: httpx2.AsyncClient, browser: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a")
    limit = {"limits.requests_per_minute": "1,234,567"}
    assert (await send_form(browser, "/console/edit/account/a", **limit)).status_code == 303
    after = (await admin.get("/admin/accounts/a")).json()
    assert after["limits"]["requests_per_minute"] == 1_234_567


async def test_hidden_fields_that_were_changed_are_refused(
    admin: httpx2.AsyncClient, browser: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a")
    answer = await send_form(browser, "/console/new/account", user_id="b", once="€")
    assert answer.status_code == 422
    answer = await send_form(browser, "/console/edit/account/a", name="new", etag="€")
    assert answer.status_code == 412
    assert (await admin.get("/admin/accounts/b")).status_code == 404
    assert (await admin.get("/admin/accounts/a")).json()["name"] == "a"


@pytest.mark.parametrize("usage", ['{"a":' + "[" * 50_000, '{"a": "\\ud800"}', "[]", "é", "{"])
async def test_unreadable_usage_is_reported(browser: httpx2.AsyncClient, usage: str) -> None:
    answer = await send_form(browser, "/console/prices/quote", model="openai/gpt-4o", usage=usage)
    assert answer.status_code in (400, 422)
    assert forms_of(answer)["/console/prices/quote"]["usage"] == usage


CROSS = {"sec-fetch-site": "cross-site"}


async def test_the_form_of_another_site_is_not_shown_to_be_sent(
    stranger: httpx2.AsyncClient,
) -> None:
    form = {"user_id": "theirs", "then": "/console/new/account", "typed": "user_id=theirs"}
    for path in ("/console/new/account", "/console/sign-in"):
        answer = await stranger.post(path, data=form, headers=CROSS)
        assert answer.status_code == 403
        assert "theirs" not in answer.text


async def test_a_button_whose_session_has_ended_is_kept_too(
    admin: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a")
    key = await make(admin, "keys", user_id="a")
    path = f"/console/keys/{key['key_id']}/revoke"
    sign_in_page = await stranger.post(path, data={"csrf": "of another session"})
    sign_in_fields = forms_of(sign_in_page)["/console/sign-in"]
    again = await stranger.post("/console/sign-in", data=sign_in_fields | {"admin_key": ADMIN_KEY})
    assert (await admin.get(f"/admin/keys/{key['key_id']}")).json()["status"] == "active"
    assert (await stranger.post(path, data=forms_of(again)[path])).status_code == 303
    assert (await admin.get(f"/admin/keys/{key['key_id']}")).json()["status"] == "revoked"


async def test_a_sign_in_leads_to_names_that_look_like_queries(
    admin: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    name = "a?b#c%2F d"
    await make(admin, "models", model=name, deployments=[{"model": "openai/gpt-4o"}])
    path = f"/console/models/{quote(name, safe='')}"
    form = await stranger.get((await stranger.get(path)).headers["location"])
    then = forms_of(form)["/console/sign-in"]["then"]
    page = await stranger.get((await sign_in(stranger, ADMIN_KEY, then=then)).headers["location"])
    assert f"<h1>{name}</h1>" in page.text


async def test_a_second_sign_in_ends_the_first_session(
    browser: httpx2.AsyncClient, redis: Redis
) -> None:
    await sign_in(browser, ADMIN_KEY)
    assert len(await redis.keys("gateway:console:*")) == 1


async def test_a_session_of_another_release_has_ended(
    browser: httpx2.AsyncClient, redis: Redis
) -> None:
    (key,) = await redis.keys("gateway:console:*")
    await redis.set(key, b'{"actor": {}}')
    assert (await browser.get("/console/accounts")).status_code == 303


async def test_guesses_at_the_sign_in_are_counted(stranger: httpx2.AsyncClient) -> None:
    await sign_in(stranger, "gw-adm-wrong")
    metrics = (await stranger.get("/metrics")).text
    assert re.search(r'^admin_unauthenticated_total\{answer="refused"\} 1', metrics, re.MULTILINE)


async def test_a_person_with_one_account_sees_the_pages_of_it(
    admin: httpx2.AsyncClient, app: Starlette
) -> None:
    await make(admin, "accounts", user_id="a")
    person = await make(admin, "people", name="One", role="operator", accounts=["a"])
    async with browser_of(app, person["admin_key"]) as browser:
        for path in ("", "/accounts", "/accounts/a", "/keys", "/calls", "/alerts"):
            page = await browser.get(f"/console{path}")
            assert page.status_code == 200, path
            # Accounts and receivers are made by those who reach all accounts.
            assert "/console/new/account" not in page.text
            assert "/console/new/receiver" not in page.text


async def test_a_person_with_several_accounts_chooses_one(
    admin: httpx2.AsyncClient, app: Starlette
) -> None:
    for user_id in ("a", "b", "c"):
        await make(admin, "accounts", user_id=user_id)
    person = await make(admin, "people", name="Two", role="viewer", accounts=["a", "b"])
    async with browser_of(app, person["admin_key"]) as browser:
        for path in ("/console", "/console/keys", "/console/calls", "/console/alerts"):
            page = await browser.get(path)
            assert page.status_code == 422
            links = re.findall(rf'href="({path}\?user_id=\w)"', page.text)
            assert links == [f"{path}?user_id=a", f"{path}?user_id=b"]
            for link in links:
                assert (await browser.get(link)).status_code == 200
        assert (await browser.get("/console?user_id=c")).status_code == 404


@pytest.mark.parametrize(
    "zone", ["posix%2FEurope%2FBerlin", "right%2FUTC", "posixrules", "America", "%2Fetc%2Fpasswd"]
)
async def test_an_invalid_viewer_zone_falls_back_to_utc(
    browser: httpx2.AsyncClient, zone: str
) -> None:
    browser.cookies.set("zone", zone, path="/console")
    assert (await browser.get("/console?days=1")).status_code == 200


async def test_a_form_that_was_done_can_be_filled_in_otherwise(
    admin: httpx2.AsyncClient, browser: httpx2.AsyncClient
) -> None:
    path = "/console/new/account"
    fields = forms_of(await browser.get(path))[path]
    assert (await browser.post(path, data=fields | {"user_id": "a"})).status_code == 303
    refused = await browser.post(path, data=fields | {"user_id": "b"})
    assert refused.status_code == 409
    assert (await admin.get("/admin/accounts/b")).status_code == 404
    assert (await browser.post(path, data=forms_of(refused)[path])).status_code == 303
    assert (await admin.get("/admin/accounts/b")).status_code == 200


@pytest.mark.parametrize("path", ["/console/accounts", "/console/nowhere", "/console/edit/key/a"])
async def test_a_method_that_a_page_has_not_is_answered_by_a_page(
    browser: httpx2.AsyncClient, path: str
) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        answer = await browser.request(method, path)
        assert answer.status_code == 404
        assert "content-security-policy" in answer.headers


async def test_a_page_that_was_left_open_keeps_no_session_alive(
    browser: httpx2.AsyncClient, redis: Redis
) -> None:
    (key,) = await redis.keys("gateway:console:*")
    await redis.expire(key, 60)
    tail = await browser.get("/console/calls/tail", headers={"hx-request": "true"})
    assert tail.status_code in (200, 204)
    assert await redis.ttl(key) <= 60
    await browser.get("/console/calls")
    assert await redis.ttl(key) > 60
