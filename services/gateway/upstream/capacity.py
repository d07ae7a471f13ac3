"""Bounds the connections to providers, of the process and of each account.

Each attempt at a call, relayed or translated, has a connection until its answer or stream ends. A
call without a connection is rejected before any provider is called, so no deployment has failed.
"""

import asyncio

from libs.common.errors import NoConnection
from libs.common.slots import Slots
from services.gateway.metrics import UPSTREAM_CONNECTIONS, UPSTREAM_CONNECTIONS_REFUSED

_RETRY_AFTER_S = 2


class Capacity:
    """A waiting call counts towards its account's connections."""

    def __init__(self, *, limit: int, account_limit: int, wait_s: float) -> None:
        self._slots = Slots(limit)
        self._limit = limit
        self._account_limit = account_limit
        self._wait_s = wait_s
        self._in_use = 0
        self._of_accounts: dict[str, int] = {}
        UPSTREAM_CONNECTIONS.set_function(lambda: self._in_use)

    def take_free(self, user_id: str) -> bool:
        """Whether there was one, and the account below its bound; else `take` it."""
        of_account = self._of_accounts.get(user_id, 0)
        if of_account >= self._account_limit or not self._slots.take_free():
            return False
        self._of_accounts[user_id] = of_account + 1
        self._in_use += 1
        return True

    async def take(self, user_id: str) -> None:
        """Waits up to `wait_s` if all are in use. An account at its own bound is rejected at once.

        Raises NoConnection.
        """
        of_account = self._of_accounts.get(user_id, 0)
        if of_account >= self._account_limit:
            UPSTREAM_CONNECTIONS_REFUSED.labels("account").inc()
            raise NoConnection(
                f"This account's calls use {self._account_limit} connections to providers, its "
                f"share of this gateway's {self._limit}. Try again in {_RETRY_AFTER_S} s, with "
                "fewer calls at a time.",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._of_accounts[user_id] = of_account + 1
        if not self._slots.take_free():
            try:
                await self._wait()
            except BaseException:
                self._release_share(user_id)
                raise
        self._in_use += 1

    def release(self, user_id: str) -> None:
        self._in_use -= 1
        self._release_share(user_id)
        self._slots.release()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._slots.take()
        except TimeoutError:
            UPSTREAM_CONNECTIONS_REFUSED.labels("process").inc()
            raise NoConnection(
                f"All {self._limit} connections of this gateway to providers are in use. Try again "
                f"in {_RETRY_AFTER_S} s.",
                retry_after_s=_RETRY_AFTER_S,
            ) from None

    def _release_share(self, user_id: str) -> None:
        of_account = self._of_accounts[user_id] - 1
        if of_account:
            self._of_accounts[user_id] = of_account
        else:
            del self._of_accounts[user_id]
