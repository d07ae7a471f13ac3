"""Panels and rows, and how Grafana's library makes them."""

from typing import Literal, NamedTuple

from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")

# Grafana's names of units. A count of calls or events a second has none of its own there.
Unit = Literal["s", "reqps", "ops", "percentunit", "bytes", "currencyUSD", "short", "none"]


class PanelQuery(NamedTuple):
    expr: str
    # Of each series: text with {{label}}.
    legend: str


class Panel(NamedTuple):
    """Which alerts look at the same thing stands in its description."""

    title: str
    unit: Unit
    description: str
    queries: tuple[PanelQuery, ...]
    alerts: tuple[str, ...] = ()
    # One number, now, in place of a graph; it turns red from this value on.
    single: bool = False
    red_from: float | None = None
    stacked: bool = False
    # Of the 24 columns.
    width: int = 8
    top: float | None = None


class PanelRow(NamedTuple):
    title: str
    panels: tuple[Panel, ...]


def panel_description(panel: Panel) -> str:
    if not panel.alerts:
        return panel.description
    alerts = ", ".join(panel.alerts)
    return f"{panel.description} Alerts: {alerts} (docs/runbook.md)."


def build(panel: Panel) -> stat.Panel | timeseries.Panel:
    built = _stat(panel) if panel.single else _graph(panel)
    built = built.title(panel.title).description(panel_description(panel)).unit(panel.unit)
    built = built.datasource(PROMETHEUS).span(panel.width).height(4 if panel.single else 8).min(0)
    if panel.top is not None:
        built = built.max(panel.top)
    for place, query in enumerate(panel.queries):
        target = Dataquery().expr(query.expr).legend_format(query.legend).ref_id("ABCDEFGH"[place])
        built = built.with_target(target.instant() if panel.single else target.range())
    return built


def _stat(panel: Panel) -> stat.Panel:
    steps = [Threshold(value=None, color="green")]
    if panel.red_from is not None:
        steps.append(Threshold(value=panel.red_from, color="red"))
    return (
        stat.Panel()
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .no_value("none")
    )


def _graph(panel: Panel) -> timeseries.Panel:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True)
    tooltip = VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    graph = (
        timeseries.Panel()
        .legend(legend.placement(LegendPlacement.BOTTOM))
        .tooltip(tooltip)
        .fill_opacity(10)
        .line_width(1)
        .show_points(VisibilityMode.NEVER)
    )
    if panel.stacked:
        graph = graph.stacking(StackingConfig().mode(StackingMode.NORMAL).group("A"))
    return graph
