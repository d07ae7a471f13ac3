"""What an operator does in the first hour, by a browser; and what axe finds on every page."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect
from redis import Redis

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.queue.event_queue import enqueue_batch, queues_of
from libs.common.storage.redis.shards import ONE
from services.admin.console.pages import PAGES
from tests.browser.conftest import sign_in
from tests.service.ledger_worker.worker_stage import batch_of_raws, make_event
from tests.support.polling import PATIENCE_S, block_until

_SIZES = {"phone": (390, 844), "desk": (1280, 900)}
_PATHS = [
    path
    for path, handlers in PAGES.items()
    if "GET" in handlers and "{" not in path and not path.endswith(("/tail", "/first", "/export"))
]
_OF_ONE = (
    "/console/accounts/demo",
    "/console/accounts/new",
    "/console/edit/account/demo",
    "/console/models/a%3Fb%2Fc",
    "/console/edit/route/a%3Fb%2Fc",
    "/console/ledger?prove=all&audit=verify",
)
_DEPLOYMENT = {"model": "openai/gpt-4.1-mini", "region": "eu"}
_CHAT = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Hello"}]}


def called(stack: LocalStack, secret: str) -> int:
    status, _ = StackClient(stack.url("gateway"), secret).call(
        "POST", "/v1/chat/completions", _CHAT
    )
    return status


def test_the_first_hour(page: Page, stack: LocalStack, admin: StackClient) -> None:
    sign_in(page, stack.info.admin_api_key)

    # An account, with a budget that lasts for some calls.
    page.goto("/console/new/account")
    page.get_by_label("Account id").fill("team-search")
    page.get_by_label("Budget in USD").fill("5")
    page.get_by_label("Per", exact=True).select_option("monthly")
    page.get_by_role("button", name="Create the account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("team-search")

    # A price of its own for a model, which an account's call then has.
    page.goto("/console/new/price")
    page.get_by_label("Model").fill("gpt-4.1-mini")
    page.get_by_label("Input, USD per million tokens", exact=True).fill("1")
    page.get_by_label("Output, USD per million tokens", exact=True).fill("2")
    page.get_by_role("button", name="Set the price").click()
    expect(page.get_by_text("$1", exact=True)).to_be_visible()

    # A key, whose secret is shown once and whose command works.
    page.goto("/console/new/key?user_id=team-search")
    page.get_by_label("Name").fill("search service")
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator("#secret").inner_text()
    assert secret in page.locator("#command").inner_text()
    page.get_by_role("link", name="I have it").click()
    assert secret not in page.content()
    key_page = page.url

    # The call appears in the tail by itself, and then on the chart.
    page.goto("/console/calls?user_id=team-search")
    expect(page.get_by_text("No call matches")).to_be_visible()
    assert called(stack, secret) == 200
    row = page.get_by_role("row").filter(has_text="team-search")
    expect(row).to_have_count(1, timeout=20_000)
    row.get_by_role("link").first.click()
    expect(page.get_by_text("Queue and posting")).to_be_visible()
    page.goto("/console/accounts/team-search")
    bars = page.locator("svg.chart rect[height]:not([height='0.00'])")
    expect(bars).to_have_count(1)

    # A lower budget refuses the next call, and the console says why.
    page.goto("/console/edit/account/team-search")
    page.get_by_label("Budget in USD").fill("0.0000001")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("exhausted")).to_be_visible()
    assert called(stack, secret) in (402, 429)
    page.goto("/console")
    at_risk = page.get_by_role("region", name="Budgets at risk, table")
    expect(at_risk.get_by_role("link", name="team-search")).to_be_visible()
    page.goto("/console/calls?user_id=team-search&status=refused")
    expect(page.get_by_role("row").filter(has_text="team-search")).to_have_count(1, timeout=20_000)
    page.get_by_role("row").filter(has_text="team-search").get_by_role("link").first.click()
    expect(page.get_by_text("budget_exceeded")).to_be_visible()

    # Rotated: the old secret works on.
    page.goto(f"{key_page}/rotate")
    page.get_by_role("button", name="Make a new secret").click()
    assert page.locator("#secret").inner_text() != secret
    assert called(stack, secret) in (402, 429)

    page.get_by_role("button", name="Sign out").click()
    page.goto("/console/accounts")
    expect(page.get_by_label("Admin key")).to_be_visible()


def deliver(redis_url: str, event: UsageEvent) -> None:
    with Redis.from_url(redis_url) as redis, redis.pipeline(transaction=True) as pipeline:
        enqueue_batch(
            pipeline,
            queues_of(ONE)[0],
            event.call_id,
            batch_of_raws([msgspec.msgpack.encode(event)]),
        )
        pipeline.execute()


def letters(admin: StackClient) -> int:
    return int(admin.expect("GET", "/admin/ledger/dead-letters")["count"])


def test_a_dead_letter_is_replayed(page: Page, stack: LocalStack, admin: StackClient) -> None:
    """Of a call whose account did not exist yet."""
    deliver(stack.info.redis_url, make_event("late", started_at=datetime.now(UTC)))
    block_until(lambda: letters(admin) == 1, PATIENCE_S)
    sign_in(page, stack.info.admin_api_key)
    page.goto("/console/ledger")
    expect(page.get_by_text("there is no account 'late'")).to_be_visible()
    admin.expect("POST", "/admin/accounts", {"user_id": "late"})
    page.get_by_role("button", name="Put them all back on the queue").click()
    block_until(lambda: letters(admin) == 0, PATIENCE_S)
    page.goto("/console/calls?user_id=late")
    expect(page.get_by_role("row").filter(has_text="late")).to_have_count(1)
    page.goto("/console/ledger?prove=all")
    expect(page.get_by_text("it agrees")).to_be_visible()


def test_a_route_is_made_changed_called_and_deleted(page: Page, stack: LocalStack) -> None:
    sign_in(page, stack.info.admin_api_key)
    page.goto("/console/models")
    page.get_by_role("link", name="New route").click()
    page.get_by_label("Name that clients send").fill("team/fast")
    page.get_by_role("group", name="Deployment 1").get_by_label("Model", exact=True).fill(
        "openai/gpt-4.1-mini"
    )
    page.get_by_role("button", name="Add a deployment").click()
    second = page.get_by_role("group", name="Deployment 2")
    second.get_by_label("Model", exact=True).fill("anthropic/claude-sonnet-4-5")
    second.get_by_label("Weight").fill("2")
    page.get_by_role("button", name="Make the route").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("team/fast")
    expect(page.get_by_text("healthy")).to_have_count(2)

    page.get_by_role("link", name="Change").click()
    second.get_by_text("More").click()
    second.get_by_label("Region").fill("eu")
    page.get_by_role("group", name="Deployment 1").get_by_label("Remove it when saving").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("region eu")).to_be_visible()
    expect(page.get_by_text("openai/gpt-4.1-mini")).to_have_count(0)

    page.get_by_role("button", name="Call each deployment").click()
    expect(page.get_by_role("region", name="Outcomes, table").get_by_text("ok")).to_be_visible()
    page.get_by_role("button", name="Delete this route").click()
    expect(page.get_by_text("No route yet")).to_be_visible()


def test_a_receiver_of_alerts_is_made_changed_and_removed(page: Page, stack: LocalStack) -> None:
    sign_in(page, stack.info.admin_api_key)
    page.goto("/console/new/receiver")
    page.get_by_label("Address").fill("https://hooks.example.com/gateway")
    page.get_by_label("Name").fill("on-call")
    page.get_by_label("budget.exhausted").check()
    page.get_by_role("button", name="Make the receiver").click()
    assert page.locator("#secret").inner_text().startswith("whsec_")
    page.get_by_role("link", name="I have it").click()
    expect(page.get_by_text("budget.exhausted", exact=True)).to_be_visible()
    page.get_by_role("link", name="Change").click()
    expect(page.get_by_label("budget.exhausted")).to_be_checked()
    page.get_by_label("key.expiring").check()
    page.get_by_label("Send to it").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("budget.exhausted, key.expiring")).to_be_visible()
    expect(page.get_by_role("button", name="Send a test")).to_have_count(0)
    page.get_by_role("button", name="Remove this receiver").click()
    expect(page.get_by_text("No receivers yet")).to_be_visible()


def test_a_viewer_can_write_nothing(page: Page, stack: LocalStack, admin: StackClient) -> None:
    _, person = admin.call("POST", "/admin/people", {"name": "Vera", "role": "viewer"})
    sign_in(page, person["admin_key"])
    for path in ("/console/accounts", "/console/accounts/demo", "/console/models", "/console/keys"):
        page.goto(path)
        buttons = page.get_by_role("button").all_inner_texts()
        assert set(buttons) <= {"Sign out", "Filter"}
        assert page.get_by_role("link", name=re.compile("^New ")).count() == 0


def test_reading_needs_no_script(chromium: Browser, stack: LocalStack) -> None:
    with chromium.new_context(base_url=stack.url("admin"), java_script_enabled=False) as context:
        page = context.new_page()
        sign_in(page, stack.info.admin_api_key)
        for path in _PATHS:
            page.goto(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.goto("/console")
        page.get_by_role("link", name="See which budgets will run out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Budgets at risk")


def test_a_section_that_fails_to_load_keeps_its_link(chromium: Browser, stack: LocalStack) -> None:
    with chromium.new_context(base_url=stack.url("admin")) as context:
        page = context.new_page()
        sign_in(page, stack.info.admin_api_key)
        page.route("**/console/budgets/first", lambda route: route.fulfill(status=503, body="away"))
        with page.expect_response("**/console/budgets/first"):
            page.goto("/console")
        page.wait_for_load_state("networkidle")
        expect(page.get_by_role("link", name="See which budgets will run out")).to_be_visible()
        expect(page.get_by_text("away", exact=True)).to_have_count(0)


def test_the_keyboard_reaches_everything(page: Page, stack: LocalStack) -> None:
    sign_in(page, stack.info.admin_api_key)
    page.goto("/console")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    inside = page.evaluate("document.querySelector('main').contains(document.activeElement)")
    assert inside


@pytest.fixture(scope="module", params=sorted(_SIZES))
def size(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture(scope="module", params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture(scope="module")
def filled(admin: StackClient) -> None:
    """What pages of one thing show: a route with an odd name, and an account named as a form."""
    admin.call("POST", "/admin/models", {"model": "a?b/c", "deployments": [_DEPLOYMENT]})
    admin.call("POST", "/admin/accounts", {"user_id": "new"})


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, stack: LocalStack, size: str, theme: str) -> Iterator[Page]:
    width, height = _SIZES[size]
    with chromium.new_context(
        base_url=stack.url("admin"), viewport={"width": width, "height": height},
        color_scheme=theme,  # type: ignore[arg-type]
    ) as context:  # fmt: skip
        page = context.new_page()
        sign_in(page, stack.info.admin_api_key)
        yield page


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("path", [*_PATHS, *_OF_ONE])
def test_axe_finds_nothing(signed_in: Page, path: str) -> None:
    signed_in.goto(path)
    found = Axe().run(signed_in).response["violations"]
    assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in found] == []
    # Only what scrolls by itself is wider than the screen.
    assert signed_in.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
