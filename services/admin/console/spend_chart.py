"""A chart of spend over time with its table, and a budget's outlook in words."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo

from htpy import Node, details, div, p, span, summary

from services.admin.budget_spend import BudgetSpend
from services.admin.console.bars import Bar, bar_chart
from services.admin.console.elements import (
    Column,
    badge,
    count_text,
    rows_table,
    short_usd,
    usd,
    when,
)
from services.admin.usage_views import PointView

CHART_DAYS = 30


def last_days(now: datetime) -> dict[str, date]:
    """Up to the day of `now`; the API would go on to that of the zone farthest to the east."""
    today = now.date()
    return {"since": today - timedelta(days=CHART_DAYS - 1), "until": today + timedelta(days=1)}


def spend_chart(points: Sequence[PointView]) -> Node:
    bars = [Bar(point.start, point.cost_usd, short_usd(point.cost_usd)) for point in points]
    columns = (Column("From"), Column("Spent", "number"), Column("Calls", "number"))
    rows = [[point.start, usd(point.cost_usd), count_text(point.calls)] for point in points]
    return [
        _highest(bars),
        bar_chart("Spent over time", bars),
        div(".axis", aria_hidden="true")[span[points[0].start], span[points[-1].start]],
        details[summary["As a table"], rows_table("Spent over time", columns, rows, empty=None)],
    ]


def _highest(bars: Sequence[Bar]) -> Node:
    """The chart's scale: its bars are named on hover and in the table."""
    most = max(bars, key=lambda bar: bar.value, default=None)
    if most is None or not most.value:
        return p(".highest")["Nothing was spent."]
    return p(".highest")[f"Highest: {most.shown} on {most.label}"]


def outlook_words(budget: BudgetSpend, zone: tzinfo) -> Node:
    """At the pace of yesterday and today."""
    match budget.outlook:
        case "exhausted":
            return badge("exhausted", "bad")
        case "runs_out":
            return [badge("runs out", "warn"), " ", when(budget.runs_out_at, zone)]
        case _:
            return "lasts"
