"""The plan of a migration: the objects to make, and a line for every field of the source.

Invariant: a field with a value has one line, which is carried, adapted or cannot; a field that no
rule knows is one that cannot be carried. A plan holds no secret, only hashes of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from gatewayctl.values import Row

FieldVerdict = Literal["carried", "adapted", "cannot"]
_UNKNOWN = "has no equal here"


@dataclass(frozen=True)
class Line:
    """`kind` is the field without the name of its object (`subject`), such as `team.max_budget`."""

    verdict: FieldVerdict
    kind: str
    subject: str
    note: str


@dataclass(frozen=True)
class EarlierSpend:
    """An account's spend before the migration. `source` distinguishes it from other spends."""

    user_id: str
    source: str
    amount_usd: Decimal


@dataclass
class MigrationPlan:
    """Bodies of requests to the admin API. A key's body has `key_sha256`; a route's fallbacks may
    name one another."""

    accounts: list[Row] = field(default_factory=list)
    keys: list[Row] = field(default_factory=list)
    costs: list[Row] = field(default_factory=list)
    routes: list[Row] = field(default_factory=list)
    spends: list[EarlierSpend] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def say(self, verdict: FieldVerdict, kind: str, subject: str, note: str = "") -> None:
        self.lines.append(Line(verdict, kind, subject, note))

    def add(self, other: "MigrationPlan") -> None:
        for name in ("accounts", "keys", "costs", "routes", "spends", "lines"):
            getattr(self, name).extend(getattr(other, name))


class Fields:
    """One object of the source. Each of its fields is taken once, and `rest` takes all others."""

    def __init__(
        self, plan: MigrationPlan, kind: str, subject: str, values: Mapping[str, Any]
    ) -> None:
        self.kind = kind
        self.subject = subject
        self._plan = plan
        self._values = values
        self._remaining = {name for name, value in values.items() if has_value(value)}

    @classmethod
    def of_value(cls, plan: MigrationPlan, kind: str, subject: str, value: Any) -> "Fields":
        """The fields of a mapping; any other value is reported, and empty."""
        if isinstance(value, Mapping):
            return cls(plan, kind, subject, value)
        if has_value(value):
            plan.say("cannot", kind, subject, "is not a mapping")
        return cls(plan, kind, subject, {})

    def names(self) -> Iterable[str]:
        return self._values.keys()

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def has(self, name: str) -> bool:
        return has_value(self._values.get(name))

    def carried(self, *names: str, note: str = "") -> None:
        self._say("carried", names, note)

    def adapted(self, *names: str, note: str) -> None:
        self._say("adapted", names, note)

    def cannot(self, *names: str, note: str = _UNKNOWN) -> None:
        self._say("cannot", names, note)

    def skip(self, *names: str) -> None:
        """Marks fields as taken; their contents get lines of their own."""
        self._remaining.difference_update(names)

    def inner(self, name: str) -> "Fields":
        """The fields of a mapping in a field; any other value is reported, and empty."""
        value = self._values.get(name)
        if not has_value(value):
            return Fields(self._plan, f"{self.kind}.{name}", self.subject, {})
        if isinstance(value, Mapping):
            self._remaining.discard(name)
            return Fields(self._plan, f"{self.kind}.{name}", self.subject, value)
        self.cannot(name, note="is not a mapping")
        return Fields(self._plan, f"{self.kind}.{name}", self.subject, {})

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A mapping that is reported elsewhere; any other value is reported here, and empty."""
        value = self._values.get(name)
        if not isinstance(value, Mapping):
            self.cannot(name, note="is not a mapping")
            return {}
        self._remaining.discard(name)
        return value

    def over(self, beneath: Mapping[str, Any], *, adapted: str, note: str) -> "Fields":
        """Adds fields of another object that this one lacks. They are reported there."""
        self.adapted(adapted, note=note)
        merged = Fields(
            self._plan, self.kind, self.subject, {**beneath, **_with_values(self._values)}
        )
        merged._remaining = self._remaining
        return merged

    def rest(self, reasons: Mapping[str, str] | None = None, *, note: str = _UNKNOWN) -> None:
        """Reports that all other fields cannot be carried, for their own reason or this one."""
        for name in sorted(self._remaining):
            if self._values.get(name) == 0:
                # A counter at its start.
                self._remaining.discard(name)
            self.cannot(name, note=(reasons or {}).get(name, note))

    def _say(self, verdict: FieldVerdict, names: Iterable[str], note: str) -> None:
        for name in names:
            if name in self._remaining:
                self._remaining.discard(name)
                self._plan.say(verdict, f"{self.kind}.{name}", self.subject, note)


def has_value(value: Any) -> bool:
    """Whether there is something to carry: nothing, false and zero are what is there by default."""
    return value is not None and value is not False and value not in ("", [], {})


def _with_values(values: Mapping[str, Any]) -> Row:
    return {name: value for name, value in values.items() if has_value(value)}
