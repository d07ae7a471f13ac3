"""The dashboard: made by its generator, of metrics that exist, with a panel for every alert."""

import json
import re
from typing import Any

import pytest

from deploy.grafana.__main__ import FILE as DASHBOARD
from deploy.grafana.dashboard import ROWS, VARIABLES, make_dashboard
from deploy.prometheus.__main__ import FILE as RULE
from deploy.prometheus.__main__ import make_rule
from tests.unit.deploy.test_alerts import rules
from tests.unit.test_metrics import SERVICES, documented, registry_of

PANELS = [panel for row in ROWS for panel in row.panels]
# By its name, without what a histogram's series end with.
KNOWN = {name: labels for service in SERVICES for name, _, labels in documented(service)}
# Of every process, by prometheus_client itself.
OF_A_PROCESS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
}
# By Prometheus itself.
TARGET = {"job", "instance"}


def metrics_in(expression: str) -> set[str]:
    names = re.findall(
        r"\b((?:gateway|ledger|admin|http|gen_ai|process)_\w+)(?=[{\[)])", expression
    )
    labels = set[str]().union(*KNOWN.values())
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names if name not in labels}


def queries() -> list[tuple[str, str]]:
    return [
        (f"{panel.title}: {query.legend}", query.expr)
        for panel in PANELS
        for query in panel.queries
    ]


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_the_files_are_what_the_generators_write() -> None:
    """Else: `make dashboards`."""
    assert DASHBOARD.read_text() == make_dashboard()
    assert RULE.read_text() == make_rule()


@pytest.mark.parametrize(("panel", "expression"), queries())
def test_a_query_asks_for_metrics_that_exist_with_their_labels(panel: str, expression: str) -> None:
    metrics = metrics_in(expression)
    assert metrics or "ALERTS" in expression
    assert metrics - KNOWN.keys() - OF_A_PROCESS == set()
    allowed = TARGET.union({"le"}, *(KNOWN.get(metric, ()) for metric in metrics))
    if "ALERTS" in expression:
        allowed |= {"alertstate", "severity"}
    selected = {
        label
        for part in re.findall(r"\{([^}]*)\}", expression)
        for label in re.findall(r"(\w+)[=!]", part)
    }
    grouped = {
        label for part in re.findall(r"by \(([^)]*)\)", expression) for label in part.split(", ")
    }
    legend = set(re.findall(r"\{\{(\w+)\}\}", panel))
    assert (selected | grouped) - allowed == set()
    # A legend without its label would be the same text for every series.
    assert legend <= grouped or (not grouped and legend <= TARGET)
    assert grouped - {"le"} <= legend


def test_every_metric_is_on_a_panel() -> None:
    metrics = set[str]().union(*(metrics_in(expression) for _, expression in queries()))
    assert KNOWN.keys() - metrics == set()


def test_every_alert_names_a_panel_that_shows_its_metric() -> None:
    panels = {alert: [panel for panel in PANELS if alert in panel.alerts] for alert in rules()}
    assert {alert for panel in PANELS for alert in panel.alerts} == panels.keys()
    for alert, rule in rules().items():
        metrics = [metrics_in(query.expr) for panel in panels[alert] for query in panel.queries]
        assert set[str]().union(*metrics) & metrics_in(rule["expr"]), alert


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_tells_what_its_process_uses(service: str) -> None:
    samples = {sample.name for each in registry_of(service).collect() for sample in each.samples}
    assert samples >= OF_A_PROCESS


def test_every_panel_says_what_it_shows() -> None:
    panels = panels_of(json.loads(DASHBOARD.read_text()))
    assert len(panels) == len(PANELS) > 40
    for panel in panels:
        assert panel["description"].rstrip(")").endswith((".", "md")), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert [target["refId"] for target in panel["targets"]] == list(
            "ABCDEFGH"[: len(panel["targets"])]
        )
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len({panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]}) == len(
        PANELS
    ) + len(ROWS)


def test_panels_do_not_overlap() -> None:
    occupied: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & occupied, panel["title"]
        occupied |= cells


def test_dashboards_declare_exactly_the_variables_in_use() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    declared = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w+)", json.dumps(panels_of(dashboard))))
    assert used == declared == {*VARIABLES, "datasource"}


def test_the_dashboard_fits_into_kubectl_apply() -> None:
    """Which keeps the object in an annotation, and those have 256 KiB together."""
    assert len(json.dumps(DASHBOARD.read_text())) < 200_000
