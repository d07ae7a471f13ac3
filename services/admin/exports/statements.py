"""`GET /admin/accounts/{user_id}/statements/{month}`: what an account spent in a month.

Invariants: the lines add up to the total, and the total to what the account's spend grew by; all of
it is from rollups and periods, none from entries. A month is one of the account's time zone. A
refund counts in the month of its call, so that it changes the statement of that month.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import zone_of
from libs.common.errors import FieldError, InvalidRequest, ValidationFailed
from libs.common.schemas.account import Account
from libs.common.storage.mongo.rollup_filter import RollupFilter
from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.exports.columns import Cell
from services.admin.exports.encoders import CsvEncoder
from services.admin.exports.formats import CSV, JSON, chosen_format
from services.admin.exports.statement_lines import (
    BY,
    TOKENS,
    Amounts,
    StatementLine,
    amounts_of,
    lines_of,
)
from services.admin.state import State

_MONTH = re.compile(r"(?:19[7-9]\d|[2-8]\d{3})-(?:0[1-9]|1[0-2])", re.ASCII)
# Of key, provider, model and status. Beyond it, summaries by key or by model tell the rest.
_MAX_ROWS = 50_000
_OF_STATEMENT = ("user_id", "month", "time_zone", "status")
_OF_LINE = tuple(name for name in StatementLine.__struct_fields__ if name != "tokens")
COLUMNS = (*_OF_STATEMENT, *_OF_LINE, *(f"{name}_tokens" for name in TOKENS))


class StatementQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`format` wins over `Accept`; without either it is JSON."""

    format: Literal["json", "csv"] | None = None


class Statement(Amounts, frozen=True, kw_only=True):
    """`opening_usd` and `closing_usd` are the account's spend before the month and at its end.

    `status` is `open` until the month is over: it is the statement so far. The `lines` add up to
    it, the dearest first.
    """

    user_id: str
    name: str
    month: str
    time_zone: str
    status: Literal["open", "closed"]
    ends_at: datetime
    made_at: datetime
    opening_usd: Decimal
    closing_usd: Decimal
    lines: list[StatementLine]


async def show_statement(
    request: Request[State], query: StatementQuery
) -> Answer[Statement] | Response:
    """By key and model, as JSON or CSV."""
    state, month = request.state, request.path_params["month"]
    kind = chosen_format(query.format, request.headers.get("accept", ""), (JSON, CSV))
    account = await find_account(state, request.path_params["user_id"])
    statement = await _statement_of(state, account, _first_day(month, account, state["now"]()))
    if kind is JSON:
        return Answer(statement, headers={"vary": "accept"})
    name = f"statement-{re.sub('[^A-Za-z0-9._-]', '_', account.user_id)}-{month}.csv"
    return Response(
        _csv(statement),
        headers={
            "content-type": kind.content_type,
            "content-disposition": f'attachment; filename="{name}"',
            "vary": "accept",
        },
    )


def _first_day(month: str, account: Account, now: datetime) -> date:
    """Raises ValidationFailed."""
    if not _MONTH.fullmatch(month):
        raise ValidationFailed([FieldError("month", "must be a month, such as 2026-11")])
    first = date.fromisoformat(f"{month}-01")
    if first > now.astimezone(zone_of(account.time_zone)).date():
        raise ValidationFailed([FieldError("month", "has not begun in the account's time zone")])
    return first


async def _statement_of(state: State, account: Account, first: date) -> Statement:
    """Raises InvalidRequest."""
    now, after = state["now"](), (first + timedelta(days=32)).replace(day=1)
    filters = RollupFilter(since=first, until=after, user_id=account.user_id)
    rows = await state["rollups"].sums(filters, BY, limit=_MAX_ROWS + 1)
    if len(rows) > _MAX_ROWS:
        raise InvalidRequest(
            f"The statement has more than {_MAX_ROWS} lines. Ask /admin/usage/summary by key or by "
            "model instead."
        )
    names = await state["keys"].names({row.group[0] for row in rows if row.group[0]})
    month = f"{first:%Y-%m}"
    opening_nusd = await state["ledger"].spend_before(account.user_id, month)
    zone = zone_of(account.time_zone)
    ends_at = datetime(after.year, after.month, 1, tzinfo=zone).astimezone(UTC)
    return Statement(
        user_id=account.user_id,
        name=account.name,
        month=month,
        time_zone=account.time_zone,
        status="open" if now < ends_at else "closed",
        ends_at=ends_at,
        made_at=now.astimezone(UTC),
        opening_usd=nusd_to_usd(opening_nusd),
        closing_usd=nusd_to_usd(opening_nusd + sum(row.cost_nusd for row in rows)),
        lines=lines_of(rows, names),
        **amounts_of(rows),
    )


def _csv(statement: Statement) -> bytes:
    """The lines, whose `total_usd` add up to the statement's."""
    encoder = CsvEncoder(COLUMNS)
    head: list[Cell] = [getattr(statement, name) for name in _OF_STATEMENT]
    rows: Sequence[Sequence[Cell]] = [
        [
            *head,
            *(getattr(line, name) for name in _OF_LINE),
            *(line.tokens.get(name, 0) for name in TOKENS),
        ]
        for line in statement.lines
    ]
    return encoder.begin() + encoder.rows(rows) + encoder.end()
