"""Writes, in a posting's transaction, alerts of the budgets it touched and of missing prices."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from cachetools import TTLCache

from libs.common.domain.budget_alerts import is_exhausted, thresholds_reached
from libs.common.domain.entries import unpriced_models
from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import DAILY, PERIODS, days_of, period_end, posting_zone
from libs.common.errors import BudgetExceeded
from libs.common.outbox import Outbox
from libs.common.schemas.account import Budget
from libs.common.schemas.alert import (
    Alert,
    AlertKind,
    BudgetExhausted,
    EntryUnpriced,
    ThresholdReached,
)
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.spend import KeyPeriod
from libs.common.storage.mongo.driver import Document, Session
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger_reader import LedgerReader

_OF_BUDGETS: tuple[AlertKind, ...] = ("budget.threshold_reached", "budget.exhausted")
_UNPRICED: AlertKind = "entry.unpriced"
# How long a key's new budget may go unnoticed; what it has reached is told with the next posting.
_KEYS_S = 10.0
_MAX_KEYS = 10_000

# A user_id, and a key_id where it is the key that has the budgets.
SpendOwner = tuple[str, str | None]


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """A budget in the period of an entry, and a call that was refused in that period."""

    owner: SpendOwner
    budget: Budget
    entry: LedgerEntry
    refused_call_id: str | None

    @property
    def current(self) -> str:
        return _period(self.budget, self.entry)


class PostingWatch:
    """`LedgerStore` calls it with the new entries of each transaction.

    A reached threshold is reported once in its period. So a threshold that is set below
    what is spent, and a new receiver, count from the next posting of the account.
    """

    def __init__(self, outbox: Outbox, ledger: LedgerReader, keys: KeyStore) -> None:
        self._outbox = outbox
        self._ledger = ledger
        self._keys = keys
        self._by_key: TTLCache[str, tuple[Budget, ...]] = TTLCache(_MAX_KEYS, _KEYS_S)

    async def __call__(
        self, entries: Sequence[LedgerEntry], accounts: Mapping[str, Document], session: Session
    ) -> None:
        alerts: list[Alert] = []
        unpriced = [entry for entry in entries if entry.status == "unpriced"]
        if unpriced and await self._outbox.wants(_UNPRICED):
            alerts += [_unpriced(entry) for entry in unpriced]
        if await self._outbox.wants(*_OF_BUDGETS):
            alerts += await self._of_budgets(entries, accounts, session)
        if alerts:
            await self._outbox.add(alerts, session)

    async def _of_budgets(
        self, entries: Sequence[LedgerEntry], accounts: Mapping[str, Document], session: Session
    ) -> list[Alert]:
        budgets: dict[SpendOwner, tuple[Budget, ...]] = {
            (user_id, None): msgspec.convert(account["budgets"], tuple[Budget, ...])
            for user_id, account in accounts.items()
            if account.get("budgets")
        }
        of_keys = await self._budgets_of_keys({entry.key_id for entry in entries if entry.key_id})
        budgets |= {
            (entry.user_id, entry.key_id): of_keys[entry.key_id]
            for entry in entries
            if entry.key_id in of_keys
        }
        alerts: list[Alert] = []
        if budgets:
            rows = _rows(entries, budgets)
            spent = await self._spent(rows, accounts, session)
            for row, nusd in zip(rows, spent, strict=True):
                alerts += _row_alerts(row, nusd)
        return alerts

    async def _budgets_of_keys(self, key_ids: set[str]) -> dict[str, tuple[Budget, ...]]:
        found = {id_: budgets for id_ in key_ids if (budgets := self._by_key.get(id_)) is not None}
        if missing := key_ids - found.keys():
            fetched: dict[str, tuple[Budget, ...]] = dict.fromkeys(missing, ())
            fetched |= {key.key_id: key.budgets for key in await self._keys.budgeted(missing)}
            self._by_key.update(fetched)
            found |= fetched
        return {id_: budgets for id_, budgets in found.items() if budgets}

    async def _spent(
        self, rows: Sequence[_Row], accounts: Mapping[str, Document], session: Session
    ) -> list[int]:
        """What each budget's owner has spent in its period, these entries included."""
        own = [row for row in rows if row.owner[1] is None]
        users, periods = {row.owner[0] for row in own}, {row.current for row in own}
        of_accounts = await self._ledger.spend_with_revisions(
            sorted(users), sorted(periods), session, accounts
        )
        of_keys = await self._ledger.spend_of_keys(
            {_key_period(row) for row in rows if row.owner[1] is not None}, session
        )
        return [
            of_accounts[row.owner[0], row.current].nusd
            if row.owner[1] is None
            else of_keys[_key_period(row)].nusd
            for row in rows
        ]


def _key_period(row: _Row) -> KeyPeriod:
    return KeyPeriod(row.owner[0], row.owner[1] or "", days_of(row.current))


def _period(budget: Budget, entry: LedgerEntry) -> str:
    return entry.periods[PERIODS.index(budget.period)]


def _rows(
    entries: Sequence[LedgerEntry], budgets: Mapping[SpendOwner, tuple[Budget, ...]]
) -> list[_Row]:
    """One for each budget and period."""
    rows: dict[tuple[SpendOwner, str], _Row] = {}
    for entry in entries:
        refused = entry.entry_id if entry.error_code == BudgetExceeded.code else None
        owners: tuple[SpendOwner, SpendOwner] = (
            (entry.user_id, None),
            (entry.user_id, entry.key_id),
        )
        for owner in owners:
            for budget in budgets.get(owner, ()):
                place = (owner, _period(budget, entry))
                before = rows[place].refused_call_id if place in rows else None
                rows[place] = _Row(
                    owner=owner,
                    budget=budget,
                    entry=entry,
                    refused_call_id=before or refused,
                )
    return list(rows.values())


def _row_alerts(row: _Row, spent_nusd: int) -> Iterator[Alert]:
    (user_id, key_id), budget = row.owner, row.budget
    zone = posting_zone(row.entry.time_zone)
    ends_at = period_end(budget.period, row.entry.started_at, zone)
    state: dict[str, Any] = {
        "user_id": user_id,
        "key_id": key_id,
        "period": budget.period,
        "current": row.current,
        "ends_at": ends_at,
        "limit_usd": nusd_to_usd(budget.limit_nusd),
        "spent_usd": nusd_to_usd(spent_nusd),
    }
    prefix = f"{user_id}|{key_id or ''}|{row.current}"

    def alert(kind: AlertKind, name: str, data: ThresholdReached | BudgetExhausted) -> Alert:
        return Alert(
            kind=kind,
            name=name,
            user_id=user_id,
            at=row.entry.posted_at,
            until=ends_at,
            endless=ends_at is None,
            data=data,
        )

    for threshold in thresholds_reached(budget, spent_nusd):
        percent = "soft" if threshold.percent is None else threshold.percent
        yield alert(
            "budget.threshold_reached",
            # Another limit is another threshold.
            f"{prefix}|{percent}|{threshold.nusd}",
            ThresholdReached(
                **state,
                threshold_usd=nusd_to_usd(threshold.nusd),
                percent=threshold.percent,
            ),
        )
    if is_exhausted(budget, spent_nusd, refused=row.refused_call_id is not None):
        spent_all = spent_nusd >= budget.limit_nusd
        yield alert(
            "budget.exhausted",
            f"{prefix}|{budget.limit_nusd}",
            BudgetExhausted(**state, refused_call_id=None if spent_all else row.refused_call_id),
        )


def _unpriced(entry: LedgerEntry) -> Alert:
    provider, model = unpriced_models(entry)[0]
    day = entry.periods[DAILY]
    return Alert(
        kind=_UNPRICED,
        name=f"{entry.user_id}|{provider}|{model}|{day}",
        user_id=entry.user_id,
        at=entry.posted_at,
        data=EntryUnpriced(
            user_id=entry.user_id, entry_id=entry.entry_id, provider=provider, model=model
        ),
    )
