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
        self._taken: dict[str, tuple[str, str]] = {}

    def of(self, kind: str, source_id: str) -> str:
        key = (kind, source_id)
        if key not in self._ids:
            wanted = source_id if _USER_ID.fullmatch(source_id) else _cleaned(source_id)
            if self._taken.get(wanted, key) != key:
                wanted = f"{kind}:{wanted}"[:128]
            if self._taken.get(wanted, key) != key:
                wanted = _cleaned(f"{kind}:{source_id}")
            self._taken[wanted] = key
            self._ids[key] = wanted
        return self._ids[key]


def _cleaned(source_id: str) -> str:
    """With a digest, so that two ids never become one."""
    digest = hashlib.sha256(source_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    kept = re.sub(r"[^A-Za-z0-9._@:+-]+", "-", source_id).strip("-._@:+")[:100]
    return f"{kept}-{digest}" if kept else f"id-{digest}"


def printable_name(text: str) -> str:
    """As a name can be: printable, and not too long."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:_MAX_NAME]


def named(fields: Fields, name: str) -> str | None:
    given = fields.get(name)
    if not isinstance(given, str) or not given:
        return None
    shown = printable_name(given)
    if shown == given:
        fields.carried(name)
    else:
        fields.adapted(name, said="is cut to what a name can be")
    return shown or None


def metadata_of(fields: Fields, name: str, origin: str, also: Mapping[str, str]) -> dict[str, str]:
    """Pairs of texts and numbers, below the account's origin."""
    kept = {ORIGIN: origin[:MAX_TEXT], **also}
    if not fields.has(name):
        return kept
    inner = fields.inner(name)
    for key in [*inner.names()]:
        value = inner.get(key)
        text = value if isinstance(value, str) else None
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            text = str(value)
        fits = text is not None and len(text) <= MAX_TEXT
        if not fits or not _METADATA_KEY.fullmatch(key) or len(kept) >= _MAX_METADATA:
            inner.cannot(key, said="metadata here are short texts")
        elif key not in kept:
            kept[key] = str(text)
            inner.carried(key)
    inner.rest()
    return kept


def migrated_budget(
    fields: Fields, period: ConvertedPeriod | None, *, spent: Decimal | None = None
) -> Row | None:
    """A total budget of a key is what is left of it: `spent` of it is gone."""
    given = fields.get("max_budget")
    limit = number(given)
    if limit is None:
        said = "is not a number" if given is not None else "needs a max_budget"
        fields.cannot("max_budget", "soft_budget", said=said)
        return None
    if period is None:
        # A bound that is too low is safer than none.
        period = ConvertedPeriod("total", said="its duration cannot be read: the limit is for ever")
    notes = [period.said] if period.said else []
    limit *= period.share
    if spent and period.name == "total":
        limit, notes = limit - spent, [*notes, "is what was left of it"]
    if limit < 0 or limit > MAX_USD:
        notes.append("is between 0 and what a budget can be")
    budget: Row = {"limit_usd": bounded_usd(max(limit, Decimal(0))), "period": period.name}
    if notes:
        fields.adapted("max_budget", said="; ".join(notes))
    else:
        fields.carried("max_budget")
    soft = number(fields.get("soft_budget"))
    if soft is not None and 0 <= soft <= budget["limit_usd"]:
        budget["soft_limit_usd"] = bounded_usd(soft)
        fields.carried("soft_budget", said="is soft_limit_usd")
    else:
        fields.cannot("soft_budget", said="must lie within the budget")
    return budget


def budget_with_duration(fields: Fields, *, spent: Decimal | None = None) -> Row | None:
    duration = fields.get("budget_duration")
    period = period_of(duration if isinstance(duration, str) else None)
    budget = migrated_budget(fields, period, spent=spent)
    if budget is None:
        fields.cannot("budget_duration", "budget_reset_at", said="needs a max_budget")
    elif period is None:
        fields.cannot("budget_duration", said="cannot be read")
    elif period.said:
        fields.adapted("budget_duration", said=period.said)
    else:
        fields.carried("budget_duration")
    fields.adapted("budget_reset_at", said="periods begin by the calendar, and by themselves")
    return budget


def migrated_limits(fields: Fields) -> Row | None:
    limits: Row = {}
    for theirs, ours in _LIMITS:
        given = fields.get(theirs)
        limit = whole_count(given)
        if given is None:
            continue
        if limit is None:
            fields.cannot(theirs, said="is not a whole number from 0 on")
            continue
        limits[ours] = min(limit, MAX_COUNT)
        if limit > MAX_COUNT:
            fields.adapted(theirs, said=f"is at most {MAX_COUNT:,}")
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
        said = f"the key is allowed the first {_MAX_MODELS} of them"
        plan.say("cannot", f"{fields.kind}.{name}", fields.of, said)
    return [*models[:_MAX_MODELS]]


def spend_of(fields: Fields, name: str = "spend") -> Decimal:
    """0 for a missing value, and for one that is not a number."""
    spent = number(fields.get(name))
    if spent is None:
        fields.cannot(name, said="is not a number")
        return Decimal(0)
    return bounded_usd(spent)


def shown_id(value: Any) -> str:
    """Of an id in a line: bounded, and printable."""
    return printable_name(str(value))[:80] or "(no id)"
