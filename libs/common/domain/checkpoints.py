"""Proves the ledger (P1): an account's entries, spend and rollups agree.

Invariants: the entries are the truth; amounts are compared to the last digit; an account's entries
are numbered without gaps, so that a removed one shows; proved entries stay proved, so that a
checkpoint stands for the entries before it.
"""

import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

# The length of `2026-11-24`. Keys of other periods are shorter.
_DAY_CHARS = 10
# Stands for a value that is not an amount, which only tampering leaves. No sum is as small.
NO_AMOUNT = -(1 << 63)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """`where` is `entries`, `account`, `period:<key>`, `rollups:<day>`, `redis:<key>`, or
    `unreadable` for a value of a type that the ledger never writes.

    `expected` and `found` are in `unit`. `found` is None if there is no figure.
    """

    user_id: str
    where: str
    unit: Literal["nusd", "entries"] = "nusd"
    expected: int
    found: int | None


class EntrySums(msgspec.Struct, frozen=True, kw_only=True):
    """Of some of an account's entries: `number`, sum of `seq`, cost in all and by period."""

    number: int = 0
    seqs: int = 0
    nusd: int = 0
    periods: Mapping[str, int] = {}


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of the entries up to `seq`: proved, and read again only by a proof in full."""

    user_id: str
    seq: int = 0
    nusd: int = 0
    periods: Mapping[str, int] = {}


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint, with what tells whether the account is to be proved again.

    `document` is the fingerprint of the account's document that the checkpoint agreed with. At
    `full_at` began the last proof from the first entry on; of a checkpoint of an earlier release it
    is when the first proof of this release began.
    """

    checkpoint: Checkpoint
    document: str = ""
    full_at: datetime | None = None


class AccountSums(msgspec.Struct, frozen=True, kw_only=True):
    """The sums beside an account's entries. Without an account, `nusd` is None and `entries` 0.

    `document` is the fingerprint of the account's document.
    """

    entries: int
    nusd: int | None
    periods: Mapping[str, int]
    rollups: Mapping[str, int]
    document: str = ""


def advance(checkpoint: Checkpoint, sums: EntrySums, upto: int) -> Checkpoint | Difference:
    """The checkpoint at `upto`, or the difference found in the entries up to it."""
    number = upto - checkpoint.seq
    seqs = (checkpoint.seq + 1 + upto) * number // 2
    if (sums.number, sums.seqs) != (number, seqs):
        found = checkpoint.seq + sums.number
        return Difference(
            user_id=checkpoint.user_id,
            where="entries",
            unit="entries",
            expected=upto,
            # The number is right but the sum of `seq` is not: a number is used twice.
            found=None if found == upto else found,
        )
    periods = dict(checkpoint.periods)
    for period, nusd in sums.periods.items():
        periods[period] = periods.get(period, 0) + nusd
    return Checkpoint(
        user_id=checkpoint.user_id,
        seq=upto,
        nusd=checkpoint.nusd + sums.nusd,
        periods=periods,
    )


def compare(checkpoint: Checkpoint, account: AccountSums) -> Iterator[Difference]:
    """Differences between these sums and the entries; `rollups` may cover only some days."""
    periods, account_periods = checkpoint.periods, account.periods
    rows: list[tuple[str, int, int | None]] = [
        ("account", checkpoint.nusd, account.nusd),
        # Every entry counts in the total period.
        ("period:total", checkpoint.nusd, account_periods.get("total", 0)),
    ]
    rows += [
        (f"period:{period}", periods.get(period, 0), account_periods.get(period, 0))
        for period in sorted(periods.keys() | account_periods.keys())
    ]
    rows += [
        (f"rollups:{day}", periods.get(day, 0), nusd)
        for day, nusd in sorted(account.rollups.items())
    ]
    for where, expected, actual in rows:
        if expected != actual:
            yield Difference(
                user_id=checkpoint.user_id, where=where, expected=expected, found=actual
            )


def days_in(periods: Mapping[str, int]) -> list[str]:
    """The daily keys among the period keys."""
    return sorted(period for period in periods if len(period) == _DAY_CHARS)


def is_due_in_full(user_id: str, full_at: datetime, now: datetime, interval: timedelta) -> bool:
    """Once in each `interval`, at a time of the account's own: so each day has its share of them.

    A proof is never older than `interval`; one that is said to be of the future does not count.
    """
    interval_s = int(interval.total_seconds())
    own_s = zlib.crc32(user_id.encode()) % interval_s
    last, present = (int(at.timestamp() - own_s) // interval_s for at in (full_at, now))
    # Another worker's clock may be a little ahead.
    return last not in (present, present + 1)
