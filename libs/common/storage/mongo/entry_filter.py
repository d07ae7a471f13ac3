"""The filter of a list of usage, as a query of the collection `entries`."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from libs.common.domain.periods import period_bounds
from libs.common.domain.traces import call_id_of, trace_of
from libs.common.schemas.entry import EntryKind, EntryStatus, LedgerEntry
from libs.common.schemas.usage import UsageSource
from libs.common.storage.mongo.driver import Document

_EQUAL = (
    "user_id",
    "key_id",
    "provider",
    "deployment",
    "status",
    "error_code",
    "kind",
    "usage_source",
    "client_user",
    "provider_request_id",
)
# Fields with an index of their own, in the order of start times, for their rare values: what is
# above or below these. Calls that went well, without an end user, are in none of them.
RARE: tuple[tuple[str, Literal["above", "below"], str], ...] = (
    ("error_code", "above", ""),
    ("client_user", "above", ""),
    ("tags", "above", ""),
    ("kind", "above", "call"),
    ("status", "above", "ok"),
    ("status", "below", "ok"),
    ("usage_source", "below", "provider"),
)


class EntryPlace(msgspec.Struct, frozen=True):
    """Where an entry stands in a list, which is the newest start first."""

    started_at: datetime
    entry_id: str


class IndexedQuery(msgspec.Struct, frozen=True):
    """An index serves the `lead` by itself; the `rest` are the other conditions."""

    lead: Document
    rest: Document

    def also(self, conditions: Document) -> "IndexedQuery":
        """With conditions on what entries are ordered by."""
        if self.lead.keys() & {"provider_request_id", "traceparent", "_id"}:
            return IndexedQuery(self.lead, self.rest | conditions)
        return IndexedQuery(self.lead | conditions, self.rest)


class EntryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """None leaves a field out. `since` is inclusive, `until` exclusive, `above_nusd` too.

    `period` is the key of a month, a week or a day, in which the entries count. `model` is the name
    that was asked for, the one that was routed to, or provider/model. `before` is the place of the
    last entry that was seen: `stretches` go on after it.
    """

    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    period: str | None = None
    model: str | None = None
    key_id: str | None = None
    provider: str | None = None
    deployment: str | None = None
    status: EntryStatus | None = None
    error_code: str | None = None
    kind: EntryKind | None = None
    usage_source: UsageSource | None = None
    client_user: str | None = None
    provider_request_id: str | None = None
    trace_id: str | None = None
    above_nusd: int | None = None
    tag: str | None = None
    before: EntryPlace | None = None

    @property
    def rare(self) -> str | None:
        """Of all accounts: the field whose index finds them, for a value that few entries have."""
        if self.user_id is None:
            for name, side, bound in RARE:
                value = self._value_of(name)
                if value is not None and (value > bound if side == "above" else value < bound):
                    return name
        return None

    def _value_of(self, name: str) -> str | None:
        """The value that a field of an entry is asked to have, or to contain."""
        value: str | None = getattr(self, "tag" if name == "tags" else name)
        return value

    def in_order(self) -> Document:
        """What an index on start times serves by itself."""
        lead = self.rare or "user_id"
        value = self._value_of(lead)
        query: Document = {} if value is None else {lead: value}
        bounds: Document = {}
        if self.since is not None:
            bounds["$gte"] = self.since
        if self.until is not None:
            bounds["$lt"] = self.until
        if self.period is not None:
            since, until = period_bounds(self.period)
            bounds["$gte"] = max(since, bounds.get("$gte", since))
            bounds["$lt"] = min(until, bounds.get("$lt", until))
        if bounds:
            query["started_at"] = bounds
        return query

    def queries(self) -> "list[IndexedQuery]":
        """All conditions but `before`: what any of these finds."""
        rest = self._rest()
        if self.trace_id is not None:
            rest |= self.in_order()
            return [IndexedQuery(lead, rest | extra) for lead, extra in _traced(self.trace_id)]
        if self.provider_request_id is not None:
            lead = {"provider_request_id": self.provider_request_id}
            return [IndexedQuery(lead, rest | self.in_order())]
        return [IndexedQuery(self.in_order(), rest)]

    def _rest(self) -> Document:
        """What `in_order` leaves out."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _EQUAL}
        lead = self.in_order()
        query = {n: value for n, value in values.items() if value is not None and n not in lead}
        if self.above_nusd is not None:
            query["cost_nusd"] = {"$gt": self.above_nusd}
        if self.period is not None:
            query["periods"] = self.period
        if self.tag is not None and "tags" not in lead:
            query["tags"] = self.tag
        if self.model is not None:
            query["$or"] = [*_name_conditions(self.model), {"requested_model": self.model}]
        return query

    def matches(self, entry: LedgerEntry) -> bool:
        """As the query would find it, among those of its account and its times."""
        conditions = [(name, getattr(self, name)) for name in _EQUAL]
        return (
            all(value is None or getattr(entry, name) == value for name, value in conditions)
            and (self.above_nusd is None or entry.cost_nusd > self.above_nusd)
            and (self.period is None or self.period in entry.periods)
            and (self.tag is None or self.tag in entry.tags)
            and self.trace_id in (None, trace_of_entry(entry))
            and self.model
            in (None, entry.model, entry.requested_model, f"{entry.provider}/{entry.model}")
        )

    @property
    def is_selective(self) -> bool:
        """Whether more is asked than the order of entries serves, so that many may be read."""
        indexed = ("user_id", "provider_request_id", self.rare)
        names = [name for name in _EQUAL if name not in indexed]
        names += ["model", "above_nusd", "period"] + (["tag"] if self.rare != "tags" else [])
        values = [getattr(self, name) for name in names]
        return not self.is_of_few and any(value is not None for value in values)

    @property
    def is_of_few(self) -> bool:
        """Whether an index of its own finds what is wanted: one request, or one trace."""
        return self.provider_request_id is not None or self.trace_id is not None


def trace_of_entry(entry: LedgerEntry) -> str | None:
    """The trace that the entry's call belongs to; None for a correction."""
    return trace_of(entry.entry_id, entry.traceparent) if entry.kind == "call" else None


def _traced(trace_id: str) -> list[tuple[Document, Document]]:
    """Lead and rest: of a client's trace, and the call whose own trace it is.

    None for what is not a trace's id.
    """
    call_id = call_id_of(trace_id)
    if call_id is None:
        return []
    # A `-` follows the trace, and a `.` follows the `-`.
    of_client = {"$gte": f"00-{trace_id}-", "$lt": f"00-{trace_id}."}
    return [
        ({"traceparent": of_client}, {"$and": [{"kind": "call"}]}),
        ({"_id": call_id}, {"$and": [{"kind": "call", "traceparent": None}]}),
    ]


def of_model(name: str) -> Document:
    """What is of the model, by the name that was routed to or provider/model."""
    conditions = _name_conditions(name)
    return {"$or": conditions} if len(conditions) > 1 else conditions[0]


def _name_conditions(name: str) -> list[Document]:
    provider, slash, model = name.partition("/")
    conditions: list[Document] = [{"model": name}]
    if slash and provider and model:
        conditions.append({"provider": provider, "model": model})
    return conditions
