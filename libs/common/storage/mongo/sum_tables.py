"""Sums as columns: a table has a row for each combination of values of its fields.

As bytes a column has its smallest whole numbers, a field its values once and a number for each row.
So the sums of a day with a thousand accounts take some tens of kilobytes and are added up without a
dictionary for each.
"""

import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from heapq import nlargest, nsmallest
from itertools import compress, count, repeat

import msgspec

STATUS = "status"
# Of the sums of a table that has no field for the status.
OF_STATUS = "status."
# Array's codes for whole numbers with what they hold, the smallest first.
_SIGNED = (("b", 7), ("h", 15), ("i", 31), ("q", 63))
_UNSIGNED = (("B", 8), ("H", 16), ("I", 32))
_ZEROS, _DECIMALS = "", "d"
_COST = "cost_nusd"
COUNTED = frozenset({_COST, "calls", "corrections"})
# Of a value's number within a group.
_BITS = 32
_NUMBER = (1 << _BITS) - 1
# One number in so many is not 0: it takes less time to look for those.
_SPARSE = 4
# Rows whose other sums wait.
_MOST_WAITING = 1_000_000

_encode = msgspec.msgpack.Encoder().encode
_decode_values = msgspec.msgpack.Decoder(list[str]).decode


class TooManyGroups(Exception):
    """More than are added up in memory."""


class _Numbers(msgspec.Struct, frozen=True, array_like=True):
    code: str
    data: bytes


class _Coded(msgspec.Struct, frozen=True, array_like=True):
    values: msgspec.Raw
    numbers: _Numbers


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    rows: int
    fields: dict[str, _Coded]
    sums: dict[str, _Numbers]


_decode = msgspec.msgpack.Decoder(_Packed).decode


class FieldColumn(msgspec.Struct, frozen=True):
    """Each row's value is the one at the row's number."""

    values: Sequence[str]
    numbers: Sequence[int]


class SumTable:
    """Reads its columns when they are asked for. A field or sum that it lacks is empty or 0."""

    def __init__(self, packed: _Packed) -> None:
        self._packed = packed
        self.rows = packed.rows
        self.field_names = frozenset(packed.fields)
        self.sum_names = frozenset(packed.sums)

    def field(self, name: str) -> FieldColumn:
        coded = self._packed.fields.get(name)
        if coded is None:
            return FieldColumn([""], bytes(self.rows))
        return FieldColumn(_decode_values(coded.values), _numbers(coded.numbers, self.rows))

    def sum(self, name: str) -> Sequence[int]:
        packed = self._packed.sums.get(name)
        return bytes(self.rows) if packed is None else _numbers(packed, self.rows)

    @property
    def entries(self) -> int:
        """How many ledger entries it counts."""
        return sum(self.sum("calls")) + sum(self.sum("corrections"))

    def encoded(self) -> bytes:
        return _encode(self._packed)


def decoded_table(data: bytes) -> SumTable:
    return SumTable(_decode(data))


class _Added(msgspec.Struct, frozen=True):
    """Which rows of a table were added, and where the sums of each one's group are."""

    table: SumTable
    rows: Sequence[int] | None
    places: list[int]


class Dearest(msgspec.Struct, frozen=True):
    """Groups with their sums, and the sums of all groups, also of those that are not among them."""

    groups: list[tuple[tuple[str, ...], dict[str, int]]]
    total: Mapping[str, int]


class Tally:
    """Adds up rows of tables by the values of `fields`.

    Costs are added up at once. The other sums are of interest where a group is dear, so they wait,
    up to a bound, until the dearest groups are known.
    """

    def __init__(
        self, fields: Sequence[str], *, most: int = sys.maxsize, statuses: bool | None = None
    ) -> None:
        """`statuses`: calls are counted by them, by default where they are not in `fields`."""
        self._fields = tuple(fields)
        self._most = most
        self._statuses = STATUS not in fields if statuses is None else statuses
        # Of each field its values, with their numbers; of each group, which is the numbers of its
        # values in one, its place. Whichever is asked for the first time is given the next one.
        self._values: list[dict[str, int]] = [defaultdict(count().__next__) for _ in fields]
        self._groups: dict[int, int] = defaultdict(count().__next__)
        self._sums: dict[str, list[int]] = {}
        self._waiting: list[_Added] = []
        self._waiting_rows = 0

    def __len__(self) -> int:
        return len(self._groups)

    def add(
        self,
        table: SumTable,
        *,
        rows: Sequence[int] | None = None,
        fields: Mapping[str, FieldColumn] | None = None,
    ) -> None:
        """The rows of these numbers, or all, by the table's fields and those given instead.

        Raises TooManyGroups.
        """
        overrides = fields or {}
        columns = [overrides.get(name) or table.field(name) for name in self._fields]
        added = _Added(table, rows, self._places(columns, table.rows, rows))
        self._add(_COST, added.places, _at(table.sum(_COST), rows))
        self._waiting.append(added)
        self._waiting_rows += len(added.places)
        if self._waiting_rows > _MOST_WAITING:
            self._add_details(None)

    def add_row(self, group: Sequence[str], sums: Mapping[str, int]) -> None:
        key = 0
        for values, value in zip(self._values, group, strict=True):
            key = key << _BITS | values[value]
        place = self._groups[key]
        for name, number in sums.items():
            self._sum(name)[place] += number

    def dearest(
        self,
        limit: int,
        among: Container[tuple[str, ...]] | None = None,
        *,
        brief: bool = False,
    ) -> Dearest:
        """Those that cost most first, equals by their values, of all groups or of some.

        `brief`: at least with COUNTED.
        """
        costs = self._sum(_COST)
        groups = self._groups
        if among is None and len(costs) > limit > 0:
            least = nlargest(limit, costs)[-1]
            groups = {key: place for key, place in groups.items() if costs[place] >= least}
        ranked = (
            (-costs[place], group, place)
            for group, place in self._named_groups(groups)
            if among is None or group in among
        )
        found = [(group, place) for _, group, place in nsmallest(limit, ranked)]
        mask = None
        if len(found) < len(costs):
            mask = bytearray(len(costs))
            for _, place in found:
                mask[place] = 1
        total = self._add_details(mask, brief=brief)
        rows = [(group, {name: self._sum(name)[p] for name in self._sums}) for group, p in found]
        return Dearest(rows, total)

    def table(self) -> SumTable:
        self._add_details(None)
        groups = [group for group, _ in self._named_groups(self._groups)]
        columns = list(zip(*groups, strict=True)) or [()] * len(self._fields)
        fields = {
            name: _coded(values)
            for name, values in zip(self._fields, columns, strict=True)
            if any(values)
        }
        sums = {name: _packed(self._sum(name), _SIGNED) for name in sorted(self._sums)}
        nonzero = {name: numbers for name, numbers in sums.items() if numbers.code != _ZEROS}
        return SumTable(_Packed(len(groups), fields, nonzero))

    def _named_groups(self, groups: Mapping[int, int]) -> Iterator[tuple[tuple[str, ...], int]]:
        names = [list(values) for values in self._values]
        shifts = range((len(names) - 1) * _BITS, -1, -_BITS)
        for key, place in groups.items():
            numbers = ((key >> shift) & _NUMBER for shift in shifts)
            yield tuple([values[n] for values, n in zip(names, numbers, strict=True)]), place

    def _places(
        self, fields: Sequence[FieldColumn], size: int, rows: Sequence[int] | None
    ) -> list[int]:
        """Of the rows of a table of that size."""
        keys: Iterable[int] = repeat(0, size if rows is None else len(rows))
        for values, field in zip(self._values, fields, strict=True):
            column = _at(field.numbers, rows)
            numbers = _numbered(values, field.values, None if rows is None else set(column))
            if values is self._values[0]:
                keys = map(numbers.__getitem__, column)
            else:
                keys = [k << _BITS | numbers[n] for k, n in zip(keys, column, strict=True)]
        places = list(map(self._groups.__getitem__, keys))
        if len(self._groups) > self._most:
            raise TooManyGroups
        return places

    def _sum(self, name: str) -> list[int]:
        numbers = self._sums.setdefault(name, [])
        numbers.extend([0] * (len(self._groups) - len(numbers)))
        return numbers

    def _add(self, name: str, places: Iterable[int], numbers: Sequence[int]) -> None:
        sums = self._sum(name)
        if self._fields:
            pairs = zip(places, numbers, strict=True)
            if _is_sparse(numbers):
                pairs = zip(compress(places, numbers), compress(numbers, numbers), strict=True)
            for place, number in pairs:
                sums[place] += number
        elif sums:
            sums[0] += sum(numbers)

    def _add_details(self, mask: bytearray | None, *, brief: bool = False) -> Counter[str]:
        """Of the groups at the places that are wanted, or of all, what waits.

        Returns the sums of all groups.
        """
        total = Counter({name: sum(numbers) for name, numbers in self._sums.items()})
        for added in self._waiting:
            table, places, subset = added.table, added.places, None
            if mask is not None:
                subset = [n for n, place in enumerate(places) if mask[place]]
                places = [places[n] for n in subset]
            for name in sorted((table.sum_names & COUNTED if brief else table.sum_names) - {_COST}):
                numbers = _at(table.sum(name), added.rows)
                if subset is not None:
                    total[name] += sum(numbers)
                self._add(name, places, _at(numbers, subset))
            if self._statuses and not brief and STATUS in table.field_names:
                self._count_calls(added, places, subset, total)
        self._waiting, self._waiting_rows = [], 0
        if mask is None:
            return Counter({name: sum(numbers) for name, numbers in self._sums.items()})
        return total

    def _count_calls(
        self,
        added: _Added,
        places: Sequence[int],
        subset: Sequence[int] | None,
        total: Counter[str],
    ) -> None:
        status = added.table.field(STATUS)
        numbers = _at(status.numbers, added.rows)
        calls = _at(added.table.sum("calls"), added.rows)
        names = [OF_STATUS + value if value else "" for value in status.values]
        if subset is not None:
            for number, n in zip(numbers, calls, strict=True):
                total[names[number]] += n
            del total[""]
        sums = [self._sum(name) if name else None for name in names]
        for place, number, n in zip(places, _at(numbers, subset), _at(calls, subset), strict=True):
            if n and (of_status := sums[number]) is not None:
                of_status[place] += n


def _numbered(
    numbers: Mapping[str, int], values: Sequence[str], chosen: set[int] | None
) -> Sequence[int] | Mapping[int, int]:
    """The tally's numbers of a table's values, or of some: others, which may be many, get none."""
    if chosen is None:
        return list(map(numbers.__getitem__, values))
    return {number: numbers[values[number]] for number in chosen}


def _is_sparse(numbers: Sequence[int]) -> bool:
    """Whether next to all are 0, as far as that is known at once."""
    if not isinstance(numbers, array) or numbers.itemsize > 1:
        return False
    return _SPARSE * (len(numbers) - numbers.tobytes().count(0)) < len(numbers)


def _at(numbers: Sequence[int], rows: Sequence[int] | None) -> Sequence[int]:
    return numbers if rows is None else [numbers[row] for row in rows]


def _coded(values: Sequence[str]) -> _Coded:
    number_of = {value: number for number, value in enumerate(dict.fromkeys(values))}
    numbers = _packed([number_of[value] for value in values], _UNSIGNED)
    return _Coded(msgspec.Raw(_encode(list(number_of))), numbers)


def _packed(numbers: Sequence[int], codes: Sequence[tuple[str, int]]) -> _Numbers:
    """In the fewest bytes; what no code holds as decimals."""
    least, most = min(numbers, default=0), max(numbers, default=0)
    if least == most == 0:
        return _Numbers(_ZEROS, b"")
    for code, bits in codes:
        if most < 1 << bits and least >= (-1 << bits if codes is _SIGNED else 0):
            data = array(code, numbers)
            if sys.byteorder == "big":
                data.byteswap()
            return _Numbers(code, data.tobytes())
    return _Numbers(_DECIMALS, " ".join(map(str, numbers)).encode())


def _numbers(packed: _Numbers, rows: int) -> Sequence[int]:
    """Raises ValueError where they are not as many as the rows."""
    if packed.code == _ZEROS:
        return bytes(rows)
    if packed.code == _DECIMALS:
        numbers: Sequence[int] = [int(text) for text in packed.data.split()]
    else:
        data = array(packed.code, packed.data)
        if sys.byteorder == "big":
            data.byteswap()
        numbers = data
    if len(numbers) != rows:
        raise ValueError(f"{len(numbers)} numbers of {rows} rows")
    return numbers
