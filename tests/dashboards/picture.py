"""Panels of the dashboard as Prometheus has them while a fault goes on, drawn as one SVG."""

import math
from html import escape
from typing import Any, NamedTuple
from urllib.parse import urlencode

from deploy.grafana.panels import Panel
from deploy.local.client import StackClient
from tests.dashboards.conftest import with_everything_chosen

COLUMNS, WIDTH, HEIGHT, MARGIN = 2, 440, 170, 34
BEFORE_S, AFTER_S = 10, 25
COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed")
_UNITS = {"s": " s", "percentunit": "", "reqps": "/s", "ops": "/s"}

Points = list[tuple[float, float]]


class Episode(NamedTuple):
    """A fault, when it began and when its alert fired (Unix seconds)."""

    fault: str
    panel: Panel
    alert: str
    began: float
    fired: float

    @property
    def end(self) -> float:
        return self.fired + AFTER_S


def changed_lines(prometheus: StackClient, episode: Episode) -> dict[str, Points]:
    """Of the panel, by their legend. Times are in seconds since the fault began."""
    lines: dict[str, Points] = {}
    times = {"start": episode.began - BEFORE_S, "end": episode.end, "step": 1}
    for query in episode.panel.queries:
        parameters = urlencode({"query": with_everything_chosen(query.expr), **times})
        path = f"/api/v1/query_range?{parameters}"
        for series in prometheus.expect("GET", path)["data"]["result"]:
            points = [(float(at) - episode.began, float(value)) for at, value in series["values"]]
            points = [(at, value) for at, value in points if not math.isnan(value)]
            is_whole = len(points) >= episode.end - episode.began + BEFORE_S
            if points and not (is_whole and len({value for _, value in points}) == 1):
                lines[_fill(query.legend, series["metric"])] = points
    return lines


def _fill(legend: str, labels: dict[str, Any]) -> str:
    for name, value in labels.items():
        legend = legend.replace(f"{{{{{name}}}}}", str(value))
    return legend


def draw(prometheus: StackClient, faults: list[Episode]) -> str:
    rows = math.ceil(len(faults) / COLUMNS)
    size = f'width="{COLUMNS * WIDTH}" height="{rows * HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for place, episode in enumerate(faults):
        x, y = place % COLUMNS * WIDTH, place // COLUMNS * HEIGHT
        lines = changed_lines(prometheus, episode)
        parts += [f'<g transform="translate({x},{y})">', *_draw(episode, lines), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _draw(episode: Episode, lines: dict[str, Points]) -> list[str]:
    top = max((value for points in lines.values() for _, value in points), default=1) or 1
    left, right, floor, ceiling = MARGIN, WIDTH - 12, HEIGHT - 26, 54

    def x(at: float) -> float:
        span = episode.end - episode.began + BEFORE_S
        return round(left + (at + BEFORE_S) / span * (right - left), 1)

    def y(value: float) -> float:
        return round(floor - value / top * (floor - ceiling), 1)

    title = f"{episode.fault}: {episode.panel.title}"
    parts = [
        f'<text x="{left}" y="16" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{left} {ceiling}V{floor}H{right}" fill="none" stroke="#94a3b8"/>',
        f'<text x="{left}" y="{ceiling - 4}">{top:.3g}{_UNITS.get(episode.panel.unit, "")}</text>',
    ]
    marks = ((0.0, "fault", "#64748b"), (episode.fired - episode.began, episode.alert, "#dc2626"))
    for place, (at, word, colour) in enumerate(marks):
        anchor = "start" if place else "end"
        parts += [
            f'<path d="M{x(at)} {ceiling}V{floor}" stroke="{colour}" stroke-dasharray="3"/>',
            f'<text x="{x(at)}" y="{floor + 13}" fill="{colour}" text-anchor="{anchor}">'
            f"{word}</text>",
        ]
    for place, (name, points) in enumerate(list(lines.items())[: len(COLOURS)]):
        colour = COLOURS[place]
        parts += [
            f'<path d="{_path([(at, x(at), y(value)) for at, value in points])}" fill="none" '
            f'stroke="{colour}" stroke-width="2"/>',
            f'<text x="{left + place * 100}" y="32" fill="{colour}">{escape(name[:20])}</text>',
        ]
    return parts


def _path(points: list[tuple[float, float, float]]) -> str:
    """No line is drawn where there was no sample for more than a step."""
    parts, last = [], -math.inf
    for at, x, y in points:
        parts.append(f"{'L' if at - last < 1.5 else 'M'}{x} {y}")
        last = at
    return "".join(parts)
