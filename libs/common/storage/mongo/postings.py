"""Makes documents of entries, and the updates of accounts and spend."""

from collections import Counter
from collections.abc import Sequence

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.driver import Document, UpdateOne, to_document

# Left out of documents if empty, so that the sparse indexes stay small.
SPARSE = ("corrects", "response_id", "objects", "provider_request_id")
_LEFT_OUT = (*SPARSE, "tags")


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
