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
from libs.common.storage.redis.client import RedisError, ResponseError
from libs.common.storage.redis.holds import HoldStore, Settlement

# Accounts of a shard settled at a time, by one script; Redis serves no other client while it runs.
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
        by_shard: defaultdict[int, dict[str, Settlement]] = defaultdict(dict)
        for user_id in users:
            shard = self._holds.shards.of(user_id)
            by_shard[shard][user_id] = (entry_ids[user_id], spent[user_id])
        answers = await asyncio.gather(*map(self._settle_shard, by_shard.values()))
        return {
            entry_id: error
            for errors in answers
            for user_id, error in errors.items()
            for entry_id in entry_ids[user_id]
        }

    async def _settle_shard(self, accounts: Mapping[str, Settlement]) -> dict[str, RedisError]:
        """Returns the errors by user_id."""
        errors: dict[str, RedisError] = {}
        users = list(accounts)
        for start in range(0, len(users), _SETTLED_AT_ONCE):
            part = users[start : start + _SETTLED_AT_ONCE]
            errors |= await self._settle({user_id: accounts[user_id] for user_id in part})
        return errors

    async def _settle(self, accounts: Mapping[str, Settlement]) -> dict[str, RedisError]:
        try:
            await self._holds.settle_all(accounts)
        except ResponseError as error:
            if len(accounts) == 1:
                return dict.fromkeys(accounts, error)
            alone = [self._settle({user_id: each}) for user_id, each in accounts.items()]
            answers = await asyncio.gather(*alone)
            return {user_id: each for errors in answers for user_id, each in errors.items()}
        except RedisError as error:
            return dict.fromkeys(accounts, error)
        return {}

    async def _spent(
        self,
        users: Sequence[str],
        periods: Sequence[str],
        entries: Sequence[LedgerEntry],
        accounts: Mapping[str, Document],
    ) -> Mapping[str, Sequence[Spent]]:
        spent: defaultdict[str, list[Spent]] = defaultdict(list)
        amounts, by_keys = await asyncio.gather(
            self._ledger.spend_with_revisions(users, periods, accounts=accounts),
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
                key_period.user_id,
                Spent(
                    key_id=key_period.key_id,
                    period=names[key_period],
                    nusd=amount.nusd,
                    revision=amount.revision,
                ),
            )
            for key_period, amount in spent.items()
        ]
