"""Prices in the console: what an override takes away, an import's difference and its undoing."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from tests.service.admin.console import browser_of, forms_of, send_form

NEW = "/console/new/price"
IMPORT = "/console/prices/import"
RATES = {"input_cost_per_million": "7", "output_cost_per_million": "9"}


@pytest.fixture
async def browser(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with browser_of(app) as client:
        yield client


async def test_terms_that_an_override_drops_are_reported(
    browser: httpx2.AsyncClient,
) -> None:
    fields = forms_of(await browser.get(NEW))[NEW] | {"model": "gpt-4.1-mini", **RATES}
    del fields["inherit"]
    page = await browser.post(NEW, data=fields)
    assert page.status_code == 200, page.text
    assert "Terms that it lacks" in page.text
    assert "cached read: " in page.text
    inheriting = forms_of(await browser.get(NEW))[NEW] | {"model": "gpt-4.1", **RATES}
    assert (await browser.post(NEW, data=inheriting)).status_code == 303


async def test_an_import_shows_its_difference_and_is_undone(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    fields = {"model": "gpt-4.1-mini", "multiplier": "1.5"}
    preview = await send_form(browser, IMPORT, **fields)
    assert preview.status_code == 200
    assert "1 new" in preview.text
    assert (await admin.get("/admin/costs/imports")).json()["data"] == []
    really = forms_of(preview)[IMPORT]
    assert really["really"] == "yes"
    answer = await browser.post(IMPORT, data=really)
    assert "Imported 1 prices" in answer.text
    # The same, dearer: what changes is shown from and to.
    dearer = await send_form(browser, IMPORT, **{**fields, "multiplier": "3"})
    assert "\u2192" in dearer.text
    (one,) = (await admin.get("/admin/costs/imports")).json()["data"]
    undo = f"{IMPORT}/{one['import_id']}/undo"
    assert (await send_form(browser, IMPORT, undo)).status_code == 303
    (one,) = (await admin.get("/admin/costs/imports")).json()["data"]
    assert one["undone"]
    assert undo not in forms_of(await browser.get(IMPORT))
