"""Reads many documents by their ids."""

from collections.abc import Iterable, Mapping, Sequence

from libs.common.storage.mongo.driver import Collection, Document, Session

# Some servers compare each document with each id, which costs the square of their number.
IDS_PER_READ = 40


async def find_by_ids(
    collection: Collection,
    ids: Sequence[str],
    fields: Sequence[str] | None = None,
    session: Session | None = None,
    owners: Mapping[str, str] | None = None,
) -> list[Document]:
    """Documents in no order, with `fields` (None: all fields). Leaves out unknown ids.

    `owners`: the user_id of each id. A sharded cluster then asks the shards of these accounts, and
    not all.
    """
    documents: list[Document] = []
    for start in range(0, len(ids), IDS_PER_READ):
        chunk = list(ids[start : start + IDS_PER_READ])
        query: Document = {"_id": {"$in": chunk}}
        if owners is not None:
            query["user_id"] = one_of(owners[id_] for id_ in chunk)
        cursor = collection.find(query, fields, session=session)
        documents += await cursor.to_list(len(chunk))
    return documents


def one_of(values: Iterable[str]) -> str | Document:
    """A condition; one value alone is an equality, which every server plans best."""
    distinct = sorted(set(values))
    return distinct[0] if len(distinct) == 1 else {"$in": distinct}
