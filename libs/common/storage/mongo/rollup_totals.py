"""Sums of all accounts together: what the collection `rollups` holds, by day, model and provider.

A document of the collection `rollup_totals` is laid out as a rollup. A slot in its id keeps the
transactions of several workers apart. Cells are most of a document, so there are two of each: the
one by `day` has the sums and a cell for each status, named as the day's first hour; the one by
`hour` has the rollups' cells, and sums only where there are none.

The document `state` tells whether the totals are `whole`. They are where they count as many entries
as the accounts do: a worker of an earlier release, which knows no totals, counts its entries in the
accounts alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from libs.common.storage.mongo.driver import (
    Database,
    Document,
    OperationFailure,
    Session,
    UpdateOne,
    in_transaction,
)
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.rollup_rows import CELL_TIME_CHARS, CELLS_VERSION, RollupRow

# More workers than slots post one after another where they post to the same day and model.
_SLOTS = 16
_FILLED = "filled"
_STATE = "state"
_CELL = "cells."
_CELL_CHARS = len(_CELL) + CELL_TIME_CHARS
# Documents of different layouts (`v`) have no sum in common.
_OF = ("day", "model", "provider", "v")
_ADDED = ("cost_nusd", "calls", "corrections", "status", "tokens", "cells")
_EITHER: Document = {"$in": ["day", "hour"]}
_BY_DAY: Document = {"$match": {"by": "day"}}
# What was never added to is missing.
_ENTRIES: Document = {
    "$sum": {"$add": [{"$ifNull": [f"${name}", 0]} for name in ("calls", "corrections")]}
}

# What is added, by path, for each value of `_OF`.
_Totals = dict[tuple[Any, ...], Counter[str]]

INDEXES = (index("rollup_totals", "by", "day"),)


class RollupTotals:
    """Adds to the totals, makes those of earlier days, and tells whether they are whole."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.collection = database["rollup_totals"]
        self._rollups = database["rollups"]
        self._slot = 0

    async def add(self, rows: Mapping[str, RollupRow], session: Session) -> None:
        """In the transaction that adds these rows to the rollups."""
        try:
            updates = total_updates(rows.values(), str(self._slot))
            await self.collection.bulk_write(updates, session=session)
        except OperationFailure:
            # Another worker posts to this slot, so the next try and all later ones use another.
            self._slot = (self._slot + 1) % _SLOTS
            raise

    async def are_whole(self) -> bool:
        state = await self.collection.find_one({"_id": _STATE})
        return state is not None and state["whole"]

    async def check(self) -> bool:
        """Keeps in the state, and returns, whether no entry is missing.

        In one transaction, so that no check overwrites what a later one found.
        """

        async def work(session: Session) -> bool:
            number = {"$group": {"_id": None, "entries": {"$sum": "$entries"}}}
            accounts = self._database["accounts"].aggregate([number], session=session)
            added = {"$group": {"_id": None, "entries": _ENTRIES}}
            totals = self.collection.aggregate([_BY_DAY, added], session=session)
            counts = [await cursor.to_list(1) for cursor in (accounts, totals)]
            expected, found = (int(rows[0]["entries"]) if rows else 0 for rows in counts)
            state = {"$set": {"whole": found == expected}}
            await self.collection.update_one({"_id": _STATE}, state, upsert=True, session=session)
            return found == expected

        return await in_transaction(self._database, work)

    async def fill(self) -> bool:
        """Makes the totals of all days anew, while others post. Returns whether they are whole."""
        for day in await self._rollups.distinct("day"):
            await in_transaction(self._database, partial(self._fill, day))
        return await self.check()

    async def _fill(self, day: str, session: Session) -> None:
        """What is posted meanwhile is in neither sum, or changes a document that is removed.

        Then one of both transactions is repeated.
        """
        await self.collection.delete_many({"by": _EITHER, "day": day}, session=session)
        totals: _Totals = {}
        # As many as accounts and keys made in the day: only their sums are kept.
        async for document in self._rollups.find({"day": day}, session=session):
            added: Counter[str] = Counter()
            for name in _ADDED:
                _flatten(name, document.get(name), added)
            _add_up(totals, document, added)
        if totals:
            await self.collection.bulk_write(_updates(totals, _FILLED), session=session)


def total_updates(rows: Iterable[RollupRow], slot: str) -> list[UpdateOne]:
    """Two documents per day, model, provider and layout of what the rows add."""
    totals: _Totals = {}
    for row in rows:
        _add_up(totals, row.fields, row.added)
    return _updates(totals, slot)


def _add_up(totals: _Totals, fields: Document, added: Mapping[str, int]) -> None:
    of = tuple([fields.get(name) for name in _OF])
    if of in totals:
        totals[of].update(added)
    else:
        totals[of] = Counter(added)


def _updates(totals: _Totals, slot: str) -> list[UpdateOne]:
    updates = []
    for of, added in totals.items():
        fields = dict(zip(_OF, of, strict=True))
        for by, part in zip(("day", "hour"), _parts(fields, added), strict=True):
            id_ = "|".join([*(str(value) for value in of), by, slot])
            update = {"$inc": part, "$setOnInsert": fields | {"by": by}}
            updates.append(UpdateOne({"_id": id_}, update, upsert=True))
    return updates


def _parts(fields: Document, added: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """What the document by day gets, and the one by hour."""
    of_day: Counter[str] = Counter()
    of_hour: dict[str, int] = {}
    for path, number in added.items():
        if path.startswith(_CELL):
            of_hour[path] = number
            of_day[f"{_CELL}{fields['day']}T00:00{path[_CELL_CHARS:]}"] += number
        elif path != "revision":
            of_day[path] += number
            if fields["v"] != CELLS_VERSION:
                of_hour[path] = number
    return dict(of_day), of_hour


def _flatten(path: str, value: Any, into: Counter[str]) -> None:
    """Adds the numbers within, by path."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _flatten(f"{path}.{name}", inner, into)
    elif value is not None:
        into[path] += value
