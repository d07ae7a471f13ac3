"""Builds the documents of entries."""

from collections import Counter
from collections.abc import Sequence

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.driver import Document, to_document

# Left out of documents if empty, so that the sparse indexes stay small.
SPARSE = ("corrects", "response_id", "objects", "provider_request_id", "traceparent")
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
