"""`/admin/ledger/verify`: the proof that entries, spend, rollups and Redis' copy agree."""

from datetime import datetime
from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.checkpoints import Difference
from libs.common.domain.money import nusd_to_usd
from libs.common.errors import Unavailable
from libs.common.findings import Findings
from libs.common.storage.redis.client import RedisError
from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.fields import UserId
from services.admin.pages import ListCursor, cursor_of, cursor_place
from services.admin.state import State

# The time of one request; its cursor continues with the rest.
_WITHIN_S = 20.0


class VerifyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`full` reads every entry again; otherwise the worker's checkpoints stand for those proved."""

    user_id: UserId | UnsetType = UNSET
    full: bool = False
    cursor: ListCursor | UnsetType = UNSET


class DifferenceView(msgspec.Struct, frozen=True, kw_only=True):
    """In USD, or of the number of entries; what was `found` is null where there was nothing."""

    user_id: str
    where: str
    expected_usd: Decimal | UnsetType = UNSET
    found_usd: Decimal | UnsetType | None = UNSET
    expected_entries: int | UnsetType = UNSET
    found_entries: int | UnsetType | None = UNSET


class ProofView(msgspec.Struct, frozen=True, kw_only=True):
    """`ok` covers the accounts that were proved: all of them if `next_cursor` is null."""

    ok: bool
    accounts: int
    entries: int
    entries_total_usd: Decimal
    drifting_accounts: int
    first_difference: DifferenceView | None
    next_cursor: str | None
    full: bool
    checked_at: datetime


async def verify_ledger(request: Request[State], query: VerifyQuery) -> Answer[ProofView]:
    """Proves one account, or all accounts in the order of their ids."""
    state = request.state
    now = state["now"]()
    prover = state["prover"]
    after = cursor_place("proved", query.cursor)
    try:
        if query.user_id is UNSET:
            findings = await prover.prove_all(full=query.full, after=after, within_s=_WITHIN_S)
        else:
            await find_account(state, query.user_id)
            findings = await prover.prove_one(query.user_id, full=query.full)
    except (RedisError, OSError) as error:
        message = "Redis does not answer, so its copy of spend cannot be compared."
        raise Unavailable(message, retry_after_s=2) from error
    return Answer(_view(findings, full=query.full, checked_at=now))


def _view(findings: Findings, *, full: bool, checked_at: datetime) -> ProofView:
    difference = findings.first_difference
    after = findings.next_after
    return ProofView(
        ok=difference is None,
        accounts=findings.accounts,
        entries=findings.entries,
        entries_total_usd=nusd_to_usd(findings.entries_nusd),
        drifting_accounts=findings.drifting,
        first_difference=None if difference is None else _difference_view(difference),
        next_cursor=None if after is None else cursor_of("proved", after),
        full=full,
        checked_at=checked_at,
    )


def _difference_view(difference: Difference) -> DifferenceView:
    expected, found = difference.expected, difference.found
    if difference.unit == "entries":
        return DifferenceView(
            user_id=difference.user_id,
            where=difference.where,
            expected_entries=expected,
            found_entries=found,
        )
    return DifferenceView(
        user_id=difference.user_id,
        where=difference.where,
        expected_usd=nusd_to_usd(expected),
        found_usd=None if found is None else nusd_to_usd(found),
    )
