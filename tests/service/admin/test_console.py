"""The console's frame: who gets in, what a form needs, what an error says."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest
from starlette.applications import Starlette

from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.console.session import COOKIE, IDLE
from services.admin.settings import Settings
from services.admin.wrong_keys import PER_SOURCE
from tests.service.admin.conftest import ADMIN_KEY, NOW, app_with
from tests.service.admin.console import browser_of, forms_of, send_form, sign_in

MARKUP = "<script>alert(1)</script>\"'&"


@pytest.fixture
async def browser(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with browser_of(app) as client:
        yield client


@pytest.fixture
async def stranger(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with browser_of(app, key=None) as client:
        yield client


async def make(admin: httpx2.AsyncClient, path: str, **fields: object) -> dict[str, str]:
    answer = await admin.post(f"/admin/{path}", json=fields)
    assert answer.status_code == 201, answer.text
    content: dict[str, str] = answer.json()
    return content


async def test_a_stranger_is_led_through_the_sign_in_to_the_page(
    stranger: httpx2.AsyncClient,
) -> None:
    redirect = await stranger.get("/console/accounts?limit=5")
    assert redirect.status_code == 303
    form = await stranger.get(redirect.headers["location"])
    fields = forms_of(form)["/console/sign-in"]
    assert fields["then"] == "/console/accounts?limit=5"
    answer = await sign_in(stranger, ADMIN_KEY, then=fields["then"])
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/accounts?limit=5")
    assert (await stranger.get("/console/accounts?limit=5")).status_code == 200


async def test_the_cookie_is_for_this_site_and_no_script(stranger: httpx2.AsyncClient) -> None:
    plain = await sign_in(stranger, ADMIN_KEY)
    cookie = plain.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/console"):
        assert part in cookie
    assert "Secure" not in cookie
    stranger.headers["x-forwarded-proto"] = "https"
    assert "Secure" in (await sign_in(stranger, ADMIN_KEY)).headers["set-cookie"]


@pytest.mark.parametrize("then", ["https://evil.example/console", "//evil.example", "/admin", ""])
async def test_a_sign_in_leads_to_no_other_site(stranger: httpx2.AsyncClient, then: str) -> None:
    assert (await sign_in(stranger, ADMIN_KEY, then=then)).headers["location"] == "/console"


async def test_redis_does_not_hold_what_a_session_is_named_by(
    browser: httpx2.AsyncClient, redis: Redis
) -> None:
    (key,) = await redis.keys("gateway:console:*")
    cookie = browser.cookies[COOKIE]
    assert cookie.encode() not in key + (await redis.get(key) or b"")
    assert 0 < await redis.ttl(key) <= IDLE.total_seconds()


async def test_wrong_keys_are_refused_and_slowed(stranger: httpx2.AsyncClient) -> None:
    for _ in range(PER_SOURCE):
        refused = await sign_in(stranger, "gw-adm-wrong")
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers
    assert (await sign_in(stranger, "gw-adm-wrong")).status_code == 429
    assert (await sign_in(stranger, ADMIN_KEY)).status_code == 303


@pytest.mark.parametrize("key", [" ", "sk-gw-of-a-client", "gw-adm-wrong"])
async def test_a_wrong_key_is_called_wrong_without_a_word_of_headers(
    stranger: httpx2.AsyncClient, key: str
) -> None:
    refused = await sign_in(stranger, key)
    assert "This admin key is not known." in refused.text
    assert "Bearer" not in refused.text


async def test_signing_out_ends_the_session_on_the_server(browser: httpx2.AsyncClient) -> None:
    cookie = browser.cookies[COOKIE]
    assert (await browser.post("/console/sign-out")).status_code == 303
    answer = await browser.get("/console", headers={"cookie": f"{COOKIE}={cookie}"})
    assert answer.status_code == 303


async def test_a_session_ends_after_a_days_work(
    settings: Settings, database: Database, redis: Redis
) -> None:
    now = NOW
    app = app_with(settings, database, redis, now=lambda: now)
    async with browser_of(app) as browser:
        assert (await browser.get("/console")).status_code == 200
        now += timedelta(hours=12)
        assert (await browser.get("/console")).status_code == 303


async def test_a_revoked_key_ends_its_sessions(admin: httpx2.AsyncClient, app: Starlette) -> None:
    person = await make(admin, "people", name="Ada", role="operator")
    async with browser_of(app, person["admin_key"]) as browser:
        assert (await browser.get("/console/accounts")).status_code == 200
        await admin.delete(f"/admin/people/{person['person_id']}")
        assert (await browser.get("/console/accounts")).status_code == 303


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "none"}])
async def test_a_form_of_another_site_does_nothing(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    browser.headers.update(headers)
    answer = await send_form(browser, "/console/new/account", user_id="a")
    assert answer.status_code == 403
    assert (await admin.get("/admin/accounts/a")).status_code == 404


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_a_form_needs_the_sessions_token(browser: httpx2.AsyncClient, token: str) -> None:
    answer = await send_form(browser, "/console/new/account", user_id="a", csrf=token)
    assert answer.status_code == 403
    assert "Nothing was done" in answer.text


async def test_a_form_whose_session_has_ended_keeps_what_was_typed(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, redis: Redis
) -> None:
    page = await browser.get("/console/new/account")
    fields = forms_of(page)["/console/new/account"] | {"user_id": "late", "name": MARKUP}
    await redis.flushdb()
    sign_in_page = await browser.post("/console/new/account", data=fields)
    assert (await admin.get("/admin/accounts/late")).status_code == 404
    sign_in_fields = forms_of(sign_in_page)["/console/sign-in"]
    again = await browser.post("/console/sign-in", data=sign_in_fields | {"admin_key": ADMIN_KEY})
    account_fields = forms_of(again)["/console/new/account"]
    assert (account_fields["user_id"], account_fields["name"]) == ("late", MARKUP)
    assert (await browser.post("/console/new/account", data=account_fields)).status_code == 303
    assert (await admin.get("/admin/accounts/late")).json()["name"] == MARKUP


async def test_markup_is_text_wherever_it_is_stored_or_typed(browser: httpx2.AsyncClient) -> None:
    wrong = await send_form(browser, "/console/new/account", user_id=MARKUP, name=MARKUP)
    assert wrong.status_code == 422
    assert forms_of(wrong)["/console/new/account"]["user_id"] == MARKUP
    answer = await send_form(browser, "/console/new/account", user_id="a", name=MARKUP)
    paths = (answer.headers["location"], "/console/accounts", "/console/edit/account/a")
    for page in [wrong, *[await browser.get(path) for path in paths]]:
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;alert" in page.text


async def test_every_answer_forbids_what_is_not_of_this_site(
    browser: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    answers = [
        await browser.get("/console"),
        await browser.get("/console/accounts/nobody"),
        await browser.get("/console/nowhere"),
        await stranger.get("/console/sign-in"),
        await browser.post("/console/new/account", data={}),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", answer.text)
        assert "style=" not in answer.text


async def test_two_people_who_edit_one_account_see_the_difference(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a", name="before")
    path = "/console/edit/account/a"
    fields = forms_of(await browser.get(path))[path] | {"name": "mine"}
    await admin.patch("/admin/accounts/a", json={"name": "theirs"})
    refused = await browser.post(path, data=fields)
    assert refused.status_code == 412
    assert "Is now: theirs" in refused.text
    refused_fields = forms_of(refused)[path]
    assert refused_fields["name"] == "mine"
    assert (await admin.get("/admin/accounts/a")).json()["name"] == "theirs"
    assert (await browser.post(path, data=refused_fields)).status_code == 303
    assert (await admin.get("/admin/accounts/a")).json()["name"] == "mine"


async def test_a_form_keeps_unsent_fields(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    before = await make(
        admin, "accounts", user_id="a", limits={"requests_per_minute": 60},
        budget={"limit_usd": "0.0000015", "period": "daily"},
    )  # fmt: skip
    await send_form(browser, "/console/edit/account/a", name="new")
    after = (await admin.get("/admin/accounts/a")).json()
    assert {**after, "updated_at": None, "name": ""} == {**before, "updated_at": None, "name": ""}


async def test_an_empty_amount_removes_the_budget(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a", budget={"limit_usd": 5, "period": "daily"})
    path = "/console/edit/account/a"
    fields = {"budget.limit_usd": "", "limits.parallel_calls": "3"}
    page = await browser.get(path)
    await browser.post(path, data=forms_of(page)[path] | fields)
    after = (await admin.get("/admin/accounts/a")).json()
    assert (after["budgets"], after["limits"]["parallel_calls"]) == ([], 3)
    fields = {"budget.limit_usd": "2.5", "budget.period": "monthly"}
    await browser.post(path, data=forms_of(await browser.get(path))[path] | fields)
    (budget,) = (await admin.get("/admin/accounts/a")).json()["budgets"]
    assert (budget["limit_usd"], budget["period"]) == (2.5, "monthly")


async def test_files_are_served_with_their_type_and_kept(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/console")
    for address in re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page.text):
        answer = await browser.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    missing = await browser.get("/console/static/x/..%2f__init__.py")
    assert missing.status_code == 404
