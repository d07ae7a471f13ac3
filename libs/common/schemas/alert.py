"""Alerts that operators get by webhooks, their receivers, and the outcome of each message.

The name of a kind never changes. A payload may gain fields under its `version`; any other change
is a new version.
"""

from datetime import datetime
from decimal import Decimal
from typing import Literal, get_args

import msgspec

from libs.common.schemas.account import BudgetPeriod

AlertKind = Literal[
    "budget.threshold_reached",
    "budget.exhausted",
    "budget.forecast",
    "ledger.drifted",
    "dead_letter.stored",
    "entry.unpriced",
    "deployment.cooled_down",
    "spool.not_empty",
    "key.expiring",
    "price.changed",
    "receiver.test",
]
ALERT_KINDS: tuple[AlertKind, ...] = get_args(AlertKind)
DeliveryState = Literal["pending", "delivered", "failed"]


class AlertPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The `data` of a message. Texts are bounded, or those of an id."""

    version: int = 1


class BudgetPayload(AlertPayload, frozen=True, kw_only=True):
    """`key_id` is null for the account's own budget; `current` is the period, such as `2026-11`."""

    user_id: str
    key_id: str | None
    period: BudgetPeriod
    current: str
    ends_at: datetime | None
    limit_usd: Decimal
    spent_usd: Decimal


class ThresholdReached(BudgetPayload, frozen=True, kw_only=True):
    """`percent` is null for the soft limit."""

    threshold_usd: Decimal
    percent: int | None


class BudgetExhausted(BudgetPayload, frozen=True, kw_only=True):
    """`refused_call_id` is null where the limit itself is spent."""

    refused_call_id: str | None


class BudgetForecast(BudgetPayload, frozen=True, kw_only=True):
    """At the present pace the budget is spent before the period ends."""

    runs_out_at: datetime
    expected_usd: Decimal


class LedgerDrifted(AlertPayload, frozen=True, kw_only=True):
    """`found` is null where it is not an amount; `unit` says what both are in."""

    user_id: str
    where: str
    unit: str
    expected: int
    found: int | None
    drifting_accounts: int


class DeadLetterStored(AlertPayload, frozen=True, kw_only=True):
    """The first letter of its reason within the hour."""

    letter_id: str
    letter_kind: str
    reason: str
    user_id: str | None
    call_id: str | None


class EntryUnpriced(AlertPayload, frozen=True, kw_only=True):
    """The account's first entry of the day that waits for this model's price."""

    user_id: str
    entry_id: str
    provider: str | None
    model: str | None


class DeploymentCooledDown(AlertPayload, frozen=True, kw_only=True):
    """The deployment's first cooldown within the hour, for all accounts."""

    deployment: str
    until: datetime


class SpoolNotEmpty(AlertPayload, frozen=True, kw_only=True):
    """`until` is null while the gateway's spool still has records."""

    gateway: str
    since: datetime
    until: datetime | None


class KeyExpiring(AlertPayload, frozen=True, kw_only=True):
    key_id: str
    user_id: str
    name: str
    prefix: str
    expires_at: datetime


class PriceChanged(AlertPayload, frozen=True, kw_only=True):
    """One price, or one import of `versions` of them, which then has no model."""

    change: Literal["set", "ended", "imported", "import_undone"]
    price_id: str | None
    import_id: str | None
    model: str | None
    provider: str | None
    versions: int
    effective_from: datetime | None
    effective_until: datetime | None
    made_by: str | None


class ReceiverTest(AlertPayload, frozen=True, kw_only=True):
    receiver_id: str


PAYLOADS: dict[AlertKind, type[AlertPayload]] = {
    "budget.threshold_reached": ThresholdReached,
    "budget.exhausted": BudgetExhausted,
    "budget.forecast": BudgetForecast,
    "ledger.drifted": LedgerDrifted,
    "dead_letter.stored": DeadLetterStored,
    "entry.unpriced": EntryUnpriced,
    "deployment.cooled_down": DeploymentCooledDown,
    "spool.not_empty": SpoolNotEmpty,
    "key.expiring": KeyExpiring,
    "price.changed": PriceChanged,
    "receiver.test": ReceiverTest,
}


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A fact to report. `name` identifies it: a receiver gets one alert of that name.

    `user_id` is the account that it is about, None for one about none. The same fact may be found
    again up to `until`, and where it is `endless` for ever.
    """

    kind: AlertKind
    name: str
    user_id: str | None
    at: datetime
    until: datetime | None = None
    endless: bool = False
    data: AlertPayload


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told, and of what. Without `kinds`, of all; without `user_ids`, of all accounts.

    A receiver with `user_ids` is told nothing that is about no account. Secrets are kept as they
    are, because every message is signed with them; `old_secret` signs too until `old_secret_until`.
    """

    receiver_id: str
    name: str
    url: str
    kinds: tuple[AlertKind, ...] = ()
    user_ids: tuple[str, ...] = ()
    enabled: bool = True
    secret: str
    old_secret: str | None = None
    old_secret_until: datetime | None = None
    revision: str = ""
    created_at: datetime
    updated_at: datetime

    def wants(self, kind: AlertKind, user_id: str | None) -> bool:
        in_scope = not self.user_ids or user_id in self.user_ids
        return self.enabled and in_scope and (not self.kinds or kind in self.kinds)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one receiver. `alert_id` is the message's `webhook-id`, however often sent.

    While it is pending, `due_at` is when it is tried next; `tries` counts since it was made or
    replayed. `fault` says why the last try failed. It is removed after `expires_at`; None: never.
    """

    alert_id: str
    receiver_id: str
    kind: AlertKind
    user_id: str | None
    body: str
    state: DeliveryState = "pending"
    tries: int = 0
    due_at: datetime
    created_at: datetime
    tried_at: datetime | None = None
    delivered_at: datetime | None = None
    http_status: int | None = None
    fault: str | None = None
    expires_at: datetime | None = None
