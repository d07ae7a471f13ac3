"""Every query of the dashboard and of the alerts, asked of a Prometheus that scrapes a stack."""

import math
import re
from urllib.parse import urlencode

from deploy.grafana.dashboard import ROWS, VARIABLES
from deploy.local.client import StackClient
from tests.dashboards.conftest import answer, with_everything_chosen
from tests.dashboards.traffic import Traffic
from tests.support.polling import block_until

LIMIT_S = 120.0


def queries() -> dict[str, str]:
    return {
        f"{panel.title}: {query.legend}": with_everything_chosen(query.expr)
        for row in ROWS
        for panel in row.panels
        for query in panel.queries
    }


def test_every_query_is_answered_and_draws_what_happened(
    prometheus: StackClient, traffic: Traffic
) -> None:
    waiting = queries()
    assert len(waiting) > 60

    def all_drawn() -> bool:
        traffic.round()
        for name, expression in list(waiting.items()):
            values = [float(series["value"][1]) for series in answer(prometheus, expression)]
            # A quantile of nothing is NaN.
            if not all(math.isnan(value) for value in values):
                del waiting[name]
        return not waiting

    try:
        block_until(all_drawn, LIMIT_S)
    finally:
        assert waiting == {}


def test_prometheus_takes_every_rule(prometheus: StackClient, traffic: Traffic) -> None:
    def evaluated() -> list[dict[str, str]]:
        groups = prometheus.expect("GET", "/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    block_until(lambda: all(rule["health"] != "unknown" for rule in evaluated()), LIMIT_S)
    assert {rule["health"] for rule in evaluated()} == {"ok"}
    assert len(evaluated()) > 30


def test_rules_query_existing_series(prometheus: StackClient, traffic: Traffic) -> None:
    groups = prometheus.expect("GET", "/api/v1/rules")["data"]["groups"]
    expressions = " ".join(rule["query"] for group in groups for rule in group["rules"])
    bare = re.sub(r"by \([^)]*\)", "", expressions)
    waiting = set(re.findall(r"\b(?:gateway|ledger|admin|http|gen_ai)_\w+(?=[{\[)])", bare))
    assert len(waiting) > 20

    def there() -> bool:
        traffic.round()
        waiting.difference_update({name for name in waiting if answer(prometheus, name)})
        return not waiting

    try:
        block_until(there, LIMIT_S)
    finally:
        assert waiting == set()


def test_every_variable_has_something_to_choose(prometheus: StackClient, traffic: Traffic) -> None:
    needed = {"job": {"gateway", "admin", "ledger-worker"}, "provider": {"openai", "anthropic"}}

    def filled() -> bool:
        traffic.round()
        return all(choices(name) >= needed.get(name, set()) and choices(name) for name in VARIABLES)

    def choices(name: str) -> set[str]:
        query = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[name])
        assert query is not None
        match = urlencode({"match[]": with_everything_chosen(query[1])})
        return set(prometheus.expect("GET", f"/api/v1/label/{query[2]}/values?{match}")["data"])

    block_until(filled, LIMIT_S)
