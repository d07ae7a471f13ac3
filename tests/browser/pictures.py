"""`make pictures`: the console as README and docs/operations.md show it, into docs/images.

A local stack with the scripted provider, and two weeks of entries of three teams.
"""

import asyncio
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from playwright.sync_api import sync_playwright

from deploy.local.client import StackClient
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from libs.common.domain.periods import period_keys, zone_of
from libs.common.schemas.entry import CostLine, LedgerEntry
from libs.common.schemas.usage import FailedAttempt, TokenUsage
from libs.common.storage.mongo.driver import open_database
from libs.common.storage.mongo.ledger import LedgerStore
from tests.browser.conftest import OPTIONS, sign_in

DAYS = 14
# Each with what it calls, and how often a day.
TEAMS = {"search": ("gpt-4.1", 14), "support": ("claude-sonnet-4-5", 9), "research": ("o3", 4)}
RATES = {"gpt-4.1": ("2", "8"), "claude-sonnet-4-5": ("3", "15"), "o3": ("2", "8")}
OVERLOADED = FailedAttempt(
    deployment="eu-1", provider="openai", model="o3", status=529, code="overloaded_error",
    message="Overloaded", elapsed_ms=310, after_ms=18,
)  # fmt: skip
ROUTE = {
    "model": "house-model",
    "deployments": [
        {"model": "openai/gpt-4.1", "weight": 3, "region": "eu"},
        {"model": "anthropic/claude-sonnet-4-5", "priority": 1},
    ],
}
PICTURES = {
    "overview": "/console",
    "account": "/console/accounts/search",
    "calls": "/console/calls",
    "ledger": "/console/ledger",
    "route": "/console/edit/route/house-model",
}


def entries(keys: dict[str, str]) -> list[LedgerEntry]:
    random, now = Random(1), datetime.now(UTC)
    found = []
    for team, (model, daily) in TEAMS.items():
        for day in range(DAYS):
            weekday = (now - timedelta(days=day)).weekday()
            for number in range(daily if weekday < 5 else daily // 4):
                at = now - timedelta(days=day, minutes=random.randrange(5, 600))
                found.append(entry(f"{team}-{day}-{number}", team, keys[team], model, at, random))
    return found


def entry(
    entry_id: str, team: str, key_id: str, model: str, at: datetime, random: Random
) -> LedgerEntry:
    at = at.replace(microsecond=0)
    tokens_in, tokens_out = random.randrange(900, 24_000), random.randrange(150, 2_400)
    lines = tuple(
        CostLine(item=item, quantity=n, rate=Decimal(rate), amount=Decimal(rate) * n / 1_000_000)
        for item, n, rate in zip(
            ("input_text", "output_text"), (tokens_in, tokens_out), RATES[model], strict=True
        )
    )
    failed = (OVERLOADED,) if random.random() < 0.1 else ()
    latency_ms = random.randrange(900, 9_000)
    return LedgerEntry(
        entry_id=entry_id, user_id=team, key_id=key_id, started_at=at,
        posted_at=at + timedelta(milliseconds=latency_ms + 240),
        periods=period_keys(at, zone_of("UTC")), format="chat", requested_model=model,
        provider="anthropic" if model.startswith("claude") else "openai", model=model,
        translated=False, stream=True, status="ok", http_status=200, error_code=None,
        usage=TokenUsage(input_text=tokens_in, output_text=tokens_out), usage_source="provider",
        cost_nusd=int(sum(line.amount for line in lines) * 10**9), lines=lines,
        price_id=f"litellm:{model}@1", held_nusd=0, latency_ms=latency_ms,
        first_byte_ms=latency_ms // 4, overhead_ms=1.4, deployment="eu-2",
        attempts=1 + len(failed), failed_attempts=failed, provider_request_id=None,
        client_user=None, asked_after_ms=350 if failed else 2,
    )  # fmt: skip


async def post(mongo_uri: str, ledger_entries: list[LedgerEntry]) -> None:
    async with open_database(mongo_uri) as database:
        ledger = LedgerStore(database)
        for start in range(0, len(ledger_entries), 50):
            await ledger.post(ledger_entries[start : start + 50])


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory_of_stack:
        stack = LocalStack(Path(directory_of_stack), without_settings(os.environ), free_ports=True)
        try:
            stack.start()
            admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
            keys = {}
            for team in TEAMS:
                budget = {"limit_usd": 12, "period": "monthly"}
                admin.expect("POST", "/admin/accounts", {"user_id": team, "budget": budget})
                key = admin.expect("POST", "/admin/keys", {"user_id": team, "name": f"{team} bot"})
                keys[team] = str(key["key_id"])
            admin.expect("POST", "/admin/models", ROUTE)
            ledger_entries = entries(keys)
            asyncio.run(post(stack.info.mongo_uri, ledger_entries))
            retried = max((each for each in ledger_entries if each.failed_attempts), key=_started)
            take(stack, directory, retried.entry_id)
        finally:
            stack.stop()


def _started(entry: LedgerEntry) -> datetime:
    return entry.started_at


def take(stack: LocalStack, directory: Path, retried: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=OPTIONS)
        page = browser.new_page(
            base_url=stack.info.admin_url, viewport={"width": 1200, "height": 900}
        )
        sign_in(page, stack.info.admin_api_key)
        for name, path in PICTURES.items():
            # Parts of a page are asked for once it is shown.
            page.goto(path, wait_until="networkidle")
            page.screenshot(path=directory / f"console-{name}.png")
        # The newest call that was tried elsewhere before.
        page.goto(f"/console/calls/{retried}")
        page.screenshot(path=directory / "console-call.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
