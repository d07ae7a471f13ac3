"""Signing in to the console at an issuer: there, back, and never by somebody else's link."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import msgspec
import pytest

from libs.common.settings import Secret
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.clock import utc_now
from services.admin.console.session import COOKIE
from services.admin.settings import Settings
from tests.service.admin.conftest import app_with
from tests.service.admin.console import browser_of
from tests.support.issuer import CLIENT_ID, CLIENT_SECRET, TestIssuer, issuing


@pytest.fixture
async def issuer() -> AsyncIterator[TestIssuer]:
    async with issuing() as issuer:
        yield issuer


@pytest.fixture
async def browser(
    settings: Settings, database: Database, redis: Redis, issuer: TestIssuer
) -> AsyncIterator[httpx2.AsyncClient]:
    """Nobody has signed in yet."""
    app = app_with(with_issuer(settings, issuer), database, redis, now=utc_now)
    async with browser_of(app, key=None) as client:
        yield client


def with_issuer(settings: Settings, issuer: TestIssuer) -> Settings:
    return msgspec.structs.replace(
        settings,
        oidc_issuer=issuer.url,
        oidc_client_id=CLIENT_ID,
        oidc_client_secret=Secret(CLIENT_SECRET),
        oidc_roles="ops=operator",
    )


async def begin(browser: httpx2.AsyncClient, then: str = "/console/accounts") -> str:
    """The address at the issuer that the browser is sent to."""
    answer = await browser.get("/console/sign-on", params={"then": then})
    assert answer.status_code == 307, answer.text
    address: str = answer.headers["location"]
    return address


async def test_a_person_signs_on_and_comes_back_to_the_page(
    browser: httpx2.AsyncClient, issuer: TestIssuer
) -> None:
    page = await browser.get("/console/sign-in?then=/console/accounts")
    assert "/console/sign-on?then=%2Fconsole%2Faccounts" in page.text
    query = issuer.grant(await begin(browser), groups=["ops"], name="Ada")
    back = await browser.get(f"/console/sign-on/return?{query}")
    assert back.status_code == 200, back.text
    assert 'content="0; url=/console/accounts"' in back.text
    accounts = await browser.get("/console/accounts")
    assert "Ada" in accounts.text
    assert "operator" in accounts.text
    # An operator changes no prices.
    assert "/console/new/price" not in (await browser.get("/console/prices")).text


async def test_a_sign_on_is_used_once_and_in_its_own_browser(
    browser: httpx2.AsyncClient, issuer: TestIssuer
) -> None:
    query = issuer.grant(await begin(browser), groups=["ops"])
    stolen = dict(browser.cookies)
    browser.cookies.clear()
    elsewhere = await browser.get(f"/console/sign-on/return?{query}")
    assert elsewhere.status_code == 401
    assert COOKIE not in browser.cookies
    browser.cookies.update(stolen)
    assert (await browser.get(f"/console/sign-on/return?{query}")).status_code == 200
    browser.cookies.update(stolen)
    assert (await browser.get(f"/console/sign-on/return?{query}")).status_code == 401


async def test_sign_on_stores_nothing_for_strangers_and_expires(
    settings: Settings, database: Database, redis: Redis, issuer: TestIssuer
) -> None:
    now = utc_now()
    settings = with_issuer(settings, issuer)
    async with browser_of(app_with(settings, database, redis, now=lambda: now), None) as browser:
        query = issuer.grant(await begin(browser), groups=["ops"])
        assert await redis.keys("gateway:console:*") == []
        now += timedelta(minutes=10)
        late = await browser.get(f"/console/sign-on/return?{query}")
        assert late.status_code == 401
        browser.cookies.set("console_sign_on", "bm90IG91cnM=", path="/console/sign-on")
        assert (await browser.get(f"/console/sign-on/return?{query}")).status_code == 401


async def test_a_caller_without_a_role_gets_the_reason(
    browser: httpx2.AsyncClient, issuer: TestIssuer
) -> None:
    query = issuer.grant(await begin(browser), groups=["strangers"])
    refused = await browser.get(f"/console/sign-on/return?{query}")
    assert refused.status_code == 403
    assert COOKIE not in browser.cookies


async def test_sign_on_does_not_redirect_to_another_site(
    browser: httpx2.AsyncClient, issuer: TestIssuer
) -> None:
    query = issuer.grant(await begin(browser, "https://evil.example/"), groups=["ops"])
    back = await browser.get(f"/console/sign-on/return?{query}")
    assert 'content="0; url=/console"' in back.text


async def test_sign_on_without_an_issuer_is_not_found(
    settings: Settings, database: Database, redis: Redis
) -> None:
    async with browser_of(app_with(settings, database, redis), key=None) as browser:
        assert (await browser.get("/console/sign-on")).status_code == 404
        assert "SSO" not in (await browser.get("/console/sign-in")).text
