"""Decides which end users, tags and asked names of an account's day have sums of their own.

Clients choose these values, so their number is bounded: those that come first in a day have sums of
their own, the others share one. What has a sum of its own keeps it.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from libs.common.storage.mongo.batched_reads import find_by_ids
from libs.common.storage.mongo.driver import Database, Document, Session, UpdateOne
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.rollup_rows import AccountDay

# Of each dimension, by account and day.
MAX_VALUES = 100
_MAX_KNOWN_DAYS = 1_000

_Values = Mapping[str, frozenset[str]]


def _id_of(day: AccountDay) -> str:
    return "|".join(day)


def _addition(day: AccountDay, values: Mapping[str, list[str]]) -> UpdateOne:
    user_id, date = day
    additions = {f"values.{name}": {"$each": texts} for name, texts in values.items()}
    fields = {"user_id": user_id, "day": date}
    return UpdateOne(
        {"_id": _id_of(day)}, {"$addToSet": additions, "$setOnInsert": fields}, upsert=True
    )


# It also makes the collection, which a transaction had better not.
INDEXES = (index("rollup_values", "day"),)


class RollupValues:
    """The collection `rollup_values`: a document per account and day that has any.

    Postings to one account exclude each other, so what is read within one is what there is.
    """

    def __init__(self, database: Database, *, max_values: int = MAX_VALUES) -> None:
        self._collection = database["rollup_values"]
        self._max_values = max_values
        # What was committed when it was read. Values are only ever added, up to the bound.
        self._known: OrderedDict[AccountDay, _Values] = OrderedDict()

    async def admit(
        self, values_by_day: Mapping[AccountDay, Mapping[str, set[str]]], session: Session
    ) -> Callable[[AccountDay, str, str], bool]:
        """Adds what there is room for. Returns which values have sums of their own."""
        unknown = [day for day, values in values_by_day.items() if self._asks(day, values)]
        if unknown:
            await self._read(unknown, session)
        added = {day: self._room(day, values_by_day[day]) for day in unknown}
        updates = [_addition(day, values) for day, values in added.items() if values]
        if updates:
            await self._collection.bulk_write(updates, session=session)
        known = {day: self._known.get(day, {}) for day in values_by_day}

        def is_own(day: AccountDay, name: str, value: str) -> bool:
            return value in known[day].get(name, ()) or value in added.get(day, {}).get(name, ())

        self._forget_oldest()
        return is_own

    def _asks(self, day: AccountDay, values: Mapping[str, set[str]]) -> bool:
        """Whether a value may have been added since, or may be added now."""
        known = self._known.get(day, {})
        return any(
            len(own := known.get(name, frozenset())) < self._max_values and not texts <= own
            for name, texts in values.items()
        )

    async def _read(self, days: list[AccountDay], session: Session) -> None:
        stored = {
            row["_id"]: row["values"]
            for row in await find_by_ids(
                self._collection, [_id_of(day) for day in days], session=session
            )
        }
        for day in days:
            values: Document = stored.get(_id_of(day), {})
            self._known[day] = {name: frozenset(own) for name, own in values.items()}
            self._known.move_to_end(day)

    def _room(self, day: AccountDay, values: Mapping[str, set[str]]) -> dict[str, list[str]]:
        known, added = self._known[day], {}
        for name, texts in values.items():
            own = known.get(name, frozenset())
            new = sorted(texts - own)[: max(self._max_values - len(own), 0)]
            if new:
                added[name] = new
        return added

    def _forget_oldest(self) -> None:
        while len(self._known) > _MAX_KNOWN_DAYS:
            self._known.popitem(last=False)
