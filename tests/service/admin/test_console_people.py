"""People in the console: changed by form, as far as the API lets them be."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.conftest import NOW, app_with
from tests.service.admin.console import browser_of, forms_of, send_form
from tests.service.admin.test_console import make


@pytest.fixture
async def browser(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with browser_of(app) as client:
        yield client


async def test_a_person_gets_another_role_and_other_accounts(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a")
    await make(admin, "accounts", user_id="b")
    person = await make(admin, "people", name="Ada", role="viewer", accounts=["a"])
    path, at = f"/console/edit/person/{person['person_id']}", f"/admin/people/{person['person_id']}"
    assert (await send_form(browser, path, accounts="a\r\nb", role="operator")).status_code == 303
    after = (await admin.get(at)).json()
    assert (after["role"], after["accounts"], after["name"]) == ("operator", ["a", "b"], "Ada")
    assert (await send_form(browser, path, accounts="")).status_code == 303
    assert (await admin.get(at)).json()["accounts"] is None
    wrong = await send_form(browser, path, accounts="nobody", name="")
    assert wrong.status_code == 422
    assert forms_of(wrong)[path]["accounts"].strip() == "nobody"


async def test_two_people_who_change_a_person_see_the_difference(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    person = await make(admin, "people", name="Ada", role="viewer")
    path = f"/console/edit/person/{person['person_id']}"
    fields = forms_of(await browser.get(path))[path] | {"role": "billing"}
    await admin.patch(f"/admin/people/{person['person_id']}", json={"name": "theirs"})
    refused = await browser.post(path, data=fields)
    assert refused.status_code == 412
    assert "Is now: theirs" in refused.text


async def test_a_person_with_an_expired_key_can_be_renamed(
    settings: Settings, database: Database, redis: Redis, admin: httpx2.AsyncClient
) -> None:
    person = await make(
        admin, "people", name="Ada", role="viewer", expires_at="2026-11-25T00:00:00Z"
    )
    later = app_with(settings, database, redis, now=lambda: NOW.replace(day=30))
    async with browser_of(later) as browser:
        path = f"/console/edit/person/{person['person_id']}"
        assert (await send_form(browser, path, name="new")).status_code == 303
    after = (await admin.get(f"/admin/people/{person['person_id']}")).json()
    assert (after["name"], after["expires_at"]) == ("new", person["expires_at"])
