"""The dashboard: its variables, and all rows."""

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from deploy.grafana import calls, ledger, models, processes
from deploy.grafana.panels import PROMETHEUS, build

ROWS = (*calls.ROWS, *models.ROWS, *ledger.ROWS, *processes.ROWS)

_PROCESSES = '__name__=~"(gateway|ledger|admin)_build_info"'
# What each is chosen from.
VARIABLES = {
    "job": f"label_values({{{_PROCESSES}}}, job)",
    "instance": f'label_values({{{_PROCESSES},job=~"$job"}}, instance)',
    "provider": "label_values(ledger_calls_total, provider)",
    "model": 'label_values(ledger_calls_total{provider=~"$provider"}, model)',
}


def _variable(name: str, query: str) -> QueryVariable:
    all_option = VariableOption(selected=True, text="All", value="$__all")
    return (
        QueryVariable(name)
        .label(name.capitalize())
        .datasource(PROMETHEUS)
        .query({"query": query, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # Also what has no such label.
        .all_value(".*")
        .current(all_option)
    )


def make_dashboard() -> str:
    """As JSON."""
    dashboard = (
        Dashboard("LLM gateway")
        .uid("litellm-gateway")
        .description("Calls, money, the ledger and what they stand on. Made by `make dashboards`.")
        .tags(["litellm-gateway"])
        .time("now-1h", "now")
        .refresh("30s")
        .annotations([])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for name, query in VARIABLES.items():
        dashboard = dashboard.with_variable(_variable(name, query))
    for row in ROWS:
        dashboard = dashboard.with_row(Row(row.title))
        for panel in row.panels:
            dashboard = dashboard.with_panel(build(panel))
    built = dashboard.build()
    for number, built_panel in enumerate(built.panels or [], 1):
        built_panel.id_val = number
    return JSONEncoder(sort_keys=True, indent=1).encode(built) + "\n"
