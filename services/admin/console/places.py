"""The navigation: each place is open to whoever may call the verb that it reads with."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from services.admin import (
    accounts,
    costs,
    keys,
    ledger_health,
    models,
    shown_settings,
    usage,
    usage_sums,
)
from services.admin.alerts import deliveries
from services.admin.audit import audit
from services.admin.people import people

Verb = Callable[..., Awaitable[Any]]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """`noun` is what its forms make and change: they are at `/console/new/NOUN`, and at `edit`.

    So no name of an account or a route can be that of a form. `more` are paths of further pages.
    """

    path: str
    name: str
    reads: Verb
    noun: str = ""
    more: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether the page at the path is one of the place's."""
        of_noun = tuple(f"/console/{what}/{self.noun}" for what in ("new", "edit") if self.noun)
        return any(
            path == each or (path.startswith(f"{each}/") and each != "/console")
            for each in (self.path, *self.more, *of_noun)
        )


PLACES = (
    Place(
        path="/console",
        name="Overview",
        reads=usage_sums.show_summary,
        more=("/console/budgets",),
    ),
    Place(path="/console/accounts", name="Accounts", reads=accounts.list_accounts, noun="account"),
    Place(path="/console/keys", name="Keys", reads=keys.list_keys, noun="key"),
    Place(path="/console/calls", name="Calls", reads=usage.list_usage, noun="correction"),
    Place(path="/console/prices", name="Prices", reads=costs.list_costs, noun="price"),
    Place(path="/console/models", name="Models", reads=models.list_models, noun="route"),
    Place(path="/console/ledger", name="Ledger", reads=ledger_health.show_ledger_health),
    Place(path="/console/audit", name="Audit", reads=audit.list_audit),
    Place(path="/console/alerts", name="Alerts", reads=deliveries.list_alerts, noun="receiver"),
    Place(path="/console/people", name="People", reads=people.list_people, noun="person"),
    Place(path="/console/settings", name="Settings", reads=shown_settings.show_settings),
)


def places_open_to(may: Callable[[Verb], bool]) -> Sequence[Place]:
    """Places that the role or scope forbids are not shown."""
    return [place for place in PLACES if may(place.reads)]
