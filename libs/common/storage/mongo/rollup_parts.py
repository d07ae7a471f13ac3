"""Splits a day's unrolled segments into what one transaction rolls up, and the rest."""

from collections.abc import Collection, Iterable, Sequence

import msgspec

from libs.common.storage.mongo.driver import (
    TRANSIENT,
    BulkWriteError,
    Document,
    UpdateOne,
    refusal,
)
from libs.common.storage.mongo.rollup_rows import CELL_FIELDS
from libs.common.storage.mongo.rollup_updates import Rollup, rollup_updates, rollups_of
from libs.common.storage.mongo.segment_documents import folded, summed_tables, unrolled
from libs.common.storage.mongo.sum_tables import SumTable, Tally

_DUPLICATE_KEY = 11000
_MAX_CAUSE_CHARS = 300


class RefusedRollup(Exception):
    """MongoDB cannot add to this document: another program has changed it."""

    def __init__(self, rollup: Rollup, cause: str) -> None:
        super().__init__(cause)
        self.rollup_id = rollup.id
        self.user_id: str = rollup.fields["user_id"]
        self.cause = cause


class NothingToAdd(Exception):
    """All rollups of the segments are refused."""


class RolledUp(msgspec.Struct, frozen=True):
    """What is added to which rollups, the segment of it, and that of what they still lack.

    `has_more`: the rest may be rolled up, too.
    """

    rollups: list[Rollup]
    updates: list[UpdateOne]
    folded: list[Document]
    rest: list[Document]
    has_more: bool


class RollUp(msgspec.Struct, frozen=True, kw_only=True):
    """Of the rollups of a day the first `at_once`, without those that are `refused`."""

    day: str
    since_ms: int
    at_once: int
    by: Sequence[str]
    refused: Collection[str]

    def of(self, tables: Sequence[SumTable]) -> RolledUp:
        """Raises NothingToAdd."""
        table = summed_tables(CELL_FIELDS, *tables)
        rollups = rollups_of(table, self.day)
        pending = [rollup for rollup in rollups if rollup.id not in self.refused]
        if not pending:
            raise NothingToAdd
        part = pending[: self.at_once]
        updates = rollup_updates(table, part, by=self.by)
        rest: list[Document] = []
        if len(part) < len(rollups):
            part_ids = {rollup.id for rollup in part}
            others = [rollup for rollup in rollups if rollup.id not in part_ids]
            rest = unrolled(self.day, _part(table, others), self.since_ms)
            table = _part(table, part)
        segment = folded(self.day, [table], self.since_ms)
        return RolledUp(part, updates, segment, rest, len(part) < len(pending))


def refused_rollup(error: BulkWriteError, rollups: Sequence[Rollup]) -> RefusedRollup | None:
    """That of the update which MongoDB rejected, of those of `rollups` in their order.

    None where it does not say which, or where the same may succeed if it is tried again.
    """
    rows = error.details.get("writeErrors", [])
    if not rows or error.has_error_label(TRANSIENT):
        return None
    # A document that another program has moved to another account cannot be inserted again.
    is_final = rows[0].get("code") == _DUPLICATE_KEY or refusal(error) is not None
    if not is_final:
        return None
    return RefusedRollup(rollups[rows[0]["index"]], rows[0].get("errmsg", "")[:_MAX_CAUSE_CHARS])


def _part(table: SumTable, rollups: Iterable[Rollup]) -> SumTable:
    tally = Tally(CELL_FIELDS)
    tally.add(table, rows=[row for rollup in rollups for row in rollup.rows])
    return tally.table()
