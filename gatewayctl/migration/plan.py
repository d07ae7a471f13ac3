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
    """`kind` is the field without the object's name, such as `team.max_budget`."""

    verdict: FieldVerdict
    kind: str
    of: str
    said: str


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

    def say(self, verdict: FieldVerdict, kind: str, of: str, said: str = "") -> None:
        self.lines.append(Line(verdict, kind, of, said))

    def add(self, other: "MigrationPlan") -> None:
        for name in ("accounts", "keys", "costs", "routes", "spends", "lines"):
            getattr(self, name).extend(getattr(other, name))


class Fields:
    """One object of the source. Each of its fields is taken once, and `rest` takes all others."""

    def __init__(self, plan: MigrationPlan, kind: str, of: str, values: Mapping[str, Any]) -> None:
        self.kind = kind
        self.of = of
        self._plan = plan
        self._values = values
        self._left = {name for name, value in values.items() if has_value(value)}

    @classmethod
    def of_value(cls, plan: MigrationPlan, kind: str, of: str, value: Any) -> "Fields":
        """The fields of a mapping; any other value is reported, and empty."""
        if isinstance(value, Mapping):
            return cls(plan, kind, of, value)
        if has_value(value):
            plan.say("cannot", kind, of, "is not a mapping")
        return cls(plan, kind, of, {})

    def names(self) -> Iterable[str]:
        return self._values.keys()

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def has(self, name: str) -> bool:
        return has_value(self._values.get(name))

    def carried(self, *names: str, said: str = "") -> None:
        self._say("carried", names, said)

    def adapted(self, *names: str, said: str) -> None:
        self._say("adapted", names, said)

    def cannot(self, *names: str, said: str = _UNKNOWN) -> None:
        self._say("cannot", names, said)

    def skip(self, *names: str) -> None:
        """Marks fields as taken; their contents get lines of their own."""
        self._left.difference_update(names)

    def inner(self, name: str) -> "Fields":
        """The fields of a mapping in a field; any other value is reported, and empty."""
        value = self._values.get(name)
        if not has_value(value):
            return Fields(self._plan, f"{self.kind}.{name}", self.of, {})
        if isinstance(value, Mapping):
            self._left.discard(name)
            return Fields(self._plan, f"{self.kind}.{name}", self.of, value)
        self.cannot(name, said="is not a mapping")
        return Fields(self._plan, f"{self.kind}.{name}", self.of, {})

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A mapping that is reported elsewhere; any other value is reported here, and empty."""
        value = self._values.get(name)
        if not isinstance(value, Mapping):
            self.cannot(name, said="is not a mapping")
            return {}
        self._left.discard(name)
        return value

    def over(self, beneath: Mapping[str, Any], *, adapted: str, said: str) -> "Fields":
        """Adds fields of another object that this one lacks. They are reported there."""
        self.adapted(adapted, said=said)
        merged = Fields(self._plan, self.kind, self.of, {**beneath, **_with_values(self._values)})
        merged._left = self._left
        return merged

    def rest(self, reasons: Mapping[str, str] | None = None, *, said: str = _UNKNOWN) -> None:
        """Reports that all other fields cannot be carried, for their own reason or this one."""
        for name in sorted(self._left):
            if self._values.get(name) == 0:
                # A counter at its start.
                self._left.discard(name)
            self.cannot(name, said=(reasons or {}).get(name, said))

    def _say(self, verdict: FieldVerdict, names: Iterable[str], said: str) -> None:
        for name in names:
            if name in self._left:
                self._left.discard(name)
                self._plan.say(verdict, f"{self.kind}.{name}", self.of, said)


def has_value(value: Any) -> bool:
    """Whether there is something to carry: nothing, false and zero are what is there by default."""
    return value is not None and value is not False and value not in ("", [], {})


def _with_values(values: Mapping[str, Any]) -> Row:
    return {name: value for name, value in values.items() if has_value(value)}
