"""Faults of the runbook's table, brought about one after the other.

For each the alert that the table names fires, and the panel that it names draws something else than
before. FAULTS_PICTURE names a file to draw these panels into.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pymongo
import pytest
from redis import Redis

from deploy.grafana.dashboard import ROWS
from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.dashboards.conftest import answer, with_everything_chosen
from tests.dashboards.picture import Episode, draw
from tests.dashboards.traffic import Traffic
from tests.support.polling import block_until

RUNBOOK = (Path(__file__).resolve().parents[2] / "docs/runbook.md").read_text()
LIMIT_S = 120.0
PANELS = {panel.title: panel for row in ROWS for panel in row.panels}


class Fault(NamedTuple):
    """`goes_on` is called until the alert fires, and returns in time for it to be seen."""

    begins: Callable[[LocalStack], object]
    goes_on: Callable[[Traffic], object]
    ends: Callable[[LocalStack], object] = lambda stack: None


def limit_redis(stack: LocalStack, limit: int) -> None:
    with Redis.from_url(stack.info.redis_url) as redis:
        redis.config_set("maxmemory", limit)


def forget_a_price(stack: LocalStack) -> None:
    """In the worker alone, which gets a price map without the model that is called."""
    file = stack.directory / "prices.json"
    file.write_text("{}")
    server = stack._servers["ledger_worker"]
    environment = {**server.launch.environment, "PRICE_MAP_PATH": str(file)}
    launch = msgspec.structs.replace(server.launch, environment=environment)
    stack.terminate("ledger_worker")
    stack._servers["ledger_worker"] = msgspec.structs.replace(server, launch=launch)
    stack.start_process("ledger_worker")


def tamper(stack: LocalStack) -> None:
    with pymongo.MongoClient[dict[str, Any]](stack.info.mongo_uri) as client:
        accounts = client.get_default_database()["accounts"]
        accounts.update_one({"_id": stack.info.demo_user_id}, {"$inc": {"spent_nusd": 1}})


def nothing(_: object) -> None:
    return None


# In the order of the runbook; what cannot be mended comes last.
FAULTS = {
    "a provider is down": Fault(
        lambda stack: stack.kill("provider"),
        Traffic.try_a_call,
        lambda stack: stack.start_process("provider"),
    ),
    "a provider is slow": Fault(nothing, lambda traffic: traffic.wait_for_a_slow_stream(11_000)),
    "a provider's key is wrong": Fault(
        nothing, lambda traffic: traffic.try_a_call("[[stand-in status=401]] Hello")
    ),
    "Redis is away": Fault(
        lambda stack: stack.kill("redis"),
        Traffic.try_a_call,
        lambda stack: stack.start_process("redis"),
    ),
    "Redis is full": Fault(
        lambda stack: limit_redis(stack, 1_000_000),
        nothing,
        lambda stack: limit_redis(stack, 0),
    ),
    "MongoDB is away": Fault(
        lambda stack: stack.kill("mongo"),
        Traffic.try_a_call,
        lambda stack: stack.start_process("mongo"),
    ),
    "no worker runs": Fault(
        lambda stack: stack.terminate("ledger_worker"),
        nothing,
        lambda stack: stack.start_process("ledger_worker"),
    ),
    "a client storms an empty budget": Fault(nothing, lambda traffic: traffic.storm(20)),
    "a price is missing": Fault(forget_a_price, Traffic.try_a_call),
    "the ledger drifts": Fault(tamper, Traffic.try_a_call),
}


@pytest.fixture(scope="module")
def episodes(prometheus: StackClient) -> Iterator[list[Episode]]:
    faults: list[Episode] = []
    yield faults
    if file := os.environ.get("FAULTS_PICTURE"):
        # The last one is still to be drawn to its end.
        block_until(lambda: time.time() > faults[-1].end, LIMIT_S)
        Path(file).write_text(draw(prometheus, faults))


def table() -> dict[str, tuple[str, str]]:
    """Of the runbook: the alert and the panel, by the fault."""
    rows = re.findall(r"^\| ([^|]+) \| \[(\w+)\]\(#\w+\) \| \*([^*]+)\* \|$", RUNBOOK, re.MULTILINE)
    return {fault: (alert, panel) for fault, alert, panel in rows}


def test_the_table_has_all_faults() -> None:
    assert list(table()) == list(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fires_its_alert_and_shows_on_its_panel(
    name: str, stack: LocalStack, prometheus: StackClient, traffic: Traffic, episodes: list[Episode]
) -> None:
    fault, (alert, panel) = FAULTS[name], table()[name]
    # What goes on may take longer than the alert is seen.
    lately = f'count_over_time(ALERTS{{alertname="{alert}",alertstate="firing"}}[20s])'
    block_until(lambda: not answer(prometheus, lately), LIMIT_S)
    before = panel_values(prometheus, panel)
    began = time.time()
    fault.begins(stack)
    try:

        def fires() -> bool:
            fault.goes_on(traffic)
            return bool(answer(prometheus, lately))

        block_until(fires, LIMIT_S)
        fired = time.time()
        block_until(lambda: panel_values(prometheus, panel) != before, LIMIT_S)
        episodes.append(Episode(name, PANELS[panel], alert, began, fired))
    finally:
        fault.ends(stack)


def panel_values(prometheus: StackClient, panel: str) -> list[tuple[dict[str, str], str]]:
    return [
        (series["metric"], series["value"][1])
        for query in PANELS[panel].queries
        for series in answer(prometheus, with_everything_chosen(query.expr))
    ]
