"""Bars: a budget's meter, and a chart of one series."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec
from htpy import Element, Renderable, g, rect, svg
from htpy import title as svg_title

from services.admin.console.elements import short_usd

_CHART_W, _CHART_H = 640, 160


class Bar(msgspec.Struct, frozen=True):
    """One interval of a chart; `label` is what its axis says, `shown` its value in words."""

    label: str
    value: Decimal | int
    shown: str


def meter(name: str, spent: Decimal, held: Decimal, limit: Decimal) -> Element:
    """How much of a budget is spent and held, as one bar."""
    width = 100

    def part(amount: Decimal) -> int:
        full = Decimal(width)
        return int(max(Decimal(0), min(full, amount * full / limit))) if limit else 0

    spent_w = part(spent)
    held_w = min(part(held), width - spent_w)
    label = f"{name}: {short_usd(spent)} spent and {short_usd(held)} held of {short_usd(limit)}"
    return svg(
        ".meter", viewBox=f"0 0 {width} 6", preserveAspectRatio="none", role="img", aria_label=label
    )[
        rect(".track", x="0", y="0", width=str(width), height="6"),
        rect(
            class_=["spent", "full" if limit and spent >= limit else ""],
            x="0",
            y="0",
            width=str(spent_w),
            height="6",
        ),
        rect(".held", x=str(spent_w), y="0", width=str(held_w), height="6"),
    ]


def bar_chart(name: str, bars: Sequence[Bar]) -> Renderable:
    """A chart of one series; the caller puts its table beside it."""
    most = max((Decimal(bar.value) for bar in bars), default=Decimal(0))
    step = Decimal(_CHART_W) / max(len(bars), 1)

    def column(number: int, bar: Bar) -> Element:
        height = 0 if most <= 0 else max(Decimal(0), Decimal(bar.value) * (_CHART_H - 4) / most)
        return rect(
            x=f"{number * step + step * Decimal('0.1'):.2f}",
            y=f"{_CHART_H - height:.2f}",
            width=f"{step * Decimal('0.8'):.2f}",
            height=f"{height:.2f}",
        )[svg_title[f"{bar.label}: {bar.shown}"]]

    return svg(
        ".chart",
        viewBox=f"0 0 {_CHART_W} {_CHART_H}",
        preserveAspectRatio="none",
        role="img",
        aria_label=name,
    )[g[(column(number, bar) for number, bar in enumerate(bars))]]
