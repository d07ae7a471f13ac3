"""The console's pages: each is shown, empty and filled, and does what its forms say."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette

from libs.common.domain.money import nusd_to_usd
from libs.common.schemas.entry import CostLine, LedgerEntry
from libs.common.schemas.usage import FailedAttempt, TokenUsage
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from services.admin import budget_outlooks
from services.admin.console.pages import PAGES
from services.admin.console.places import PLACES
from services.admin.settings import Settings
from tests.service.admin.console import browser_of, forms_of, send_form
from tests.service.admin.test_console import MARKUP, make
from tests.unit import builders

# What these answer is a part of a page, or a file.
PARTS = {
    "/console/calls/tail",
    "/console/budgets/first",
    "/console/calls/export",
    "/console/audit/export",
}
GET_ALONE = [
    path
    for path, handlers in PAGES.items()
    if "GET" in handlers and "{" not in path and path not in PARTS
]


@pytest.fixture
async def browser(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with browser_of(app) as client:
        yield client


LINES = (
    CostLine(item="input_text", quantity=1000, rate=Decimal("0.4"), amount=Decimal("0.0004")),
    CostLine(
        item="output_text", quantity=500, rate=Decimal("1.6"), amount=Decimal("0.0008"),
        model="adviser",
    ),
    CostLine(item="web_search", quantity=1, rate=Decimal(0), amount=Decimal(0), unpriced=True),
)  # fmt: skip


@pytest.fixture
async def entries(admin: httpx2.AsyncClient, database: Database) -> list[LedgerEntry]:
    """Two calls of the account a; the first one was tried elsewhere before."""
    await make(admin, "accounts", user_id="a")
    broken = FailedAttempt(
        deployment="broken", provider="openai", model="m", status=529, code="overloaded_error",
        message="Overloaded", elapsed_ms=40,
    )  # fmt: skip
    first = builders.entry(
        "call-1", user_id="a", attempts=2, failed_attempts=(broken,), deployment="good",
        usage=TokenUsage(input_text=1000, output_text=500), lines=LINES, stream=True,
        latency_ms=900, first_byte_ms=300, overhead_ms=1.5,
    )  # fmt: skip
    later = builders.NOW + timedelta(seconds=5)
    second = builders.entry("call-2", user_id="a", started_at=later, posted_at=later)
    await LedgerStore(database).post([first, second])
    return [first, second]


@pytest.mark.parametrize("path", GET_ALONE)
async def test_every_page_is_shown_while_there_is_nothing(
    browser: httpx2.AsyncClient, path: str
) -> None:
    page = await browser.get(path)
    assert page.status_code == 200, page.text
    assert "Decimal(" not in page.text
    assert "<h1>" in page.text


def test_every_place_of_the_navigation_is_a_page_and_has_each_page_once() -> None:
    assert {place.path for place in PLACES} <= set(PAGES)
    places = {path: [place.name for place in PLACES if place.holds(path)] for path in PAGES}
    assert {path: names for path, names in places.items() if len(names) != 1} == {}


@pytest.mark.parametrize(
    "path",
    ["accounts/a", "keys/a", "calls/a", "prices/a", "models/a", "people/a"],
)
async def test_a_missing_object_is_a_404(browser: httpx2.AsyncClient, path: str) -> None:
    page = await browser.get(f"/console/{path}")
    assert page.status_code == 404
    assert "<h1>Not found</h1>" in page.text


@pytest.mark.parametrize(
    ("path", "field", "value", "status"),
    [
        ("calls", "status", "odd", 422),
        ("calls", "since", "yesterday", 422),
        ("accounts", "limit", "0", 422),
        ("keys", "cursor", "zzz", 400),
    ],
)
async def test_a_filter_that_cannot_be_read_is_named(
    browser: httpx2.AsyncClient, path: str, field: str, value: str, status: int
) -> None:
    page = await browser.get(f"/console/{path}?{field}={value}")
    assert page.status_code == status
    assert field in page.text


async def test_a_key_is_made_shown_once_rotated_and_revoked(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a")
    secret_page = await send_form(
        browser, "/console/new/key?user_id=a", "/console/new/key", name=MARKUP,
        **{"budget.limit_usd": "2.5", "budget.period": "daily", "allowed_models": "gpt-*\no3"},
    )  # fmt: skip
    assert secret_page.status_code == 200, secret_page.text
    secret = secret_of(secret_page)
    key = (await admin.get(f"/admin/keys/{secret}")).json()
    assert key["allowed_models"] == ["gpt-*", "o3"]
    assert [budget["limit_usd"] for budget in key["budgets"]] == [2.5]
    path = f"/console/keys/{key['key_id']}"
    page = await browser.get(path)
    assert secret not in page.text
    assert "<script>alert" not in page.text

    rotated = await send_form(browser, f"{path}/rotate", grace_s="3600")
    assert secret_of(rotated) != secret
    assert (await admin.get(f"/admin/keys/{secret_of(rotated)}")).json()["key_id"] == key["key_id"]

    assert (await send_form(browser, path, f"{path}/revoke")).status_code == 303
    assert (await admin.get(f"/admin/keys/{key['key_id']}")).json()["status"] == "revoked"
    assert f"{path}/revoke" not in forms_of(await browser.get(path))


async def test_a_form_that_is_sent_twice_is_done_once(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a")
    page = await browser.get("/console/new/key?user_id=a")
    fields = forms_of(page)["/console/new/key"]
    first, second = [await browser.post("/console/new/key", data=fields) for _ in range(2)]
    assert secret_of(first) == secret_of(second)
    assert len((await admin.get("/admin/keys?user_id=a")).json()["data"]) == 1


async def test_a_key_is_changed_and_keeps_what_the_form_does_not_show(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    await make(admin, "accounts", user_id="a")
    key = await make(
        admin, "keys", user_id="a", allowed_models=["m"], limits={"parallel_calls": 2},
        recording={"retention_days": 3},
    )  # fmt: skip
    await send_form(browser, f"/console/edit/key/{key['key_id']}", name="new")
    after = (await admin.get(f"/admin/keys/{key['key_id']}")).json()
    for name in ("allowed_models", "limits", "recording", "budgets", "expires_at"):
        assert after[name] == key[name]
    assert after["name"] == "new"


async def test_a_call_is_explained_line_by_line_and_try_by_try(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    entry = entries[0]
    page = await browser.get(f"/console/calls/{entry.entry_id}")
    assert page.status_code == 200, page.text
    for text in (
        "Tried broken",
        "529",
        "Overloaded",
        "Queue and posting",
        "output text (adviser)",
        "$0.0008",
    ):
        assert text in page.text
    calls_page = await browser.get("/console/calls?user_id=a")
    assert calls_page.text.count(f"/console/calls/{entry.entry_id}") == 1
    assert entry.entry_id not in (await browser.get("/console/calls?status=refused")).text


async def test_the_tail_is_silent_while_nothing_is_new(
    browser: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    newest = max(entries, key=lambda entry: entry.started_at).entry_id
    quiet = await browser.get(f"/console/calls/tail?seen={newest}")
    assert (quiet.status_code, quiet.content) == (204, b"")
    news = await browser.get("/console/calls/tail?seen=")
    assert newest in news.text
    assert "<html" not in news.text


async def test_a_price_is_set_looked_up_and_ended(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    redirect = await send_form(
        browser, "/console/new/price", model="a/b m", inherit="",
        input_cost_per_million="0.5", output_cost_per_million="2",
    )  # fmt: skip
    assert redirect.status_code == 303, redirect.text
    page = await browser.get(redirect.headers["location"])
    assert "$0.5" in page.text
    (action,) = [each for each in forms_of(page) if each.endswith("/end")]
    assert (await browser.post(action, data=forms_of(page)[action])).status_code == 303
    assert "$0.5" not in (await browser.get("/console/prices?model=a/b+m")).text


async def test_a_price_stands_beside_what_the_map_says(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    price = await make(
        admin, "costs", model="gpt-4.1-mini", input_cost_per_million=7, output_cost_per_million=9
    )
    page = await browser.get(f"/console/prices/{price['price_id']}")
    assert "Beside LiteLLM&#39;s map" in page.text or "Beside LiteLLM's map" in page.text
    (row,) = re.findall(r"<tr><td[^>]*>input</td>(.*?)</tr>", page.text)
    assert row.endswith("7</td>")


async def test_a_pasted_usage_is_quoted(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    await make(admin, "costs", model="m", input_cost_per_million=1, output_cost_per_million=2)
    usage = '{"prompt_tokens": 1000000, "completion_tokens": 500000, "total_tokens": 1500000}'
    page = await send_form(browser, "/console/prices/quote", model="m", usage=usage)
    assert "$2.00" in page.text
    wrong = await send_form(browser, "/console/prices/quote", model="m", usage="{")
    assert wrong.status_code == 400
    assert forms_of(wrong)["/console/prices/quote"]["usage"].strip() == "{"


async def test_a_route_is_made_and_deleted(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    await make(admin, "costs", model="gpt-x", input_cost_per_million=1, output_cost_per_million=2)
    redirect = await send_form(
        browser, "/console/new/route", model="team/m", **{"deployments[0].model": "openai/gpt-x"}
    )
    assert redirect.status_code == 303, redirect.text
    path = redirect.headers["location"]
    assert (await browser.get(path)).status_code == 200
    assert (await send_form(browser, path, f"{path}/delete")).status_code == 303
    assert (await browser.get(path)).status_code == 404


async def test_the_books_are_proved_and_letters_replayed(
    browser: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    for how in ("new", "all"):
        page = await browser.get(f"/console/ledger?prove={how}")
        assert page.status_code == 200
        assert "Result" in page.text
    assert "unbroken" in (await browser.get("/console/ledger?audit=verify")).text


async def test_an_audit_record_shows_who_did_what(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    await send_form(browser, "/console/new/account", user_id="a", name=MARKUP)
    page = await browser.get("/console/audit?object=a")
    assert "create account" in page.text
    assert "&lt;script&gt;" in page.text
    assert "<script>alert" not in page.text


async def test_a_person_is_made_and_revoked(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    secret_page = await send_form(browser, "/console/new/person", name="Ada", role="viewer")
    assert secret_of(secret_page)
    page = await browser.get("/console/people")
    (action,) = [each for each in forms_of(page) if each.endswith("/revoke")]
    assert (await browser.post(action, data=forms_of(page)[action])).status_code == 303
    (person,) = (await admin.get("/admin/people")).json()["data"]
    assert person["status"] == "revoked"


async def test_the_overview_sums_what_was_spent_and_names_budgets_at_risk(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    spent = sum(entry.cost_nusd for entry in entries)
    limit = {"limit_usd": str(nusd_to_usd(spent)), "period": "monthly"}
    await admin.patch("/admin/accounts/a", json={"budget": limit})
    page = await browser.get("/console")
    assert page.text.count(f'title="{nusd_to_usd(spent):f} USD"') >= 2
    assert "First steps" not in page.text
    (first,) = re.findall(r'hx-get="(/console/budgets/[^"]+)"', page.text)
    assert 'href="/console/budgets"' in page.text
    for path in (first, "/console/budgets"):
        assert "exhausted" in (await browser.get(path)).text
    account = await browser.get("/console/accounts/a")
    assert "exhausted" in account.text


@pytest.mark.parametrize("days_ago", [0, 1, 40])
async def test_first_steps_are_shown_until_the_first_call(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, database: Database, days_ago: int
) -> None:
    await make(admin, "accounts", user_id="a")
    assert "First steps" in (await browser.get("/console?days=1")).text
    at = builders.NOW - timedelta(days=days_ago)
    await LedgerStore(database).post([builders.entry("1", user_id="a", started_at=at)])
    assert "First steps" not in (await browser.get("/console?days=1")).text


async def test_the_overview_names_the_keys_of_the_dearest_account(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, database: Database
) -> None:
    await make(admin, "accounts", user_id="a")
    key = await make(admin, "keys", user_id="a", name="night shift")
    calls = [builders.entry(f"{n}", user_id="a", key_id=each) for n, each in enumerate([
        key["key_id"], "gone",
    ])]  # fmt: skip
    await LedgerStore(database).post(calls)
    page = await browser.get("/console")
    assert "Keys of a" in page.text
    assert f'<a href="/console/keys/{key["key_id"]}">night shift</a>' in page.text
    assert '<a href="/console/keys/gone"><code>gone</code></a>' in page.text


async def test_the_overview_says_which_budgets_it_did_not_look_at(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_outlooks, "_READ_AT_ONCE", {False: 1, True: 1})
    monkeypatch.setattr(budget_outlooks, "_LOOKED_AT", 1)
    for name, limit in (("a", 9), ("b", 0)):
        await make(admin, "accounts", user_id=name, budget={"limit_usd": limit, "period": "total"})
    first = await browser.get("/console/budgets/first")
    assert "exhausted" not in first.text
    assert "Of the first accounts every budget lasts" in first.text
    page = await browser.get("/console/budgets")
    assert "Of these accounts every budget lasts" in page.text
    (following,) = re.findall(r'href="(/console/budgets\?cursor=[^"]+)"', page.text)
    assert "exhausted" in (await browser.get(following)).text
    await admin.patch("/admin/accounts/a", json={"budget": {"limit_usd": 0, "period": "total"}})
    first = await browser.get("/console/budgets/first")
    assert first.text.count("exhausted") == 1
    assert "These come first" in first.text
    page = await browser.get(following)
    (last,) = re.findall(r'href="(/console/budgets\?cursor=[^"]+)"[^>]*>Next', page.text)
    page = await browser.get(last)
    assert "exhausted" not in page.text
    assert "Next page" not in page.text
    assert "Every budget lasts" not in page.text


async def test_the_overview_of_an_account_names_its_budgets_at_risk(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    for name in ("a+b", "c"):
        budget = {"limit_usd": 0, "period": "total"}
        await make(admin, "accounts", user_id=name, budget=budget)
    page = await browser.get("/console?user_id=a%2Bb")
    (first,) = re.findall(r'hx-get="(/console/budgets/[^"]+)"', page.text)
    budgets_page = await browser.get(first)
    assert budgets_page.text.count("exhausted") == 1
    assert 'href="/console/accounts/a%2Bb"' in budgets_page.text
    assert 'href="/console/budgets?user_id=a%2Bb"' in page.text
    assert (await browser.get("/console/budgets?user_id=nobody")).status_code == 404


async def test_filtered_rows_are_downloaded(
    browser: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    page = await browser.get("/console/calls?user_id=a")
    (address,) = re.findall(r'href="(/console/calls/export[^"]+)"', page.text)
    download = await browser.get(address.replace("&amp;", "&"))
    assert download.headers["content-type"].startswith("text/csv")
    assert all(entry.entry_id in download.text for entry in entries)


async def test_a_statement_adds_up(browser: httpx2.AsyncClient, entries: list[LedgerEntry]) -> None:
    spent = nusd_to_usd(sum(entry.cost_nusd for entry in entries))
    page = await browser.get("/console/accounts/a/statements/2026-11")
    assert page.text.count(f'title="{spent:f} USD"') >= 2
    download = await browser.get("/console/accounts/a/statements/2026-11?format=csv")
    assert download.headers["content-disposition"].startswith("attachment")
    assert (await browser.get("/console/accounts/a/statements/2026-13")).status_code == 422


async def test_settings_show_no_secret(browser: httpx2.AsyncClient, settings: Settings) -> None:
    page = await browser.get("/console/settings")
    assert "ADMIN_API_KEY" in page.text
    for secret in (settings.admin_api_key, settings.mongo_uri, settings.redis_url):
        assert secret.reveal() not in page.text


def secret_of(page: httpx2.Response) -> str:
    found = re.search(r'<code id="secret"[^>]*>([^<]+)</code>', page.text)
    assert found is not None, page.text
    return found[1]


async def test_a_bundled_price_shows_no_start(browser: httpx2.AsyncClient) -> None:
    html = (await browser.get("/console/prices")).text
    assert "litellm" in html
    assert "1970" not in html


async def test_a_wrong_filter_says_how_a_time_is_written(browser: httpx2.AsyncClient) -> None:
    answer = await browser.get("/console/calls?since=yesterday")
    assert answer.status_code == 422
    assert "or a day such as 2026-11-24" in answer.text
    assert "Go back, correct it" in answer.text


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        # When each began is known: a pause lies between the tries.
        ((20, 70), ["0 20", "20 40", "70 230", "300 600"]),
        # Entries of earlier releases: one follows the other.
        ((None, None), ["0 40", "40 260", "300 600"]),
    ],
)
async def test_a_calls_life_is_to_scale(
    browser: httpx2.AsyncClient,
    database: Database,
    entries: list[LedgerEntry],
    times: tuple[int | None, int | None],
    shown: list[str],
) -> None:
    began, asked_ms = times
    failed = [msgspec.structs.replace(each, after_ms=began) for each in entries[0].failed_attempts]
    entry = msgspec.structs.replace(
        entries[0], entry_id="call-3", failed_attempts=tuple(failed), asked_after_ms=asked_ms
    )
    await LedgerStore(database).post([entry])
    text = (await browser.get("/console/calls/call-3")).text
    life = text[text.index('aria-label="Its life"') :]
    rows = re.findall(r'<td class="number">([\d,]+)</td>', life)
    parts = [" ".join(rows[at : at + 2]) for at in range(0, len(rows), 2)]
    assert parts[0] == "0 900"
    assert parts[1:-1] == shown
