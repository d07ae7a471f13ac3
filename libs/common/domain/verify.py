"""Whether the ledger proves itself (P1): every account's entries, spend and rollups agree.

Invariants: the entries are the truth that the rest is compared with; amounts are equal to the
last digit or they differ; accounts are compared in the order of their ids, so that the first
difference is the same however often it is looked for.
"""

from collections.abc import Iterator, Mapping

import msgspec


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """`where` is `account`, `rollups` or `period:<key>`; None was found where nothing is."""

    user_id: str
    where: str
    expected_nusd: int
    found_nusd: int | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    accounts: int
    entries_nusd: int
    first_difference: Difference | None


def verify(totals: Mapping[str, Mapping[str, int]]) -> Verdict:
    """Of the sums by user_id that the ledger's store gives as of one moment.

    Their keys: `account`, `entries`, `rollups`, `period:<key>` as they are kept, and
    `entries:<key>` as the entries of that period add up to; an absent sum is one of nothing.
    """
    differences = (
        difference
        for user_id in sorted(totals)
        for difference in _compare(user_id, totals[user_id])
    )
    return Verdict(
        accounts=len(totals),
        entries_nusd=sum(sums.get("entries", 0) for sums in totals.values()),
        first_difference=next(differences, None),
    )


def _compare(user_id: str, sums: Mapping[str, int]) -> Iterator[Difference]:
    entries_nusd = sums.get("entries", 0)
    # Entries without an account are nobody's spend; a sum of nothing may be absent.
    rows: list[tuple[str, int, int | None]] = [
        ("account", entries_nusd, sums.get("account")),
        ("rollups", entries_nusd, sums.get("rollups", 0)),
        # Every entry counts in the total, so this holds of all entries as of those that say so.
        ("period:total", entries_nusd, sums.get("period:total", 0)),
    ]
    for period in sorted({key.partition(":")[2] for key in sums if ":" in key}):
        kept_nusd = sums.get(f"period:{period}", 0)
        rows.append((f"period:{period}", sums.get(f"entries:{period}", 0), kept_nusd))
    for where, expected_nusd, found_nusd in rows:
        if expected_nusd != found_nusd:
            yield Difference(
                user_id=user_id,
                where=where,
                expected_nusd=expected_nusd,
                found_nusd=found_nusd,
            )
