"""How accounts and keys stand against their budgets and limits; takes no hold."""

from collections.abc import Sequence

import structlog

from libs.common.errors import Unavailable
from libs.common.schemas.holds import LimitScope, Unseeded
from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.redis.client import RedisError
from libs.common.storage.redis.standings import ScopeStanding, StandingStore
from services.gateway.admission.scopes import BudgetNow
from services.gateway.admission.spend_reader import SpendReader

log = structlog.get_logger(__name__)


class Standings:
    """Reads Redis, and MongoDB if Redis is away or has no spend of a period."""

    def __init__(self, store: StandingStore, spend: SpendReader) -> None:
        self._store = store
        self._spend = spend

    async def of(
        self, user_id: str, scopes: Sequence[LimitScope], budgets: Sequence[BudgetNow]
    ) -> Sequence[ScopeStanding] | None:
        """None while Redis is away. Raises Unavailable if MongoDB does not answer either."""
        try:
            found = await self._store.look(user_id, scopes)
            if isinstance(found, Unseeded):
                await self._spend.seed(user_id, budgets)
                found = await self._store.look(user_id, scopes)
        except (RedisError, OSError) as error:
            log.warning("budget.redis_away", error=error)
            return None
        except PyMongoError as error:
            raise _unavailable() from error
        if isinstance(found, Unseeded):
            raise _unavailable()
        return found

    async def spent(self, user_id: str, budgets: Sequence[BudgetNow]) -> list[int]:
        """What MongoDB has posted. Raises Unavailable."""
        try:
            return [
                (await self._spend.spent(user_id, now.key_id, now.period, now.days())).nusd
                for now in budgets
            ]
        except PyMongoError as error:
            raise _unavailable() from error


def _unavailable() -> Unavailable:
    return Unavailable("The gateway cannot read the account's budget. Try again in a moment.")
