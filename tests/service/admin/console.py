"""A browser without a screen: it keeps cookies and sends the forms that pages have."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any

import httpx2
from starlette.applications import Starlette

from tests.service.admin.conftest import ADMIN_KEY, client_of

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


class _Forms(HTMLParser):
    """The fields of each form that is posted, by its action, with the values that they have."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self._fields: dict[str, str] = {}
        self._select = self._area = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        if tag == "form":
            is_post = has.get("method") == "post"
            self._fields = self.forms.setdefault(has["action"], {}) if is_post else {}
        elif tag == "input" and (has.get("type") != "checkbox" or "checked" in has):
            is_box = has.get("type") == "checkbox"
            before = [self._fields[has["name"]]] if is_box and has["name"] in self._fields else []
            self._fields[has["name"]] = "\n".join([*before, has.get("value", "")])
        elif tag == "select":
            self._select = has["name"]
            self._fields.setdefault(self._select, "")
        elif tag == "option" and "selected" in has:
            self._fields[self._select] = has.get("value", "")
        elif tag == "textarea":
            self._area = has["name"]
            self._fields[self._area] = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self._fields[self._area] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""


def forms_of(page: httpx2.Response) -> dict[str, dict[str, str]]:
    parser = _Forms()
    parser.feed(page.text)
    return parser.forms


@asynccontextmanager
async def browser_of(
    app: Starlette, key: str | None = ADMIN_KEY, **parts: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """Signed in with the key, where there is one; `parts` are those of `client_of`."""
    async with client_of(app, **parts) as client:
        del client.headers["authorization"]
        client.headers.update(SAME_ORIGIN)
        if key is not None:
            answer = await sign_in(client, key)
            assert answer.status_code == 303, answer.text
        yield client


async def sign_in(browser: httpx2.AsyncClient, key: str, **fields: str) -> httpx2.Response:
    return await browser.post("/console/sign-in", data={"admin_key": key, **fields})


async def send_form(
    browser: httpx2.AsyncClient, path: str, action: str | None = None, **changes: str
) -> httpx2.Response:
    """Loads the page, changes fields of its form, and sends it as a browser would."""
    page = await browser.get(path)
    assert page.status_code == 200, page.text
    fields = forms_of(page)[action or path]
    unknown = set(changes) - set(fields)
    assert not unknown, unknown
    return await browser.post(action or path, data=fields | changes)
