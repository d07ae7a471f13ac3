"""Reads what MongoDB has posted to budgets, and seeds Redis with it."""

from collections.abc import Sequence

from libs.common.schemas.holds import Spent
from libs.common.schemas.spend import KeyPeriod, PeriodSpend
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.redis.holds import HoldStore
from services.gateway.admission.scopes import BudgetNow


class SpendReader:
    """Reads the ledger; a key's spend is the sum over its days."""

    def __init__(self, database: Database, holds: HoldStore) -> None:
        self._ledger = LedgerReader(database)
        self._holds = holds

    async def seed(self, user_id: str, budgets: Sequence[BudgetNow]) -> None:
        """Raises PyMongoError and RedisError."""
        spent = [await self._seed_of(user_id, now) for now in budgets]
        await self._holds.seed(user_id, spent)

    async def spent(
        self, user_id: str, key_id: str | None, period: str, days: tuple[str, str] | None
    ) -> PeriodSpend:
        """Raises PyMongoError. `days` are those of a key's period, None for all."""
        if key_id is not None:
            key_period = KeyPeriod(user_id, key_id, days)
            return (await self._ledger.spend_of_keys([key_period]))[key_period]
        spends = await self._ledger.spend_with_revisions([user_id], [period])
        return spends.get((user_id, period), PeriodSpend())

    async def _seed_of(self, user_id: str, now: BudgetNow) -> Spent:
        amount = await self.spent(user_id, now.key_id, now.period, now.days())
        return Spent(
            key_id=now.key_id, period=now.period, nusd=amount.nusd, revision=amount.revision
        )
