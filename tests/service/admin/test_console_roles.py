"""Whom the console shows what: places, buttons and forms follow the role and the scope."""

import re
from collections.abc import AsyncIterator
from typing import get_args
from urllib.parse import quote

import httpx2
import pytest
from starlette.applications import Starlette

from libs.common.schemas.person import Role
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from services.admin.console.pages import PAGES
from services.admin.console.places import PLACES
from tests.service.admin.console import browser_of, forms_of
from tests.service.admin.test_console import make
from tests.unit import builders

# They change nothing: a viewer may ask what something would cost, and leave.
READING = {"/console/prices/quote", "/console/sign-out"}
# Lists have no one to be named in their forms.
RATES = {"input_cost_per_million": 1, "output_cost_per_million": 2}
_PLACEHOLDER = re.compile(r"\{(\w+)(?::path)?\}")


@pytest.fixture
async def ids(admin: httpx2.AsyncClient, database: Database) -> dict[str, str]:
    """One of everything, by the names that paths have for it."""
    await make(admin, "accounts", user_id="a", budget={"limit_usd": 5, "period": "daily"})
    key = await make(admin, "keys", user_id="a")
    price = await make(admin, "costs", model="m", **RATES)
    await make(admin, "models", model="team/m", deployments=[{"model": "openai/gpt-4o"}])
    person = await make(admin, "people", name="Ada", role="operator")
    receiver = await make(admin, "alerts/receivers", url="https://8.8.8.8/hook")
    answer = await admin.post(f"/admin/alerts/receivers/{receiver['receiver_id']}/test")
    await LedgerStore(database).post([builders.entry("call-1", user_id="a")])
    return {
        "user_id": "a",
        "month": "2026-11",
        "key_id": key["key_id"],
        "price_id": price["price_id"],
        "name": "team/m",
        "entry_id": "call-1",
        "person_id": person["person_id"],
        "receiver_id": receiver["receiver_id"],
        "alert_id": answer.json()["alert_id"],
        "import_id": "none",
    }


def path_of(template: str, ids: dict[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: quote(ids[match[1]], safe=""), template)


@pytest.fixture
async def viewer(admin: httpx2.AsyncClient, app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    person = await make(admin, "people", name="Vera", role="viewer")
    async with browser_of(app, person["admin_key"]) as browser:
        yield browser


async def test_no_page_shows_a_viewer_a_write(
    viewer: httpx2.AsyncClient, ids: dict[str, str]
) -> None:
    count = 0
    for template, handlers in PAGES.items():
        if "GET" not in handlers:
            continue
        page = await viewer.get(path_of(template, ids))
        assert page.status_code in (200, 204, 403), (template, page.text)
        is_form = template.startswith(("/console/new/", "/console/edit/"))
        assert not is_form or page.status_code == 403, template
        assert set(forms_of(page)) <= READING, template
        assert not re.search(r'href="/console/(new|edit)/', page.text), template
        count += page.status_code == 200
    assert count > 15


async def test_a_viewer_cannot_post_a_form(
    viewer: httpx2.AsyncClient, admin: httpx2.AsyncClient, ids: dict[str, str]
) -> None:
    csrf = forms_of(await viewer.get("/console"))["/console/sign-out"]["csrf"]
    before = (await admin.get("/admin/audit")).json()["data"]
    templates = [template for template, handlers in PAGES.items() if "POST" in handlers]
    for template in templates:
        if template not in READING:
            answer = await viewer.post(path_of(template, ids), data={"csrf": csrf})
            assert answer.status_code == 403, (template, answer.text)
    assert len(templates) > 15
    after = (await admin.get("/admin/audit")).json()["data"]
    assert [each for each in after if each not in before and each["outcome"] != "refused"] == []


@pytest.mark.parametrize(
    ("role", "scope"),
    # An owner has all accounts.
    [(r, s) for r in get_args(Role) for s in (None, ["a"]) if s is None or r != "owner"],
)
async def test_the_navigation_has_the_places_that_are_open_and_no_other(
    admin: httpx2.AsyncClient, app: Starlette, role: Role, scope: list[str] | None
) -> None:
    await make(admin, "accounts", user_id="a")
    fields = {} if scope is None else {"accounts": scope}
    person = await make(admin, "people", name="Ada", role=role, **fields)
    async with browser_of(app, person["admin_key"]) as browser:
        nowhere = await browser.get("/console/nowhere")
        paths = {place.path for place in PLACES if f'href="{place.path}"' in _nav(nowhere.text)}
        assert "/console" in paths
        for place in PLACES:
            page = await browser.get(place.path)
            assert page.status_code == (200 if place.path in paths else 403), place.path
            assert _places(page.text) == _places(nowhere.text)
            assert page.text.count('aria-current="page"') == (place.path in paths)


def _nav(text: str) -> str:
    found = re.search(r"<nav aria-label=\"Pages\">.*?</nav>", text)
    assert found is not None, text
    return found[0]


def _places(text: str) -> list[str]:
    return re.findall(r'href="([^"]+)"', _nav(text))


async def test_an_object_named_like_a_form_path_has_a_page(
    admin: httpx2.AsyncClient, app: Starlette
) -> None:
    await make(admin, "accounts", user_id="new")
    await make(admin, "accounts", user_id="edit")
    routes = ("new", "edit", "x/edit", "x/test", "x/delete", "delete", "test")
    for name in routes:
        await make(admin, "models", model=name, deployments=[{"model": "openai/gpt-4o"}])
    async with browser_of(app) as browser:
        for path in ("accounts/new", "accounts/edit", *(f"models/{quote(r, '')}" for r in routes)):
            page = await browser.get(f"/console/{path}")
            assert page.status_code == 200, path
            name = path.partition("/")[2].replace("%2F", "/")
            assert f"<h1>{name}</h1>" in page.text
        page = await browser.get("/console/models/x%2Fdelete")
        (action,) = [each for each in forms_of(page) if each.endswith("/delete")]
        assert (await browser.post(action, data=forms_of(page)[action])).status_code == 303
    left = {each["model"] for each in (await admin.get("/admin/models")).json()["data"]}
    assert left == {*routes} - {"x/delete"}
