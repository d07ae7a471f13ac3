"""The console in Debian's Chromium, on a local stack with the scripted provider.

`make test-console` runs these tests; without CHROMIUM, the browser's path, there are none.
"""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from deploy.local.client import StackClient
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack

collect_ignore_glob = [] if "CHROMIUM" in os.environ else ["test_*.py"]

# Nothing of the browser's own asks anybody, and none of it needs a screen.
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    environ = without_settings(os.environ)
    stack = LocalStack(tmp_path_factory.mktemp("stack"), environ, free_ports=True)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def admin(stack: LocalStack) -> StackClient:
    return StackClient(stack.url("admin"), stack.info.admin_api_key)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, stack: LocalStack) -> Iterator[Page]:
    """Nobody has signed in yet. A message on the browser's console fails the test."""
    with chromium.new_context(base_url=stack.url("admin"), timezone_id="Europe/Berlin") as context:
        page = context.new_page()
        messages: list[str] = []
        page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: messages.append(f"error: {error}"))
        yield page
        assert [each for each in messages if each.startswith(("error", "warning"))] == []


def sign_in(page: Page, key: str) -> None:
    page.goto("/console/sign-in")
    page.get_by_label("Admin key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()
