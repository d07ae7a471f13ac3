"""Makes documents of entries, and the updates of accounts, spend and rollups."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from libs.common.domain.periods import DAILY
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import TokenCounts
from libs.common.storage.mongo.driver import Document, UpdateOne, to_document

# Left out of documents if empty, so that the sparse indexes stay small.
SPARSE = ("corrects", "response_id", "objects", "provider_request_id")
_LEFT_OUT = (*SPARSE, "tags")
_ROLLED_UP_BY = ("user_id", "day", "key_id", "model", "provider")


def numbered_documents(entries: Sequence[LedgerEntry], counts: dict[str, int]) -> list[Document]:
    """Each document's `seq` continues its account's count in `counts`."""
    next_seq = Counter(counts)
    documents = []
    for entry in entries:
        next_seq[entry.user_id] += 1
        document = to_document(entry, key="entry_id") | {"seq": next_seq[entry.user_id]}
        for name in _LEFT_OUT:
            if not document[name]:
                del document[name]
        documents.append(document)
    return documents


def account_updates(entries: Sequence[LedgerEntry]) -> dict[str, Document]:
    """By user_id, in order: adds the cost and the number of entries."""
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
    """One `$inc` per account and period; `revision` counts transactions, as in the rollups."""
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
    """One `$inc` per account, day, key, model and provider, for analytics and budgets of keys.

    Token counts that were not reported add 0. Tokens and cost of the other models that a call ran
    are in the row of the call's model. `calls` leaves out late events: their calls were counted
    when they were abandoned. `revision` counts transactions, so the newer of two sums is known.
    """
    rows: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for entry in entries:
        of = (entry.user_id, entry.periods[DAILY], entry.key_id, entry.model, entry.provider)
        row = rows[tuple(name or "" for name in of)]
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
                "$setOnInsert": dict(zip(_ROLLED_UP_BY, key, strict=True)),
            },
            upsert=True,
        )
        for key, row in sorted(rows.items())
    ]
