"""Carries out a plan, once: existing objects stay as they are.

Objects are found by the ids of their source, and an account's spend by its reason in the ledger, so
that a migration that was interrupted goes on where it was, and a second one changes nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator
from decimal import Decimal

from gatewayctl.client import ApiClient
from gatewayctl.errors import CommandError
from gatewayctl.migration.accounts import ORIGIN, printable_name
from gatewayctl.migration.plan import EarlierSpend, MigrationPlan
from gatewayctl.state.declaration import Declared
from gatewayctl.state.kinds import ACCOUNTS, KEYS, PRICES, ROUTES, Kind
from gatewayctl.state.reconciliation import Step, apply_all, step_of
from gatewayctl.values import Row

_ALL = 1_000_000
_QUEUED = 202
_MAX_KEY = 256


def carry_out(client: ApiClient, plan: MigrationPlan) -> Iterator[Row]:
    """Yields the outcome for each object. Raises CommandError if the API does not answer."""
    refused: set[str] = set()
    for row in _create(client, ACCOUNTS, plan.accounts):
        if row["action"] == "wrong":
            refused.add(row["name"])
        yield row
    # Before the keys, which must not find a budget that is spent already.
    for spend in plan.spends:
        if spend.user_id not in refused:
            yield _carry_spend(client, spend)
    yield from _create(client, PRICES, plan.costs)
    yield from _create(client, ROUTES, plan.routes)
    yield from _create(client, KEYS, [key for key in plan.keys if key["user_id"] not in refused])
    for key in plan.keys:
        if key["user_id"] in refused:
            yield _row("wrong", KEYS.name, KEYS.name_of(key), "its account could not be made")


def _create(client: ApiClient, kind: Kind, bodies: Iterable[Row]) -> Iterator[Row]:
    steps = (_step(client, kind, body) for body in bodies)
    for step, error in apply_all(client, steps):
        if error is not None:
            note = "; ".join((error.message, *error.details))
            yield _row("wrong", kind.name, step.name, note)
        else:
            yield _row(step.action, kind.name, step.name, step.note or _kept_note(step))


def _step(client: ApiClient, kind: Kind, body: Row) -> Step:
    step = step_of(client, Declared(kind, body, ""), creates_only=True)
    origin = body.get("metadata", {}).get(ORIGIN)
    if kind is ACCOUNTS and origin is not None and step.stored is not None:
        found = step.stored.row["metadata"].get(ORIGIN)
        if found != origin:
            note = f"exists already, and is not the {printable_name(origin)}"
            return Step("wrong", kind, step.name, body, {}, step.stored, note)
    return step


def _kept_note(step: Step) -> str:
    if not step.differences:
        return ""
    return f"exists already, with other {', '.join(step.differences)}"


def _carry_spend(client: ApiClient, spend: EarlierSpend) -> Row:
    """Spend that the source counted since the last run is added to what was carried then."""
    reason = f"Spent before it came here ({printable_name(spend.source)})"
    query = {"user_id": spend.user_id, "kind": "adjustment"}
    try:
        entries = client.pages("/admin/usage", query, _ALL)
        carried = sum(
            (Decimal(entry["cost_usd"]) for entry in entries if entry["reason"] == reason),
            Decimal(0),
        )
        missing = spend.amount_usd - carried
        if missing == 0:
            return _row("same", "spend", spend.user_id)
        body = {
            "user_id": spend.user_id,
            "kind": "adjustment",
            "amount_usd": missing,
            "reason": reason,
            "idempotency_key": _key_of(spend, carried),
        }
        answer = client.ask("POST", "/admin/ledger/corrections", body=body)
    except CommandError as error:
        if error.exit_code == CommandError.exit_code:
            raise
        return _row("wrong", "spend", spend.user_id, error.message)
    note = f"{missing:f} USD"
    if answer.status == _QUEUED:
        note += ", once the ledger worker runs"
    return _row("create", "spend", spend.user_id, note)


def _key_of(spend: EarlierSpend, carried: Decimal) -> str:
    """The same as long as neither the source nor the ledger has changed."""
    note = f"{spend.source}|{carried.normalize():f}|{spend.amount_usd:f}"
    return f"migration {hashlib.sha256(note.encode()).hexdigest()}"[:_MAX_KEY]


def _row(action: str, kind: str, name: str, note: str = "") -> Row:
    return {"action": action, "kind": kind, "name": name, "note": note}
