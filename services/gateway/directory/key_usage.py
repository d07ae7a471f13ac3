"""What a key used lately, for its holder: from rollups, kept for a moment.

So a holder who asks all the time costs MongoDB one read in that moment, from each replica.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

import msgspec

from libs.common.cache import LoadingCache
from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import period_key, zone_of
from libs.common.errors import Unavailable
from libs.common.storage.mongo.driver import Database, PyMongoError
from libs.common.storage.mongo.rollup_filter import RollupFilter, Sums
from libs.common.storage.mongo.rollups import RollupReader
from libs.common.storage.mongo.sum_tables import TooManyGroups
from services.gateway.calls.principal import Principal

_DAYS = 30
_MAX_MODELS = 100
_TTL_S = 10.0
_MAX_KEPT = 1_000
_READ_TIMEOUT_S = 2.0


class UsedView(msgspec.Struct, frozen=True, kw_only=True):
    """`tokens` are by class, those reported. A correction changes the cost of its call's day."""

    cost_usd: Decimal
    calls: int
    tokens: dict[str, int]


class DayView(UsedView, frozen=True, kw_only=True):
    day: str


class ModelView(UsedView, frozen=True, kw_only=True):
    """`model` is the name that calls asked for; null where they did not say, or long ago."""

    model: str | None


class RecentUsage(msgspec.Struct, frozen=True, kw_only=True):
    """From the day `since` through the day `until`, today; of `models` the dearest hundred."""

    since: date
    until: date
    total: UsedView
    days: tuple[DayView, ...]
    models: tuple[ModelView, ...]


class KeyUsage:
    """Reads the key's own rollups, and nobody else's."""

    def __init__(self, database: Database, *, ttl_s: float = _TTL_S) -> None:
        self._rollups = RollupReader(database)
        self._cache: LoadingCache[RecentUsage] = LoadingCache(
            self._read, max_items=_MAX_KEPT, ttl_s=ttl_s, negative_ttl_s=ttl_s
        )

    async def of(self, principal: Principal, at: datetime) -> RecentUsage:
        """Of the last days in the account's zone. Raises Unavailable."""
        key = principal.key
        today = period_key("daily", at, zone_of(principal.account.time_zone))
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                usage = await self._cache.get("|".join((today, key.user_id, key.key_id)))
        except (PyMongoError, TimeoutError, TooManyGroups) as error:
            raise _unavailable() from error
        if usage is None:
            raise _unavailable()
        return usage

    async def _read(self, name: str) -> RecentUsage:
        today, user_id, key_id = name.split("|", 2)
        until = date.fromisoformat(today)
        rollup_filter = RollupFilter(
            since=until - timedelta(days=_DAYS - 1),
            until=until + timedelta(days=1),
            user_id=user_id,
            key_id=key_id,
        )
        days = await self._rollups.sums(rollup_filter, ("day",), limit=_DAYS)
        models = await self._rollups.sums(rollup_filter, ("requested_model",), limit=_MAX_MODELS)
        return RecentUsage(
            since=rollup_filter.since,
            until=until,
            total=_total_view(days),
            days=tuple(
                DayView(day=row.group[0], **msgspec.structs.asdict(_used_view(row)))
                for row in sorted(days, key=lambda row: row.group)
            ),
            models=tuple(
                ModelView(model=row.group[0] or None, **msgspec.structs.asdict(_used_view(row)))
                for row in models
            ),
        )


def _unavailable() -> Unavailable:
    return Unavailable("The gateway cannot read the key's usage. Try again in a moment.")


def _total_view(days: Sequence[Sums]) -> UsedView:
    tokens: Counter[str] = Counter()
    for day in days:
        tokens.update(day.tokens)
    return UsedView(
        cost_usd=nusd_to_usd(sum(day.cost_nusd for day in days)),
        calls=sum(day.calls for day in days),
        tokens=dict(tokens),
    )


def _used_view(sums: Sums) -> UsedView:
    return UsedView(cost_usd=nusd_to_usd(sums.cost_nusd), calls=sums.calls, tokens=sums.tokens)
