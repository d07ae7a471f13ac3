"""The documents that entries become, and what they add to the sums that are kept beside them."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from libs.common.domain.periods import DAILY
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import TokenCounts
from libs.common.storage.mongo.driver import Document, UpdateOne, to_document

# Left out of documents that have none, so that the sparse indexes on them stay small.
SPARSE = ("corrects", "response_id", "objects")


def numbered_documents(entries: Sequence[LedgerEntry], counts: dict[str, int]) -> list[Document]:
    """Their documents, with the numbers that follow each account's count."""
    next_seq = Counter(counts)
    documents = []
    for entry in entries:
        next_seq[entry.user_id] += 1
        document = to_document(entry, key="entry_id") | {"seq": next_seq[entry.user_id]}
        for name in SPARSE:
            if not document[name]:
                del document[name]
        documents.append(document)
    return documents


def account_updates(entries: Sequence[LedgerEntry]) -> dict[str, Document]:
    """By user_id, in their order: the cost, and how many entries there are more."""
    spent: Counter[str] = Counter()
    number: Counter[str] = Counter()
    for entry in entries:
        spent[entry.user_id] += entry.cost_nusd
        number[entry.user_id] += 1
    return {
        user_id: {"$inc": {"spent_nusd": nusd, "entries": number[user_id]}}
        for user_id, nusd in sorted(spent.items())
    }


def spend_updates(entries: Sequence[LedgerEntry]) -> list[UpdateOne]:
    """One `$inc` per account and period; `revision` counts them, as in the rollups."""
    spent: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        for period in entry.periods:
            spent[entry.user_id, period] += entry.cost_nusd
    return [
        UpdateOne(
            {"_id": f"{user_id}|{period}"},
            {
                "$inc": {"spent_nusd": nusd, "revision": 1},
                "$setOnInsert": {"user_id": user_id, "period": period},
            },
            upsert=True,
        )
        for (user_id, period), nusd in sorted(spent.items())
    ]


def rollup_updates(entries: Sequence[LedgerEntry]) -> list[UpdateOne]:
    """For analytics and the budgets of keys: one `$inc` per account, day, key and model.

    Token counts that were not reported add 0; those of other models that ran are in the row of the
    call's, as its cost is. `calls` counts calls alone: a late event is one
    that was counted when it was given up. `revision` counts the transactions, so that of two sums
    the newer can be told.
    """
    rows: defaultdict[tuple[str, str, str, str], Counter[str]] = defaultdict(Counter)
    for entry in entries:
        row = rows[entry.user_id, entry.periods[DAILY], entry.key_id, entry.model or ""]
        row["revision"] = 1
        row["cost_nusd"] += entry.cost_nusd
        row["calls" if entry.kind == "call" else "corrections"] += 1
        if entry.kind == "late_event":
            row["status.abandoned"] -= 1
        if entry.kind in ("call", "late_event"):
            row[f"status.{entry.status}"] += 1
        counts = () if entry.usage is None else (entry.usage, *entry.usage.runs)
        for each in counts:
            for name in TokenCounts.__struct_fields__:
                tokens = getattr(each, name)
                if tokens is not None:
                    row[f"tokens.{name}"] += tokens
    return [
        UpdateOne(
            {"_id": "|".join(key)},
            {
                "$inc": dict(row),
                "$setOnInsert": dict(zip(("user_id", "day", "key_id", "model"), key, strict=True)),
            },
            upsert=True,
        )
        for key, row in sorted(rows.items())
    ]
