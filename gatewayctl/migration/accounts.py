"""Ids, names, budgets and limits of accounts and keys, from whatever another gateway has."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from gatewayctl.migration.conversions import (
    MAX_COUNT,
    MAX_USD,
    ConvertedPeriod,
    bounded_usd,
    number,
    period_of,
    whole_count,
)
from gatewayctl.migration.plan import Fields, MigrationPlan
from gatewayctl.values import Row

# The account's metadata that tells whether it is the one that a migration made.
ORIGIN = "migrated_from"
# Of a value of metadata, which holds ids and addresses too.
MAX_TEXT = 512
UNREADABLE_MODELS = "is not a list of names: no model is allowed"
_MAX_MODELS = 256
# Allowed to a key that may use no model: there is none of this name.
NO_MODEL = "no-default-models"

_USER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,127}")
_METADATA_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:/-]{0,63}")
_MAX_NAME = 256
_MAX_METADATA = 30
_LIMITS = (
    ("rpm_limit", "requests_per_minute"),
    ("tpm_limit", "tokens_per_minute"),
    ("max_parallel_requests", "parallel_calls"),
)


class AccountIds:
    """The id of the account that an object of the source becomes: its own, if it can be one."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], str] = {}
        self._sources: dict[str, tuple[str, str]] = {}

    def of(self, kind: str, source_id: str) -> str:
        key = (kind, source_id)
        if key not in self._ids:
            user_id = source_id if _USER_ID.fullmatch(source_id) else _safe_id(source_id)
            if self._sources.get(user_id, key) != key:
                user_id = f"{kind}:{user_id}"[:128]
            if self._sources.get(user_id, key) != key:
                user_id = _safe_id(f"{kind}:{source_id}")
            self._sources[user_id] = key
            self._ids[key] = user_id
        return self._ids[key]


def _safe_id(source_id: str) -> str:
    """With a digest, so that two ids never become one."""
    digest = hashlib.sha256(source_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = re.sub(r"[^A-Za-z0-9._@:+-]+", "-", source_id).strip("-._@:+")[:100]
    return f"{stem}-{digest}" if stem else f"id-{digest}"


def printable_name(text: str) -> str:
    """As a name can be: printable, and not too long."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:_MAX_NAME]


def name_from(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        return None
    text = printable_name(value)
    if text == value:
        fields.carried(name)
    else:
        fields.adapted(name, note="is cut to what a name can be")
    return text or None


def metadata_of(fields: Fields, name: str, origin: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Pairs of texts and numbers, below the account's origin."""
    metadata = {ORIGIN: origin[:MAX_TEXT], **extra}
    if not fields.has(name):
        return metadata
    pairs = fields.inner(name)
    for key in [*pairs.names()]:
        value = pairs.get(key)
        text = value if isinstance(value, str) else None
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            text = str(value)
        fits = text is not None and len(text) <= MAX_TEXT
        if not fits or not _METADATA_KEY.fullmatch(key) or len(metadata) >= _MAX_METADATA:
            pairs.cannot(key, note="metadata here are short texts")
        elif key not in metadata:
            metadata[key] = str(text)
            pairs.carried(key)
    pairs.rest()
    return metadata


def migrated_budget(
    fields: Fields, period: ConvertedPeriod | None, *, spent: Decimal | None = None
) -> Row | None:
    """A total budget of a key is what is left of it: `spent` of it is gone."""
    max_budget = fields.get("max_budget")
    limit = number(max_budget)
    if limit is None:
        note = "is not a number" if max_budget is not None else "needs a max_budget"
        fields.cannot("max_budget", "soft_budget", note=note)
        return None
    if period is None:
        # A bound that is too low is safer than none.
        period = ConvertedPeriod("total", note="its duration cannot be read: the limit is for ever")
    notes = [period.note] if period.note else []
    limit *= period.share
    if spent and period.name == "total":
        limit, notes = limit - spent, [*notes, "is what was left of it"]
    if limit < 0 or limit > MAX_USD:
        notes.append("is between 0 and what a budget can be")
    budget: Row = {"limit_usd": bounded_usd(max(limit, Decimal(0))), "period": period.name}
    if notes:
        fields.adapted("max_budget", note="; ".join(notes))
    else:
        fields.carried("max_budget")
    soft = number(fields.get("soft_budget"))
    if soft is not None and 0 <= soft <= budget["limit_usd"]:
        budget["soft_limit_usd"] = bounded_usd(soft)
        fields.carried("soft_budget", note="is soft_limit_usd")
    else:
        fields.cannot("soft_budget", note="must lie within the budget")
    return budget


def budget_with_duration(fields: Fields, *, spent: Decimal | None = None) -> Row | None:
    duration = fields.get("budget_duration")
    period = period_of(duration if isinstance(duration, str) else None)
    budget = migrated_budget(fields, period, spent=spent)
    if budget is None:
        fields.cannot("budget_duration", "budget_reset_at", note="needs a max_budget")
    elif period is None:
        fields.cannot("budget_duration", note="cannot be read")
    elif period.note:
        fields.adapted("budget_duration", note=period.note)
    else:
        fields.carried("budget_duration")
    fields.adapted("budget_reset_at", note="periods begin by the calendar, and by themselves")
    return budget


def migrated_limits(fields: Fields) -> Row | None:
    limits: Row = {}
    for theirs, ours in _LIMITS:
        value = fields.get(theirs)
        limit = whole_count(value)
        if value is None:
            continue
        if limit is None:
            fields.cannot(theirs, note="is not a whole number from 0 on")
            continue
        limits[ours] = min(limit, MAX_COUNT)
        if limit > MAX_COUNT:
            fields.adapted(theirs, note=f"is at most {MAX_COUNT:,}")
        else:
            fields.carried(theirs)
    return limits or None


def bounds_of(fields: Fields, *, spent: Decimal | None = None) -> Row:
    """The budget and the limits of a body, where it has some."""
    budget, limits = budget_with_duration(fields, spent=spent), migrated_limits(fields)
    bounds: Row = {} if budget is None else {"budgets": [budget]}
    return bounds if limits is None else bounds | {"limits": limits}


def first_models(
    plan: MigrationPlan, fields: Fields, name: str, models: Sequence[str]
) -> list[str]:
    """As many as a key can have."""
    if len(models) > _MAX_MODELS:
        note = f"the key is allowed the first {_MAX_MODELS} of them"
        plan.say("cannot", f"{fields.kind}.{name}", fields.subject, note)
    return [*models[:_MAX_MODELS]]


def spend_of(fields: Fields, name: str = "spend") -> Decimal:
    """0 for a missing value, and for one that is not a number."""
    spent = number(fields.get(name))
    if spent is None:
        fields.cannot(name, note="is not a number")
        return Decimal(0)
    return bounded_usd(spent)


def shown_id(value: Any) -> str:
    """Of an id in a line: bounded, and printable."""
    return printable_name(str(value))[:80] or "(no id)"
