"""What accounts and keys have spent, hold and have left, as responses show it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal

import msgspec
import structlog
from msgspec import UNSET, UnsetType

from libs.common.domain.forecasts import Forecast, Outlook, forecast, pace_days
from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import days_of, period_end, period_key, zone_of
from libs.common.schemas.account import Account, Budget
from libs.common.schemas.key import ApiKey
from libs.common.schemas.spend import KeyPeriod
from libs.common.storage.mongo.driver import Document
from libs.common.storage.redis.client import RedisError
from services.admin.state import State

log = structlog.get_logger(__name__)


class BudgetSpend(msgspec.Struct, frozen=True, kw_only=True):
    """One budget's current period; `remaining_usd` is null while Redis is unavailable.

    At the pace of yesterday and today, the period will have cost `expected_usd` at its end (null
    for `total`, which has none), and the limit is reached at `runs_out_at`, where that is before.
    """

    period: str
    spent_usd: Decimal
    limit_usd: Decimal
    remaining_usd: Decimal | None
    ends_at: datetime | None
    outlook: Outlook
    expected_usd: Decimal | None
    runs_out_at: datetime | None


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """`held_usd` is what calls under way hold, null while Redis is unavailable.

    The fields after it are those of the first budget, null without one.
    """

    total_usd: Decimal
    budgets: tuple[BudgetSpend, ...]
    held_usd: Decimal | None
    period: str | None = None
    period_usd: Decimal | None = None
    period_ends_at: datetime | None = None
    remaining_usd: Decimal | None = None


class KeySpend(msgspec.Struct, frozen=True, kw_only=True):
    """Of a key's own budgets. A key without budgets has no `held_usd` either.

    `total_usd` is what it ever spent; lists leave it out.
    """

    total_usd: Decimal | UnsetType = UNSET
    budgets: tuple[BudgetSpend, ...]
    held_usd: Decimal | None


async def spend_of_accounts(state: State, accounts: Sequence[Account]) -> list[Spend]:
    """In the accounts' order."""
    now = state["now"]()
    held = await _held(state, [(account.user_id, None) for account in accounts])
    limited = [account for account in accounts if account.budgets]
    periods = {p for account in limited for p in _all_periods(account, now)}
    users = [account.user_id for account in limited]
    spent = await state["ledger"].spend_of_many(users, sorted(periods)) if users else {}
    return [_spend(account, now, spent, nusd) for account, nusd in zip(accounts, held, strict=True)]


async def accounts_at_risk(
    state: State, accounts: Sequence[tuple[Account, Document]]
) -> list[Account]:
    """Those of the accounts with a budget that is exhausted or runs out; each with its whole
    document. What they hold does not matter, so that Redis need not be asked.
    """
    now = state["now"]()
    periods = {p for account, _ in accounts for p in _all_periods(account, now)}
    documents = [document for _, document in accounts]
    spent = await state["ledger"].spend_of_documents(documents, sorted(periods))
    return [account for account, _ in accounts if _is_at_risk(account, now, spent)]


def _is_at_risk(account: Account, now: datetime, spent: Mapping[tuple[str, str], int]) -> bool:
    owner = _owner_of(account, now, spent, held_nusd=None)
    budgets = _spent_of_budgets(account, now, spent)
    return any(_forecast(budget, owner, nusd).outlook != "lasts" for budget, nusd in budgets)


async def spend_of_keys(
    state: State, keys: Sequence[ApiKey], *, totals: bool = True
) -> list[KeySpend]:
    """In the keys' order; periods are those of their accounts' time zones."""
    now = state["now"]()
    budgeted = [key for key in keys if key.budgets]
    zones = await state["accounts"].time_zones(key.user_id for key in budgeted) if budgeted else {}
    held = dict[str, int | None]()
    if budgeted:
        amounts = await _held(state, [(key.user_id, key.key_id) for key in budgeted])
        held = {key.key_id: nusd for key, nusd in zip(budgeted, amounts, strict=True)}
    periods = {
        KeyPeriod(key.user_id, key.key_id, days)
        for key in keys
        for days in (*_days_of_key(key, now, _zone(zones, key)), *([None] if totals else []))
    }
    spent = await state["ledger"].spend_of_keys(periods) if periods else {}

    def spent_of(key: ApiKey, days: tuple[str, str] | None) -> int:
        return spent[KeyPeriod(key.user_id, key.key_id, days)].nusd

    def of(key: ApiKey) -> KeySpend:
        zone = _zone(zones, key)
        owner = _Owner(
            now=now,
            zone=zone,
            created_at=key.created_at,
            recent_nusd=spent_of(key, pace_days(now, zone)) if key.budgets else 0,
            held_nusd=held.get(key.key_id),
        )
        days = _days_of_key(key, now, zone)
        return KeySpend(
            total_usd=nusd_to_usd(spent_of(key, None)) if totals else UNSET,
            budgets=tuple(
                _budget_spend(budget, owner, spent_of(key, of_budget))
                for budget, of_budget in zip(key.budgets, days, strict=False)
            ),
            held_usd=_usd(owner.held_nusd),
        )

    return [of(key) for key in keys]


def _days_of_key(key: ApiKey, now: datetime, zone: tzinfo) -> list[tuple[str, str] | None]:
    """Of its budgets, in their order, and of its pace."""
    if not key.budgets:
        return []
    of_budgets = [days_of(period_key(budget.period, now, zone)) for budget in key.budgets]
    return [*of_budgets, pace_days(now, zone)]


def _zone(zones: Mapping[str, str], key: ApiKey) -> tzinfo:
    return zone_of(zones.get(key.user_id, "UTC"))


def _periods(account: Account, now: datetime) -> list[str]:
    zone = zone_of(account.time_zone)
    return [period_key(budget.period, now, zone) for budget in account.budgets]


def _all_periods(account: Account, now: datetime) -> list[str]:
    return [*_periods(account, now), *pace_days(now, zone_of(account.time_zone))]


def _spent_of_budgets(
    account: Account, now: datetime, spent: Mapping[tuple[str, str], int]
) -> list[tuple[Budget, int]]:
    """Each budget, in their order, with what its period has cost in nano-USD."""
    periods = zip(account.budgets, _periods(account, now), strict=True)
    return [(budget, spent.get((account.user_id, period), 0)) for budget, period in periods]


async def _held(state: State, owners: Sequence[tuple[str, str | None]]) -> Sequence[int | None]:
    try:
        return await state["holds"].held_of_many(owners)
    except (RedisError, OSError) as error:
        log.warning("holds.unavailable", error=error)
        return [None] * len(owners)


def _spend(
    account: Account,
    now: datetime,
    spent: Mapping[tuple[str, str], int],
    held_nusd: int | None,
) -> Spend:
    owner = _owner_of(account, now, spent, held_nusd)
    budgets = [
        _budget_spend(budget, owner, nusd)
        for budget, nusd in _spent_of_budgets(account, now, spent)
    ]
    spend = Spend(
        total_usd=nusd_to_usd(account.spent_nusd),
        budgets=tuple(budgets),
        held_usd=_usd(held_nusd),
    )
    if not budgets:
        return spend
    first = budgets[0]
    return msgspec.structs.replace(
        spend,
        period=first.period,
        period_usd=first.spent_usd,
        period_ends_at=first.ends_at,
        remaining_usd=first.remaining_usd,
    )


class _Owner(msgspec.Struct, frozen=True, kw_only=True):
    """An account or a key; `recent_nusd` is what it spent yesterday and today."""

    now: datetime
    zone: tzinfo
    created_at: datetime
    recent_nusd: int
    held_nusd: int | None


def _owner_of(
    account: Account,
    now: datetime,
    spent: Mapping[tuple[str, str], int],
    held_nusd: int | None,
) -> _Owner:
    zone = zone_of(account.time_zone)
    return _Owner(
        now=now,
        zone=zone,
        created_at=account.created_at,
        recent_nusd=sum(spent.get((account.user_id, day), 0) for day in pace_days(now, zone)),
        held_nusd=held_nusd,
    )


def _forecast(budget: Budget, owner: _Owner, spent_nusd: int) -> Forecast:
    return forecast(
        budget,
        spent_nusd=spent_nusd,
        recent_nusd=owner.recent_nusd,
        now=owner.now,
        zone=owner.zone,
        created_at=owner.created_at,
    )


def _budget_spend(budget: Budget, owner: _Owner, spent_nusd: int) -> BudgetSpend:
    held_nusd, now, zone = owner.held_nusd, owner.now, owner.zone
    left = None if held_nusd is None else budget.limit_nusd - spent_nusd - held_nusd
    found = _forecast(budget, owner, spent_nusd)
    return BudgetSpend(
        period=period_key(budget.period, now, zone),
        spent_usd=nusd_to_usd(spent_nusd),
        limit_usd=nusd_to_usd(budget.limit_nusd),
        remaining_usd=_usd(left),
        ends_at=period_end(budget.period, now, zone),
        outlook=found.outlook,
        expected_usd=_usd(found.expected_nusd),
        runs_out_at=found.runs_out_at,
    )


def _usd(nusd: int | None) -> Decimal | None:
    return None if nusd is None else nusd_to_usd(nusd)
