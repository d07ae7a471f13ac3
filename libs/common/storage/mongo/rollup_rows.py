"""Into which rollup an entry counts: a document per account, day and what its calls have in common.

A document's `cells` split its sums by hour and status: `2026-11-29T18:30 ok` is what began in the
hour from then (UTC), which is one of the account's zone. The documents of this layout have `v` 2;
others have no cells, or none of what was posted to them before.

A posting writes the cells alone, as rows of a table (`rollup_segments`); `rollup_updates` makes the
documents' sums of them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

from libs.common.domain.periods import DAILY, hour_of, posting_zone
from libs.common.domain.tags import name_of
from libs.common.domain.token_classes import used_classes
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.sum_tables import STATUS, Tally

CELLS_VERSION = 2
# As `isoformat` begins, which is faster.
CELL_TIME = "%Y-%m-%dT%H:%M"
# Of a cell's name, what comes before the space and after it.
CELL_TIME_CHARS = 16
# What values share that have no sums of their own.
OTHER = "(other)"
TAG = "tag:"
MAX_VALUE_CHARS = 256
HOUR, TAGS = "hour", "tags"
# A rollup's, without the day; those of a cell; and those of its table. `tags` are as JSON, by name.
ROLLUP_FIELDS = ("user_id", "key_id", "model", "provider", "requested_model", "client_user", TAGS)
IN_CELLS = (HOUR, STATUS)
CELL_FIELDS = (*ROLLUP_FIELDS, *IN_CELLS)
# Of one call and class; no rollup's sum can then leave what MongoDB's numbers hold.
_MOST_TOKENS = 1 << 40

# An account's day, and the values that a document may be of beyond account, day, key and models, by
# dimension: `requested_model`, `client_user`, or `tag:` with the tag's name.
AccountDay = tuple[str, str]
Dimensions = dict[str, str]

encode_tags = msgspec.json.Encoder(order="sorted").encode


def dimensions_of(entry: LedgerEntry, tags: Collection[str]) -> Dimensions:
    """Of a call with the usual name of its model, without user and tags: none."""
    dimensions: Dimensions = {}
    if entry.requested_model != entry.model:
        dimensions["requested_model"] = (entry.requested_model or "")[:MAX_VALUE_CHARS]
    if entry.client_user:
        dimensions["client_user"] = entry.client_user[:MAX_VALUE_CHARS]
    if tags:
        for tag in entry.tags:
            if name_of(tag) in tags:
                dimensions[f"{TAG}{name_of(tag)}"] = tag
    return dimensions


def account_day(entry: LedgerEntry) -> AccountDay:
    return entry.user_id, entry.periods[DAILY]


def wanted_values(
    entries: Sequence[LedgerEntry], tags: Collection[str]
) -> dict[AccountDay, dict[str, set[str]]]:
    """By account and day, the values of each dimension."""
    values: dict[AccountDay, dict[str, set[str]]] = {}
    for entry in entries:
        for name, value in dimensions_of(entry, tags).items():
            values.setdefault(account_day(entry), {}).setdefault(name, set()).add(value)
    return values


def day_sums(
    entries: Sequence[LedgerEntry],
    tags: Collection[str],
    is_own: Callable[[AccountDay, str, str], bool],
) -> dict[str, Tally]:
    """Sums by CELL_FIELDS, by day. `is_own` tells which values have sums of their own.

    Token counts that were not reported add nothing. Tokens and cost of the other models that a call
    ran are in the row of the call's model. Raises OverflowError for more tokens than add up.
    """
    tallies: dict[str, Tally] = {}
    for entry in entries:
        day = account_day(entry)
        fields = {"requested_model": entry.requested_model or ""}
        tagged: Dimensions = {}
        for name, value in dimensions_of(entry, tags).items():
            stored_value = value if is_own(day, name, value) else OTHER
            if name.startswith(TAG):
                tagged[name.removeprefix(TAG)] = stored_value
            else:
                fields[name] = stored_value
        row = (
            entry.user_id,
            entry.key_id,
            entry.model or "",
            entry.provider or "",
            fields["requested_model"],
            fields.get("client_user", ""),
            encode_tags(tagged).decode() if tagged else "",
            _hour_of(entry),
        )
        tally = tallies.get(day[1])
        if tally is None:
            tally = tallies[day[1]] = Tally(CELL_FIELDS)
        for status, sums in _sums_by_status(entry):
            tally.add_row((*row, status), sums)
    return tallies


def _hour_of(entry: LedgerEntry) -> str:
    hour = hour_of(entry.started_at, posting_zone(entry.time_zone))
    return hour.isoformat()[:CELL_TIME_CHARS]


def _sums_by_status(entry: LedgerEntry) -> Iterator[tuple[str, Mapping[str, int]]]:
    """By status. Late events add no call to their rollup: theirs was counted when it was abandoned.
    But the calls of a cell are those of its status, so one moves there from the abandoned.
    """
    counter = "calls" if entry.kind == "call" else "corrections"
    sums = {"cost_nusd": entry.cost_nusd, counter: 1}
    if entry.kind == "late_event":
        sums["calls"] = 1
        yield "abandoned", {"calls": -1}
    for each in () if entry.usage is None else (entry.usage, *entry.usage.runs):
        for name, tokens in used_classes(each):
            if tokens > _MOST_TOKENS:
                raise OverflowError(f"{tokens} tokens of one call")
            of_class = f"tokens.{name}"
            sums[of_class] = sums.get(of_class, 0) + tokens
    yield entry.status, sums
