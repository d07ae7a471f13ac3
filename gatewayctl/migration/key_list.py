"""Reads a plain CSV of keys, with their secrets or the hashes of them."""

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from gatewayctl.errors import Misused
from gatewayctl.migration.accounts import name_from, shown_id
from gatewayctl.migration.conversions import bounded_usd, number, whole_count
from gatewayctl.migration.plan import Fields, MigrationPlan
from gatewayctl.values import Row

COLUMNS = (
    "user_id", "key_sha256", "secret", "name", "allowed_models", "expires_at", "limit_usd",
    "period", "requests_per_minute", "tokens_per_minute", "parallel_calls",
)  # fmt: skip
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_PERIODS = {"total", "daily", "weekly", "monthly"}
_BUDGET = "a budget is an amount from 0 on, and total, daily, weekly or monthly"
_UNREAD = dict.fromkeys(COLUMNS, "cannot be read") | {"limit_usd": _BUDGET, "period": _BUDGET}
_LEAST_SECRET = 16


def read_keys(rows: Iterable[Row], name: str, now: datetime) -> MigrationPlan:
    """Secrets stay here: only their hashes are sent. Raises Misused without the columns."""
    plan = MigrationPlan()
    accounts: set[str] = set()
    hashes: set[str] = set()
    for place, row in enumerate(rows, 1):
        if place == 1 and not ("user_id" in row and ("key_sha256" in row or "secret" in row)):
            raise Misused(
                f"{name}:1: needs the columns user_id, and key_sha256 or secret.",
                details=[f"there may be: {', '.join(COLUMNS)}"],
            )
        fields = Fields(plan, "key", shown_id(row.get("name") or f"row {place}"), row)
        hashed = _hash(fields)
        user_id = row.get("user_id")
        reason = _why_not(row, hashed, hashes, now)
        if hashed is None or user_id is None or reason is not None:
            fields.rest(note=reason or "has neither a secret nor its SHA-256")
            continue
        hashes.add(hashed)
        fields.carried("key_sha256")
        fields.adapted("secret", note="only its SHA-256 is sent")
        if user_id not in accounts:
            accounts.add(user_id)
            plan.accounts.append({"user_id": user_id})
        fields.carried("user_id")
        plan.keys.append({"user_id": user_id, "key_sha256": hashed, **_terms(fields)})
        fields.rest(_UNREAD, note="is not a column of a key")
    return plan


def _hash(fields: Fields) -> str | None:
    digest, secret = fields.get("key_sha256"), fields.get("secret")
    if isinstance(digest, str) and _SHA256.fullmatch(digest):
        return digest.lower()
    if isinstance(secret, str) and len(secret) >= _LEAST_SECRET:
        return hashlib.sha256(secret.encode()).hexdigest()
    return None


def _why_not(row: Row, hashed: str | None, hashes: set[str], now: datetime) -> str | None:
    if row.get("user_id") is None:
        return "has no user_id"
    if hashed is None:
        return f"has no SHA-256, and no secret of at least {_LEAST_SECRET} characters"
    if hashed in hashes:
        return "is there twice"
    if row.get("expires_at") is None:
        return None
    expires = _time(row["expires_at"])
    if expires is None:
        return "its expires_at is not a time"
    return "has expired" if expires <= now else None


def _terms(fields: Fields) -> Row:
    body: Row = {"name": name_from(fields, "name") or ""}
    models = (fields.get("allowed_models") or "").split()
    if models:
        body["allowed_models"] = list(dict.fromkeys(models))
        fields.carried("allowed_models")
    expires = _time(fields.get("expires_at") or "")
    if expires is not None:
        body["expires_at"] = expires.isoformat()
        fields.carried("expires_at")
    limit, period = number(fields.get("limit_usd")), fields.get("period") or "total"
    if limit is not None and limit >= 0 and period in _PERIODS:
        body["budgets"] = [{"limit_usd": bounded_usd(limit), "period": period}]
        fields.carried("limit_usd", "period")
    limits = {}
    for name in ("requests_per_minute", "tokens_per_minute", "parallel_calls"):
        count = whole_count(fields.get(name))
        if count is not None:
            limits[name] = count
            fields.carried(name)
    return body | ({"limits": limits} if limits else {})


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
