"""Updates Redis after a posting: releases holds and copies MongoDB's spend."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from libs.common.domain.periods import PERIODS, days_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.holds import Spent
from libs.common.schemas.spend import KeyPeriod
from libs.common.storage.mongo.account_spend import NOT_READ
from libs.common.storage.mongo.driver import Document
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.redis.client import RedisError
from libs.common.storage.redis.holds import HoldStore

# Accounts settled at a time: their scripts share a round trip and a sync of the append-only file.
# Redis serves no other client while they run.
_SETTLED_AT_ONCE = 100


class Settler:
    """Idempotent: a released hold stays released, and the newer of two figures wins."""

    def __init__(
        self,
        *,
        ledger: LedgerReader,
        holds: HoldStore,
        keys: KeyStore,
    ) -> None:
        self._ledger = ledger
        self._holds = holds
        self._keys = keys

    async def settle(
        self, entries: Sequence[LedgerEntry], accounts: Mapping[str, Document] = NOT_READ
    ) -> Mapping[str, RedisError]:
        """Settles entries of earlier postings too: their worker may have died before settling.

        `accounts` are those of the posting that has just been committed; their spend is not read
        again. Returns the errors by entry_id. The failure of one account does not affect others.
        """
        entry_ids: defaultdict[str, list[str]] = defaultdict(list)
        periods: set[str] = set()
        for entry in entries:
            entry_ids[entry.user_id].append(entry.entry_id)
            periods.update(entry.periods)
        users = sorted(entry_ids)
        spent = await self._spent(users, sorted(periods), entries, accounts) if users else {}
        failures: dict[str, RedisError] = {}
        for start in range(0, len(users), _SETTLED_AT_ONCE):
            some = users[start : start + _SETTLED_AT_ONCE]
            errors = await asyncio.gather(
                *(self._settle(user_id, entry_ids[user_id], spent[user_id]) for user_id in some)
            )
            for user_id, error in zip(some, errors, strict=True):
                if error is not None:
                    failures |= dict.fromkeys(entry_ids[user_id], error)
        return failures

    async def _spent(
        self,
        users: Sequence[str],
        periods: Sequence[str],
        entries: Sequence[LedgerEntry],
        accounts: Mapping[str, Document],
    ) -> Mapping[str, Sequence[Spent]]:
        spent: defaultdict[str, list[Spent]] = defaultdict(list)
        amounts, by_keys = await asyncio.gather(
            self._ledger.spend_with_revisions(users, periods, known=accounts),
            self._spent_by_keys(entries),
        )
        for (user_id, period), amount in amounts.items():
            row = Spent(period=period, nusd=amount.nusd, revision=amount.revision)
            spent[user_id].append(row)
        for user_id, row in by_keys:
            spent[user_id].append(row)
        return spent

    async def _spent_by_keys(self, entries: Sequence[LedgerEntry]) -> list[tuple[str, Spent]]:
        """Pairs of user_id and spend, for keys with their own budgets, in the entries' periods."""
        budgeted = await self._keys.budgeted({entry.key_id for entry in entries})
        budgets = {(key.user_id, key.key_id): key.budgets for key in budgeted}
        names: dict[KeyPeriod, str] = {}
        for entry in entries:
            for budget in budgets.get((entry.user_id, entry.key_id), ()):
                period = entry.periods[PERIODS.index(budget.period)]
                names[KeyPeriod(entry.user_id, entry.key_id, days_of(period))] = period
        if not names:
            return []
        spent = await self._ledger.spend_of_keys(names)
        return [
            (
                of.user_id,
                Spent(
                    key_id=of.key_id,
                    period=names[of],
                    nusd=amount.nusd,
                    revision=amount.revision,
                ),
            )
            for of, amount in spent.items()
        ]

    async def _settle(
        self, user_id: str, entry_ids: Sequence[str], spent: Sequence[Spent]
    ) -> RedisError | None:
        try:
            await self._holds.settle(user_id, entry_ids, spent)
        except RedisError as error:
            return error
        return None
