"""Applies declared state, in an order in which each object finds those that it names."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from gatewayctl.client import ApiClient
from gatewayctl.errors import CommandError, Misused, Refused
from gatewayctl.state.declaration import Declaration, Declared
from gatewayctl.state.differences import Differences, differences_of
from gatewayctl.state.fields import DEPLOYMENT
from gatewayctl.state.kinds import ACCOUNTS, KEYS, KINDS, PRICES, ROUTES, Kind, Stored
from gatewayctl.values import Row

Action = Literal["create", "change", "same", "keep", "remove", "wrong"]
# The key itself: no other object would fare better.
_NOT_ALLOWED = (401, 403)
_FALLBACKS = ("fallbacks", "context_fallbacks")


@dataclass(frozen=True)
class Step:
    """A change of one object, planned or done. `note` is why it failed, or a remark."""

    action: Action
    kind: Kind
    name: str
    body: Row
    differences: Differences
    stored: Stored | None = None
    note: str = ""

    def row(self) -> Row:
        changes = {n: {"from": a, "to": b} for n, (a, b) in self.differences.items()}
        return {
            "action": self.kind.removal if self.action == "remove" else self.action,
            "kind": self.kind.name,
            "name": self.name,
            "changes": changes,
            "note": self.note,
        }


def steps_of(client: ApiClient, declaration: Declaration, *, prune: bool) -> Iterator[Step]:
    """In the order in which they can be done. Raises CommandError where the API does not answer."""
    for kind in KINDS:
        for declared in declaration.of(kind):
            yield step_of(client, declared)
    for kind in reversed(KINDS) if prune else ():
        if kind.section in declaration.sections:
            yield from _removals(client, kind, declaration.of(kind))


def step_of(client: ApiClient, declared: Declared, *, creates_only: bool = False) -> Step:
    """With `creates_only`, existing objects are kept, and their differences reported."""
    kind, body, name = declared.kind, declared.body, declared.name
    try:
        stored = kind.find(client, body)
    except Refused as error:
        if error.status is not None:
            raise
        return Step("wrong", kind, name, body, {}, note=error.message)
    if stored is None:
        note = _why_not(kind, body)
        return Step("wrong" if note else "create", kind, name, body, {}, note=note)
    if kind is KEYS and stored.row.get("status") == "revoked":
        action: Action = "keep" if creates_only else "wrong"
        return Step(action, kind, name, body, {}, stored, "is revoked, for ever")
    differences = differences_of(body, stored.row, kind.shape, whole=kind.whole)
    for field in ("key_sha256", "key_id", "receiver_id"):
        differences.pop(field, None)
    if kind is ACCOUNTS and "status" not in body and stored.row["status"] == "archived":
        # An archived object that is declared again is wanted again.
        differences["status"] = ("archived", "active")
    if kind is KEYS and "user_id" in differences:
        note = f"belongs to the account {stored.row['user_id']!r}, and cannot change it"
        return Step("wrong", kind, name, body, differences, stored, note)
    if not differences:
        return Step("same", kind, name, body, {}, stored)
    # A route gets its fallbacks last: one that was made a moment ago may lack them still.
    is_begun = kind is ROUTES and all(
        n in _FALLBACKS and not before for n, (before, _) in differences.items()
    )
    action = "keep" if creates_only and not is_begun else "change"
    return Step(action, kind, name, body, differences, stored)


def _why_not(kind: Kind, body: Row) -> str:
    if kind.id_field is not None and body.get(kind.id_field):
        return f"there is no {kind.name} with this {kind.id_field}"
    if kind is KEYS and not body.get("key_sha256"):
        return "is not there, and a file has no secrets: gatewayctl keys create, or key_sha256"
    return ""


def _removals(client: ApiClient, kind: Kind, declared: Iterable[Declared]) -> Iterator[Step]:
    names: set[str] = set()
    ids: set[str] = set()
    for each in declared:
        names.add(each.name)
        if kind.id_field is not None:
            # Its name here may be another one than there.
            stored = kind.find(client, each.body)
            ids |= set() if stored is None else {stored.row[kind.id_field]}
    for row in [*kind.list_all(client)]:
        if kind.name_of(row) not in names and row.get(kind.id_field or "") not in ids:
            yield Step("remove", kind, kind.name_of(row), row, {})


def _split(step: Step) -> tuple[Step, Row]:
    """Routes may name one another: fallbacks wait until all routes are there."""
    if step.kind is not ROUTES or step.action not in ("create", "change"):
        return step, {}
    fields = step.body if step.action == "create" else step.differences
    deferred = {name: step.body[name] for name in _FALLBACKS if fields.get(name)}
    differences = {name: pair for name, pair in step.differences.items() if name not in deferred}
    body = {name: value for name, value in step.body.items() if name not in deferred}
    return replace(step, body=body, differences=differences), deferred


def _do(client: ApiClient, step: Step) -> None:
    """Raises CommandError."""
    if step.action == "create":
        step.kind.create(client, step.body)
    elif step.action == "change" and step.differences:
        _change(client, step)
    elif step.action == "remove":
        step.kind.remove(client, step.body)


def _add_fallbacks(client: ApiClient, step: Step, fallbacks: Row) -> None:
    """Raises CommandError."""
    stored = step.kind.find(client, step.body)
    if stored is not None:
        step.kind.change(client, stored, fallbacks)


def _change(client: ApiClient, step: Step) -> None:
    assert step.stored is not None  # noqa: S101 - a change is of something
    if step.kind is PRICES:
        # A price is never changed: a new version takes over from it.
        step.kind.create(client, step.body)
        return
    patch: dict[str, Any] = {name: value for name, (_, value) in step.differences.items()}
    if "deployments" in patch:
        patch["deployments"] = _with_ids(patch["deployments"], step.stored.row["deployments"])
    step.kind.change(client, step.stored, patch)


def _with_ids(declared: Sequence[Row], stored_rows: Sequence[Row]) -> list[Row]:
    """A deployment that stays the same, or the same model at the same address, keeps its id."""
    remaining = list(stored_rows)
    rows: list[Row] = []
    for row in declared:
        found = next((stored for stored in remaining if _is_same(row, stored)), None)
        found = found or next((stored for stored in remaining if _is_alike(row, stored)), None)
        if found is not None:
            remaining.remove(found)
        rows.append(row if found is None else {**row, "deployment_id": found["deployment_id"]})
    return rows


def _is_same(declared: Row, stored_row: Row) -> bool:
    return not differences_of(declared, stored_row, DEPLOYMENT, whole=True)


def _is_alike(declared: Row, stored_row: Row) -> bool:
    return all(declared.get(name) == stored_row.get(name) for name in ("model", "api_base"))


def apply_all(
    client: ApiClient, steps: Iterable[Step]
) -> Iterator[tuple[Step, CommandError | None]]:
    """Yields each step with the reason of its failure; a refused object does not stop the others.

    Raises CommandError where the API does not answer, or takes no more.
    """
    deferred: list[tuple[Step, Row]] = []
    removals: list[Step] = []
    for step in steps:
        if step.action == "remove":
            removals.append(step)
            continue
        first_step, fallbacks = _split(step)
        error = _error_of(partial(_do, client, first_step))
        if fallbacks and error is None:
            deferred.append((step, fallbacks))
        yield step, error
    for step, fallbacks in deferred:
        error = _error_of(partial(_add_fallbacks, client, step, fallbacks))
        if error is not None:
            yield step, error
    for step in removals:
        yield step, _error_of(partial(_do, client, step))


def _error_of(do: Callable[[], None]) -> CommandError | None:
    try:
        do()
    except (Misused, Refused) as error:
        if isinstance(error, Refused) and error.status in _NOT_ALLOWED:
            raise
        return error
    return None
