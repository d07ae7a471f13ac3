"""Notifies a webhook when the spend of an account or key reaches a soft limit, once per period.

Only spend that MongoDB committed counts: neither rejected nor running calls do. A message is
delivered at least once; its `id` identifies duplicates.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from urllib.parse import urlsplit

import msgspec
import structlog
from cachetools import LRUCache

from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import period_end, period_key, zone_of
from libs.common.schemas.account import Account, Budget, BudgetPeriod
from libs.common.schemas.holds import Spent
from libs.common.settings import Secret, SettingsError
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.redis.notices import NoticeStore
from libs.common.web.http_client import HttpClient, HttpUnreachable
from libs.common.web.json import encode_json
from services.ledger_worker.metrics import Metrics

log = structlog.get_logger(__name__)
_TIMEOUT_S = 5.0
# Longer than sending can take, so that no other worker sends the message meanwhile.
_LEASE_S = 30
# Delays of 2, 4, 8, … 256 and then 300 seconds: about an hour in all.
_MAX_TRIES = 18
_MAX_DELAY_S = 300
# Messages per turn; the rest wait for the next turn.
_MAX_SENT = 100
_MAX_NOTICED = 10_000


class SoftLimitReached(msgspec.Struct, frozen=True, kw_only=True, tag="budget.soft_limit_reached"):
    """The body of the message; `key_id` is null for the account's own budget."""

    id: str
    user_id: str
    key_id: str | None
    period: BudgetPeriod
    current: str
    ends_at: datetime | None
    soft_limit_usd: Decimal
    limit_usd: Decimal
    spent_usd: Decimal
    noticed_at: datetime


class SoftLimitWatch:
    """Compares committed spend with soft limits and queues a notice for each one reached."""

    def __init__(
        self,
        *,
        notices: NoticeStore,
        accounts: AccountStore,
        keys: KeyStore,
        now: Callable[[], datetime],
    ) -> None:
        self._notices = notices
        self._accounts = accounts
        self._keys = keys
        self._now = now
        self._noticed: LRUCache[str, bool] = LRUCache(_MAX_NOTICED)

    async def check(self, spent: Mapping[str, Sequence[Spent]]) -> None:
        """`spent` is by user_id. Raises RedisError and PyMongoError."""
        accounts = await self._accounts.get_many(spent)
        key_ids = {row.key_id for rows in spent.values() for row in rows if row.key_id is not None}
        keys = await self._keys.budgeted(key_ids) if key_ids else []
        for account in accounts:
            rows = {(row.key_id, row.period): row.nusd for row in spent[account.user_id]}
            await self._check_owner(account, None, account.budgets, rows)
            for key in keys:
                if key.user_id == account.user_id:
                    await self._check_owner(account, key.key_id, key.budgets, rows)

    async def _check_owner(
        self,
        account: Account,
        key_id: str | None,
        budgets: Iterable[Budget],
        rows: Mapping[tuple[str | None, str], int],
    ) -> None:
        now, zone = self._now(), zone_of(account.time_zone)
        for budget in budgets:
            current = period_key(budget.period, now, zone)
            nusd = rows.get((key_id, current))
            soft = budget.soft_limit_nusd
            if nusd is None or soft is None or nusd < soft:
                continue
            name = f"{account.user_id}|{key_id or ''}|{budget.period}|{current}|{soft}"
            if name in self._noticed:
                continue
            message = _message(name, account.user_id, key_id, budget, current, nusd, now, zone)
            await self._notices.add(name, encode_json(message))
            self._noticed[name] = True


class Webhook:
    """Sends queued notices; retries an unavailable receiver for about an hour."""

    def __init__(self, notices: NoticeStore, client: HttpClient, metrics: Metrics) -> None:
        self._notices = notices
        self._client = client
        self._metrics = metrics

    async def send_all(self) -> None:
        """Raises RedisError."""
        for _ in range(_MAX_SENT):
            notice = await self._notices.take(lease_s=_LEASE_S)
            if notice is None:
                return
            fault = await self._send(notice.payload)
            if fault is None:
                self._metrics.notices.labels("sent").inc()
                await self._notices.done(notice.name)
            elif notice.tries >= _MAX_TRIES:
                self._metrics.notices.labels("given up").inc()
                log.error("notice.dropped", notice=notice.name, fault=fault)
                await self._notices.done(notice.name)
            else:
                log.warning("notice.postponed", notice=notice.name, fault=fault)
                delay_s = min(2**notice.tries, _MAX_DELAY_S)
                await self._notices.put_back(notice.name, delay_s=delay_s)

    async def _send(self, payload: bytes) -> str | None:
        """Returns what went wrong, without the receiver's own words: they may hold secrets."""
        try:
            answer = await self._client.post("", [], payload)
        except HttpUnreachable as error:
            return str(error)
        return None if 200 <= answer.status < 300 else f"it answered {answer.status}"


def webhook_client(url: Secret) -> HttpClient:
    """Raises SettingsError without the URL, which may hold a token."""
    try:
        parts = urlsplit(url.reveal())
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.reveal().isascii() or not url.reveal().isprintable():
        raise SettingsError("BUDGET_WEBHOOK_URL is wrong: it must be an http or https URL")
    return HttpClient(
        url.reveal(), name="The webhook", setting="BUDGET_WEBHOOK_URL", timeout_s=_TIMEOUT_S
    )


def _message(
    name: str,
    user_id: str,
    key_id: str | None,
    budget: Budget,
    current: str,
    nusd: int,
    now: datetime,
    zone: tzinfo,
) -> SoftLimitReached:
    soft = 0 if budget.soft_limit_nusd is None else budget.soft_limit_nusd
    return SoftLimitReached(
        id=name,
        user_id=user_id,
        key_id=key_id,
        period=budget.period,
        current=current,
        ends_at=period_end(budget.period, now, zone),
        soft_limit_usd=nusd_to_usd(soft),
        limit_usd=nusd_to_usd(budget.limit_nusd),
        spent_usd=nusd_to_usd(nusd),
        noticed_at=now,
    )
