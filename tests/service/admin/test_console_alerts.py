"""Alerts in the console: receivers by form, what they were told, a delivery and its replay."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.service.admin.console import browser_of, forms_of, send_form
from tests.service.admin.test_console import MARKUP, make
from tests.service.admin.test_console_pages import secret_of

NEW = "/console/new/receiver"
HOOK = "https://8.8.8.8/hook"


@pytest.fixture
async def browser(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with browser_of(app) as client:
        yield client


@pytest.fixture
async def receiver(admin: httpx2.AsyncClient) -> dict[str, Any]:
    await make(admin, "accounts", user_id="a")
    kinds = ["ledger.drifted", "key.expiring"]
    return await make(admin, "alerts/receivers", url=HOOK, name=MARKUP, kinds=kinds, user_ids=["a"])


async def read_receiver(admin: httpx2.AsyncClient) -> dict[str, Any]:
    (receiver,) = (await admin.get("/admin/alerts/receivers")).json()["data"]
    content: dict[str, Any] = receiver
    return content


def edit_of(receiver: dict[str, Any]) -> str:
    return f"/console/edit/receiver/{receiver['receiver_id']}"


def page_of(receiver: dict[str, Any]) -> str:
    return f"/console/alerts/receivers/{receiver['receiver_id']}"


async def test_a_receiver_is_made_with_its_kinds(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    fields = forms_of(await browser.get(NEW))[NEW]
    wrong = await browser.post(NEW, data=fields | {"url": "ftp://x", "kinds": "odd"})
    assert wrong.status_code == 422
    assert "odd" in wrong.text
    filled = fields | {"url": HOOK, "kinds": ["key.expiring", "ledger.drifted"]}
    page = await browser.post(NEW, data=filled)
    assert secret_of(page).startswith("whsec_")
    assert (await read_receiver(admin))["kinds"] == ["key.expiring", "ledger.drifted"]


async def test_a_form_keeps_unchanged_fields_and_clears_emptied_ones(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, receiver: dict[str, Any]
) -> None:
    path, before = edit_of(receiver), await read_receiver(admin)
    fields = forms_of(await browser.get(path))[path]
    kinds = fields["kinds"].splitlines()
    assert (await browser.post(path, data=fields | {"kinds": kinds})).status_code == 303
    after = await read_receiver(admin)
    for name in ("url", "name", "user_ids", "enabled"):
        assert after[name] == before[name]
    assert sorted(after["kinds"]) == sorted(before["kinds"])
    cleared = {name: text for name, text in fields.items() if name not in ("kinds", "enabled")}
    cleared |= {"user_ids": "", "name": "", "etag": forms_of(await browser.get(path))[path]["etag"]}
    assert (await browser.post(path, data=cleared)).status_code == 303
    after = await read_receiver(admin)
    assert (after["kinds"], after["user_ids"], after["name"], after["enabled"]) == (
        [],
        [],
        "",
        False,
    )


async def test_two_people_who_change_a_receiver_see_the_difference(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, receiver: dict[str, Any]
) -> None:
    path = edit_of(receiver)
    fields = forms_of(await browser.get(path))[path] | {"name": "mine"}
    fields["kinds"] = "ledger.drifted"
    await admin.patch(f"/admin/alerts/receivers/{receiver['receiver_id']}", json={"name": "theirs"})
    refused = await browser.post(path, data=fields)
    assert refused.status_code == 412
    assert "Is now: theirs" in refused.text
    wrong = await browser.post(path, data=forms_of(refused)[path] | {"user_ids": "nobody"})
    assert wrong.status_code == 422
    assert "there is no account &#39;nobody&#39;" in wrong.text


async def test_a_test_is_sent_shown_and_replayed(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, receiver: dict[str, Any]
) -> None:
    path = page_of(receiver)
    redirect = await send_form(browser, path, f"{path}/test")
    assert redirect.status_code == 303
    delivery_page = await browser.get(redirect.headers["location"])
    assert "receiver.test" in delivery_page.text
    assert "<script>alert" not in delivery_page.text
    assert path in delivery_page.text
    replay = f"{redirect.headers['location']}/replay"
    assert (await browser.post(replay, data=forms_of(delivery_page)[replay])).status_code == 303
    for query, expected in (("state=pending", 1), ("state=delivered", 0), ("kind=key.expiring", 0)):
        alerts_page = await browser.get(f"/console/alerts?{query}")
        assert alerts_page.text.count(f'href="{redirect.headers["location"]}"') == expected
    assert (await send_form(browser, path, f"{path}/remove")).status_code == 303
    assert "removed since" in (await browser.get(redirect.headers["location"])).text


async def test_a_receivers_secret_is_rotated(
    browser: httpx2.AsyncClient, receiver: dict[str, Any]
) -> None:
    path = f"{page_of(receiver)}/rotate"
    wrong = await send_form(browser, path, grace_s="-1")
    assert wrong.status_code == 422
    rotated = await send_form(browser, path, grace_s="3600")
    assert secret_of(rotated) != receiver["secret"]
    assert "Old secret signs until" in (await browser.get(page_of(receiver))).text
