"""A call's life as a waterfall: admission, each try, the answer, and the posting."""

from decimal import Decimal

import msgspec
from htpy import Node, p, rect, svg
from htpy import title as svg_title

from libs.common.schemas.usage import FailedAttempt
from services.admin.console.elements import Column, count_text, rows_table
from services.admin.ledger import ExplainedEntryView

_COLUMNS = (
    Column("Part", "name"), Column("When", "wide"), Column("From, ms", "number"),
    Column("Took, ms", "number"), Column("Detail", "long"),
)  # fmt: skip
# The least width that is drawn, in hundredths of the whole.
_LEAST = Decimal("0.5")


class _Span(msgspec.Struct, frozen=True):
    """A part of a call's life, in milliseconds from its start."""

    name: str
    start: int
    length: int
    detail: str
    tone: str = ""


def life_table(entry: ExplainedEntryView) -> Node:
    spans = _spans(entry)
    whole = max((each.start + each.length for each in spans), default=0) or 1
    rows = [
        [each.name, _bar(each, whole), count_text(each.start), count_text(each.length), each.detail]
        for each in spans
    ]
    return rows_table("Life", _COLUMNS, rows, empty=p["Its times are not known."])


def _spans(entry: ExplainedEntryView) -> list[_Span]:
    whole = entry.latency_ms or 0
    own = "" if entry.overhead_ms is None else f"{entry.overhead_ms:.1f} ms of it the gateway's own"
    posted = round((entry.posted_at - entry.started_at).total_seconds() * 1000)
    return [
        _Span("Call", 0, whole, own, "all"),
        *_inner_spans(entry, whole),
        _Span("Queue and posting", whole, max(posted - whole, 0), "to the ledger"),
    ]


def _inner_spans(entry: ExplainedEntryView, whole: int) -> list[_Span]:
    """Entries of earlier releases lack the start of a try: each then follows the one before."""
    tries, at = list[_Span](), 0
    for attempt in entry.failed_attempts:
        at = at if attempt.after_ms is None else attempt.after_ms
        name = f"Tried {attempt.deployment}"
        tries.append(_Span(name, at, attempt.elapsed_ms, _failure_text(attempt), "bad"))
        at += attempt.elapsed_ms
    answered = entry.deployment is not None and entry.error_code is None
    if answered:
        at = at if entry.asked_after_ms is None else entry.asked_after_ms
        tries += _answer(entry, at, whole)
    if not tries:
        return [_Span("Admission", 0, whole, "no deployment was asked")]
    first = tries[0].start
    return [_Span("Admission", 0, first, "authentication, limits, hold")] * bool(first) + tries


def _answer(entry: ExplainedEntryView, start: int, whole: int) -> list[_Span]:
    first = whole if entry.first_byte_ms is None else entry.first_byte_ms
    spans = [_Span("First byte", start, max(first - start, 0), f"of {entry.deployment}")]
    if entry.stream and entry.first_byte_ms is not None:
        length = max(whole - first, 0)
        spans.append(_Span("Stream", first, length, "until its last byte"))
    return spans


def _failure_text(attempt: FailedAttempt) -> str:
    words = (attempt.status, attempt.code, attempt.message)
    return " ".join(str(word) for word in words if word)


def _bar(part: _Span, whole: int) -> Node:
    start = Decimal(part.start) * 100 / whole
    width = max(Decimal(part.length) * 100 / whole, _LEAST)
    start = min(start, 100 - width)
    shape = rect(x=f"{start:.2f}", y="1", width=f"{width:.2f}", height="8", class_=part.tone)
    return svg(".life", viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")[
        shape[svg_title[f"{part.length} ms"]]
    ]
