"""Alerts of budgets that will be spent before their period ends, at the present pace."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from libs.common.domain.forecasts import Present, forecast, presents_of
from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import days_of, present_periods
from libs.common.outbox import Outbox
from libs.common.schemas.account import Budget
from libs.common.schemas.alert import Alert, BudgetForecast
from libs.common.schemas.spend import KeyPeriod
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Document
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.mongo.slices import after_id
from libs.common.storage.redis.client import Redis

_TURN = "gateway:worker:forecasts"
# Owners whose spend is read at a time.
_PAGE = 100


class _Owner(msgspec.Struct, frozen=True, kw_only=True):
    """An account, or a key (`key_id`), whose budgets are looked at."""

    user_id: str
    key_id: str | None
    budgets: tuple[Budget, ...]
    present: Present
    created_at: datetime


class _Spent(msgspec.Struct, frozen=True):
    """Nano-USD in the present periods, by their keys, and in the days of the pace."""

    in_periods: Mapping[str, int]
    recent: int


class ForecastWatch:
    """Each turn is taken by one of the workers. A budget for ever has no end to last until."""

    def __init__(
        self,
        *,
        accounts: AccountStore,
        keys: KeyStore,
        ledger: LedgerReader,
        outbox: Outbox,
        redis: Redis,
        now: Callable[[], datetime],
        every_s: float,
    ) -> None:
        self._accounts = accounts
        self._keys = keys
        self._ledger = ledger
        self._outbox = outbox
        self._redis = redis
        self._now = now
        self._turn_ms = max(int(every_s * 900), 1)

    async def look(self) -> None:
        if not await self._outbox.wants("budget.forecast"):
            return
        if not await self._redis.set(_TURN, b"taken", nx=True, px=self._turn_ms):
            return
        now, after = self._now(), None
        periods = present_periods(now)
        while accounts := await self._accounts.with_budgets(after_id(after, _PAGE), periods):
            after = accounts[-1][0].user_id
            presents = presents_of((account.time_zone for account, _ in accounts), now)
            owners = [
                _Owner(
                    user_id=account.user_id,
                    key_id=None,
                    budgets=account.budgets,
                    present=presents[account.time_zone],
                    created_at=account.created_at,
                )
                for account, _ in accounts
            ]
            documents = [document for _, document in accounts]
            await self._add_alerts(owners, await self._spent_by_accounts(owners, documents))
        after = None
        while keys := await self._keys.with_budgets(after_id(after, _PAGE), user_id=None):
            after = keys[-1].key_id
            zones = await self._accounts.time_zones(key.user_id for key in keys)
            presents = presents_of({"UTC", *zones.values()}, now)
            owners = [
                _Owner(
                    user_id=key.user_id,
                    key_id=key.key_id,
                    budgets=key.budgets,
                    present=presents[zones.get(key.user_id, "UTC")],
                    created_at=key.created_at,
                )
                for key in keys
                if key.status == "active"
            ]
            await self._add_alerts(owners, await self._spent_by_keys(owners))

    async def _add_alerts(self, owners: Sequence[_Owner], spent: Sequence[_Spent]) -> None:
        alerts = [
            alert
            for owner, amounts in zip(owners, spent, strict=True)
            for alert in _alerts(owner, amounts)
        ]
        await self._outbox.add(alerts)

    async def _spent_by_accounts(
        self, owners: Sequence[_Owner], documents: Sequence[Document]
    ) -> list[_Spent]:
        periods = {
            period for owner in owners for period in (*_periods(owner), *owner.present.pace_days)
        }
        spent = await self._ledger.spend_of_documents(documents, sorted(periods))
        return [
            _Spent(
                {period: spent.get((owner.user_id, period), 0) for period in _periods(owner)},
                sum(spent.get((owner.user_id, day), 0) for day in owner.present.pace_days),
            )
            for owner in owners
        ]

    async def _spent_by_keys(self, owners: Sequence[_Owner]) -> list[_Spent]:
        def key_of(owner: _Owner, days: tuple[str, str] | None) -> KeyPeriod:
            return KeyPeriod(owner.user_id, owner.key_id or "", days)

        key_periods = {
            key_of(owner, days)
            for owner in owners
            for days in (*map(days_of, _periods(owner)), owner.present.pace_days)
        }
        spent = await self._ledger.spend_of_keys(key_periods) if key_periods else {}
        return [
            _Spent(
                {period: spent[key_of(owner, days_of(period))].nusd for period in _periods(owner)},
                spent[key_of(owner, owner.present.pace_days)].nusd,
            )
            for owner in owners
        ]


def _periods(owner: _Owner) -> list[str]:
    return [owner.present.keys[budget.period] for budget in owner.budgets]


def _alerts(owner: _Owner, spent: _Spent) -> Iterator[Alert]:
    for budget, current in zip(owner.budgets, _periods(owner), strict=True):
        ends_at = owner.present.ends[budget.period]
        outlook = forecast(
            budget,
            owner.present,
            spent_nusd=spent.in_periods[current],
            recent_nusd=spent.recent,
            created_at=owner.created_at,
        )
        if ends_at is None or outlook.runs_out_at is None or outlook.expected_nusd is None:
            continue
        yield Alert(
            kind="budget.forecast",
            name=f"{owner.user_id}|{owner.key_id or ''}|{current}|{budget.limit_nusd}",
            user_id=owner.user_id,
            at=owner.present.now,
            until=ends_at,
            data=BudgetForecast(
                user_id=owner.user_id,
                key_id=owner.key_id,
                period=budget.period,
                current=current,
                ends_at=ends_at,
                limit_usd=nusd_to_usd(budget.limit_nusd),
                spent_usd=nusd_to_usd(spent.in_periods[current]),
                runs_out_at=outlook.runs_out_at,
                expected_usd=nusd_to_usd(outlook.expected_nusd),
            ),
        )
