"""Every endpoint of the admin API is reached by a command, and every command works.

The tour runs all commands against the real app, and looks at the requests that they send.
"""

import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from typer.main import get_command

from gatewayctl.app import app as tree
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.queue.recordings import RecordingStore
from libs.common.storage.redis.client import Redis
from services.admin.app import create_app
from services.admin.routes import ENDPOINTS
from services.admin.settings import Settings
from services.admin.state import Resources
from tests.service.admin.conftest import NOW
from tests.service.admin.test_recordings import recording
from tests.service.admin.test_usage import entry
from tests.support.command_line import CommandLine, FromThread

# Endpoints that no command needs, and why.
NOT_REACHED = {
    "GET /health": "for what starts the process and restarts it",
    "GET /ready": "for load balancers",
}
# Commands that other tests run; those that begin with `import` are a noun of them.
ELSEWHERE = {"login", "logout", "profiles", "apply", "diff", "export"}


class Step(NamedTuple):
    """A command, with names of earlier answers in braces; `keep`: `name=field`, for later ones."""

    command: str
    keep: str = ""
    code: int = 0
    stdin: str = ""


TOUR = (
    Step("version"),
    Step("settings"),
    Step("whoami"),
    Step("accounts list --search ali"),
    Step("accounts create bob --name Bob --budget 5 --period daily --time-zone Europe/Berlin"),
    Step("accounts show bob"),
    Step("accounts change bob --set metadata.team=blue"),
    Step("accounts suspend bob"),
    Step("accounts resume bob"),
    Step("accounts archive bob --yes"),
    Step("accounts statement alice 2026-11"),
    Step("budgets list --at-risk"),
    Step("keys create alice --name ci --model gpt-4o --expires 30d --budget 1", "key=key_id"),
    Step("keys list --account alice --status active"),
    Step("keys show {key}"),
    Step("keys change {key} --set name=build"),
    Step("keys rotate {key} --grace 60", "secret=api_key"),
    Step("keys show -", stdin="{secret}\n"),
    Step("keys revoke {key} --yes"),
    Step("costs set gpt-x --provider openai --input 1.25 --output 10", "price=price_id"),
    Step("costs list --model gpt-x --history"),
    Step("costs show {price}"),
    Step("costs quote gpt-x --provider openai --input 1000 --output 10"),
    Step("costs end {price} --dry-run"),
    Step("costs end {price} --yes"),
    Step("costs import {map} --yes"),
    Step("costs imports", "import=import_id"),
    Step("costs import-show {import}"),
    Step("costs diff --pattern gpt-*", code=1),
    Step("costs import-undo {import} --yes"),
    Step("models create fast --deployment openai/gpt-5-mini"),
    Step("models list"),
    Step("models show fast"),
    Step("models change fast --set cooldown_s=10"),
    # No gateway runs here.
    Step("models test fast", code=1),
    Step("doctor", code=1),
    Step("models delete fast --yes"),
    Step("usage show --since 30d"),
    Step("usage show alice --where provider=openai"),
    Step("usage summary --by model,day --since 2026-11-01 --until 2026-12-01"),
    Step("usage series --interval week"),
    Step("usage durations --account alice"),
    Step("usage export --format ndjson"),
    Step("usage tail --last 1 --count 1"),
    Step("ledger health"),
    Step("ledger verify --full"),
    Step("ledger entry {entry}"),
    Step("ledger refund {entry} --reason test --yes"),
    Step("ledger credit alice 1 --reason test --yes"),
    Step("ledger adjust alice --by -0.5 --reason test --yes"),
    Step("ledger reprice --since 2026-11-01 --model m --yes"),
    Step("ledger provider-costs --since 7d"),
    Step("ledger dead-letters list"),
    Step("ledger dead-letters replay --all --yes"),
    Step("alerts receivers create https://hooks.example/a --name ops", "receiver=receiver_id"),
    Step("alerts receivers list"),
    Step("alerts receivers show {receiver}"),
    Step("alerts receivers change {receiver} --kind budget.exhausted"),
    Step("alerts receivers rotate {receiver}"),
    Step("alerts receivers test {receiver}"),
    Step("alerts list", "alert=alert_id"),
    Step("alerts show {alert}"),
    Step("alerts replay {alert}"),
    Step("alerts receivers remove {receiver} --yes"),
    Step("people create Ann --role billing --account alice", "person=person_id"),
    Step("people list"),
    Step("people show {person}"),
    Step("people change {person} --role viewer"),
    Step("people revoke {person} --yes"),
    Step("audit list --action create_account"),
    Step("audit verify"),
    Step("audit export"),
    Step("recordings list"),
    Step("recordings show {recording}"),
    Step("recordings delete {recording} --yes"),
    Step("recordings delete-all alice --yes"),
)
PRICE_MAP = (
    '{"gpt-4o": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.0e-6,'
    ' "output_cost_per_token": 2.0e-6}}'
)


@pytest.fixture
async def names(ctl: CommandLine, database: Database, tmp_path: Path) -> dict[str, str]:
    await ctl.run_ok("accounts", "create", "alice", "--budget", "100", "--period", "monthly")
    price_map = tmp_path / "map.json"
    price_map.write_text(PRICE_MAP)
    ledger_entry = entry(0, user_id="alice")
    await LedgerStore(database).post([ledger_entry])
    record = recording(NOW, user_id="alice")
    await RecordingStore(database).add([record])
    return {"map": str(price_map), "entry": ledger_entry.entry_id, "recording": record.call_id}


@pytest.fixture
def app(settings: Settings, database: Database, redis: Redis) -> Starlette:
    """Its corrections wait for no worker."""

    @asynccontextmanager
    async def resources(_: Settings) -> AsyncIterator[Resources]:
        yield Resources(database=database, redis=redis)

    return create_app(settings, open_resources=resources, now=lambda: NOW, correction_wait_s=0.01)


def commands(group: Any, path: str = "") -> set[str]:
    paths = set()
    for name, command in group.commands.items():
        inner = f"{path} {name}".strip()
        paths |= commands(command, inner) if hasattr(command, "commands") else {inner}
    return paths


def endpoint_of(method: str, path: str) -> str:
    """The row of the table that serves the request."""
    for row in ENDPOINTS:
        parts = re.split(r"\{\w+(?::path)?\}", row.path)
        kinds = [".+" if kind else "[^/]+" for kind in re.findall(r"\{\w+(:path)?\}", row.path)]
        pattern = re.escape(parts[0])
        for kind, part in zip(kinds, parts[1:], strict=True):
            pattern += kind + re.escape(part)
        if row.method == method and re.fullmatch(pattern, path):
            return f"{row.method} {row.path}"
    raise AssertionError(f"{method} {path}")


async def test_the_tour_works_and_leaves_nothing_out(
    ctl: CommandLine, names: dict[str, str]
) -> None:
    for step in TOUR:
        arguments = [part.format_map(names) for part in shlex.split(step.command)]
        result = await ctl(*arguments, stdin=step.stdin.format_map(names))
        assert result.code == step.code, (step.command, result.err)
        if step.keep:
            name, _, field = step.keep.partition("=")
            names[name] = result.rows[0][field]
        assert names.get("secret", "?") not in result.err
    assert isinstance(ctl.transport, FromThread)
    requested = {endpoint_of(r.method, r.url.path) for r in ctl.transport.requests}
    table = {f"{row.method} {row.path}" for row in ENDPOINTS}
    assert table - requested == set(NOT_REACHED)


def test_every_command_is_on_the_tour() -> None:
    on_tour = {" ".join(step.command.split()) for step in TOUR}
    there = {name for name in commands(get_command(tree)) if not name.startswith("import ")}
    there -= ELSEWHERE
    assert {name for name in there if not any(f"{c} ".startswith(f"{name} ") for c in on_tour)} == (
        set()
    )
