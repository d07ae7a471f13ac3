"""Otari: its `config.yml`, and the tables of its users, budgets, keys, aliases and prices.

It keeps the SHA-256 of secrets, as this gateway does.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from gatewayctl.documents import YamlDocument
from gatewayctl.migration.accounts import (
    NO_MODEL,
    UNREADABLE_MODELS,
    AccountIds,
    first_models,
    metadata_of,
    migrated_budget,
    name_from,
    shown_id,
    spend_of,
)
from gatewayctl.migration.columns import SourceKind, names, typed_row
from gatewayctl.migration.conversions import ConvertedPeriod, period_of_seconds, whole_count
from gatewayctl.migration.otari_models import REASONS, OtariModels
from gatewayctl.migration.plan import EarlierSpend, Fields, MigrationPlan
from gatewayctl.values import Row

USERS, BUDGETS, KEYS, ALIASES, PRICES = (
    "users", "budgets", "api_keys", "model_aliases", "model_pricing",
)  # fmt: skip
TABLES = (BUDGETS, USERS, KEYS, ALIASES, PRICES)

_COMMON: dict[str, SourceKind] = {
    "allowed_models": "json", "metadata": "json", "created_at": "time", "updated_at": "time",
    "blocked": "flag", "is_active": "flag", "exclude_from_budget": "flag", "expires_at": "time",
    "deleted_at": "time", "pricing_tiers": "json", "effective_at": "time", "last_used_at": "time",
    "reject_user_mismatch": "flag", "capture_agent_telemetry": "flag",
    "budget_started_at": "time", "next_budget_reset_at": "time",
}  # fmt: skip
_ALIGNED = {
    "calendar_day": "daily", "calendar_week": "weekly", "calendar_month": "monthly",
}  # fmt: skip
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_otari(
    document: YamlDocument | None,
    tables: Mapping[str, Sequence[Row]],
    now: datetime,
    also: Iterable[str],
) -> MigrationPlan:
    """Raises Misused, with the line."""
    reader = _Reader(now)
    models = OtariModels(reader.plan)
    if document is not None:
        models.config(document)
    rows = {name: [typed_row(row, _COMMON) for row in tables.get(name, ())] for name in TABLES}
    for row in rows[PRICES]:
        fields = Fields(reader.plan, "price", shown_id(row.get("model_key")), row)
        models.price(str(row.get("model_key") or ""), fields)
    for row in rows[ALIASES]:
        models.alias_row(row)
    budgets = {row.get("budget_id"): row for row in rows[BUDGETS]}
    for row in rows[USERS]:
        reader.user(row, budgets.get(row.get("budget_id")))
    for row in rows[BUDGETS]:
        fields = Fields(
            reader.plan, "budget", shown_id(row.get("name") or row.get("budget_id")), row
        )
        fields.rest(note="each account of it has the same of its own")
    for row in rows[KEYS]:
        reader.key(row)
    for name in also:
        reader.plan.say("cannot", name, "table", "is not read: history, or a feature not here")
    return reader.plan


class _Reader:
    def __init__(self, now: datetime) -> None:
        self.plan = MigrationPlan()
        self._now = now
        self._ids = AccountIds()
        self._models: dict[str, Sequence[str] | None] = {}
        self._hashes: set[str] = set()

    def user(self, row: Row, budget: Row | None) -> None:
        source_id = str(row.get("user_id") or "")
        fields = Fields(self.plan, "user", shown_id(row.get("alias") or source_id), row)
        if row.get("deleted_at") is not None or not source_id:
            fields.rest(note="is deleted")
            return
        user_id, origin = self._ids.of("user", source_id), f"otari user {source_id}"
        fields.carried("user_id")
        body: Row = {"user_id": user_id, "name": name_from(fields, "alias") or user_id}
        if budget is not None:
            limit = migrated_budget(
                Fields(self.plan, "budget", fields.subject, budget), _period(budget)
            )
            body |= {"budgets": [limit]} if limit is not None else {}
            fields.adapted("budget_id", note="its limit is the account's own")
        if row.get("blocked") not in (None, False):
            body["status"] = "suspended"
            fields.adapted("blocked", note="the account is suspended")
        body["metadata"] = metadata_of(fields, "metadata", origin, {})
        spent = spend_of(fields)
        if spent:
            self.plan.spends.append(EarlierSpend(user_id, origin, spent))
            fields.adapted("spend", note="is an adjustment, which counts in all current periods")
        fields.carried("spend")
        self._models[source_id] = self._allowed(fields)
        fields.adapted("allowed_models", note="each key of it is allowed these")
        fields.rest(REASONS)
        self.plan.accounts.append(body)

    def key(self, row: Row) -> None:
        fields = Fields(self.plan, "key", shown_id(row.get("key_name") or row.get("id")), row)
        reason = self._why_not(row)
        if reason is not None:
            fields.rest(note=reason)
            return
        self._hashes.add(row["key_hash"])
        fields.carried("key_hash", "user_id", note="its secret stays")
        body: Row = {
            "user_id": self._ids.of("user", row["user_id"]),
            "key_sha256": row["key_hash"],
            "name": name_from(fields, "key_name") or "",
        }
        own = self._allowed(fields)
        allowed = self._models[row["user_id"]] if own is None else own
        if allowed is not None:
            body["allowed_models"] = first_models(self.plan, fields, "allowed_models", allowed)
        fields.carried("allowed_models")
        if row.get("expires_at") is not None:
            body["expires_at"] = row["expires_at"].isoformat()
            fields.carried("expires_at")
        fields.carried("is_active")
        fields.rest(REASONS, note="keys here have no such field")
        self.plan.keys.append(body)

    def _allowed(self, fields: Fields) -> Sequence[str] | None:
        """None means every model; an unreadable list never becomes that."""
        value = fields.get("allowed_models")
        if value is None:
            return None
        models = names(value)
        if models is None:
            fields.cannot("allowed_models", note=UNREADABLE_MODELS)
        return models or [NO_MODEL]

    def _why_not(self, row: Row) -> str | None:
        hashed, expires = row.get("key_hash"), row.get("expires_at")
        if not isinstance(hashed, str) or not _SHA256.fullmatch(hashed):
            return "its key_hash is not a SHA-256"
        if hashed in self._hashes:
            return "appears twice in the source"
        if row.get("user_id") not in self._models:
            return "its user is deleted, or has no row"
        if row.get("is_active") not in (None, True):
            return "is not active: its secret stays refused"
        if expires is not None and not isinstance(expires, datetime):
            return "its time of expiry cannot be read"
        return "has expired" if expires is not None and expires <= self._now else None


def _period(budget: Row) -> ConvertedPeriod | None:
    aligned = budget.get("reset_alignment")
    if aligned is not None:
        return ConvertedPeriod(_ALIGNED[aligned]) if aligned in _ALIGNED else None
    seconds = budget.get("budget_duration_sec")
    if seconds is None:
        return ConvertedPeriod("total")
    length_s = whole_count(seconds)
    return period_of_seconds(length_s, f"{length_s} s") if length_s else None
