"""The elements of pages: amounts, times, tables. htpy escapes text."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec
from htpy import (
    Element,
    Node,
    Renderable,
    a,
    button,
    caption,
    code,
    dd,
    div,
    dl,
    dt,
    h2,
    label,
    p,
    pre,
    section,
    span,
    table,
    tbody,
    td,
    th,
    thead,
    time,
    tr,
)
from htpy import input as field_input

# Shown in place of a missing value.
NOTHING = "\u2013"
MINUS = "\u2212"
_CENT = Decimal("0.01")
_FINE = Decimal("0.000001")


class Column(msgspec.Struct, frozen=True):
    """`kind` "number" aligns its cells to the right."""

    title: str
    kind: str = "text"


def usd(amount: Decimal | None) -> Node:
    """In cents, or finer below one; the exact amount is on hover."""
    if amount is None:
        return span(".none", title="not known")[NOTHING]
    return span(".usd", title=f"{amount:f} USD")[short_usd(amount)]


def short_usd(amount: Decimal) -> str:
    """Rounded for reading only. An amount that would round to zero is shown exactly."""
    if 0 < abs(amount) < _FINE:
        return f"{MINUS if amount < 0 else ''}${abs(amount):f}"
    step = _CENT if abs(amount) >= 1 or not amount else _FINE
    rounded = amount.quantize(step, rounding=ROUND_HALF_EVEN)
    text = f"{abs(rounded):,f}"
    if step is _FINE:
        whole, _, decimals = text.partition(".")
        text = f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
    return f"{MINUS if rounded < 0 else ''}${text}"


def text_filter(field: str, name: str, query: Mapping[str, str]) -> Renderable:
    """A field of a list's filters; one for a time shows how a day is written."""
    example = "2026-11-24" if field in ("since", "until") else None
    value = query.get(field, "")
    return label[
        name, field_input(name=field, value=value, autocomplete="off", placeholder=example)
    ]


def count_text(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def share(part: Decimal | int, whole: Decimal | int) -> str:
    return NOTHING if not whole else f"{Decimal(part) * 100 / Decimal(whole):.1f} %"


def when(moment: datetime | None, zone: tzinfo, *, seconds: bool = False) -> Node:
    """In the viewer's zone; UTC is on hover."""
    if moment is None:
        return NOTHING
    utc = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        local = moment.astimezone(zone)
    except OverflowError:
        # The year 9999 has no next day in a zone to the east.
        local = moment
    text = local.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    return time(datetime=utc, title=utc)[text]


def lasted(span: timedelta) -> str:
    """How long, in the largest unit that it has two of."""
    seconds = max(int(span.total_seconds()), 0)
    for name, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {name}"
    return f"{seconds} s"


def size_text(size: int | None) -> str:
    """Of a file, in kilobytes from one on."""
    if size is None:
        return NOTHING
    return f"{size:,} B" if size < 1000 else f"{size / 1000:,.0f} kB"


def badge(text: str, tone: str = "") -> Element:
    """`tone` is good, bad, warn or nothing."""
    return span(class_=["badge", tone])[text]


_TONES = {
    **dict.fromkeys(("active", "ok", "done", "delivered", "healthy"), "good"),
    **dict.fromkeys(
        ("suspended", "aborted", "unpriced", "expired", "pending", "estimated"), "warn"
    ),
    **dict.fromkeys(
        ("revoked", "refused", "upstream_error", "error", "failed", "drifted", "cooling"), "bad"
    ),
}


def status_badge(status: str) -> Element:
    return badge(status.replace("_", " "), _TONES.get(status, ""))


def proof_badge(ok: bool | None) -> Node:
    """Of a proof of the books; None before the first."""
    if ok is None:
        return "not proved yet"
    return badge("agree", "good") if ok else badge("differ", "bad")


def rows_table(
    name: str, columns: Sequence[Column], rows: Iterable[Sequence[Node]], *, empty: Node
) -> Renderable:
    """A table that scrolls by itself on a narrow screen; `empty` says what to do next."""
    filled = [list(row) for row in rows]
    if not filled:
        return div(".empty")[empty]
    return div(".scroll", tabindex="0", role="region", aria_label=f"{name}, table")[
        table[
            caption(".visually-hidden")[name],
            thead[tr[(th(scope="col", class_=column.kind)[column.title] for column in columns)]],
            tbody[
                (
                    tr[
                        (
                            td(class_=column.kind)[cell]
                            for column, cell in zip(columns, row, strict=True)
                        )
                    ]
                    for row in filled
                )
            ],
        ]
    ]


def facts(pairs: Iterable[tuple[str, Node]]) -> Element:
    return dl(".facts")[([dt[name], dd[value]] for name, value in pairs)]


def panel(name: str, *content: Node, actions: Node = None) -> Element:
    return section(".panel", aria_label=name)[
        div(".panel-head")[h2[name], actions and div(".actions")[actions]], content
    ]


def figure_tile(name: str, value: Node, note: Node = None) -> Element:
    return div(".tile")[span(".tile-name")[name], span(".tile-value")[value], note and p[note]]


def link(to: str, text: Node) -> Element:
    return a(href=to)[text]


def json_block(value: object) -> Element:
    return pre(tabindex="0")[msgspec.json.format(msgspec.json.encode(value), indent=2).decode()]


def secret_text(secret: Node, noun: str = "secret") -> Node:
    """A button selects the secret, since it is shown once."""
    copy = button(type="button", data_copy="secret")[f"Copy the {noun}"]
    return [code("#secret.secret")[secret], p[copy]]


def mono(text: str) -> Element:
    return code[text]
