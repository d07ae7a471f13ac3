"""Reads many documents by their ids."""

from collections.abc import Sequence

from libs.common.storage.mongo.driver import Collection, Document, Session

# Some servers compare each document with each id, which costs the square of their number.
IDS_PER_READ = 40


async def find_by_ids(
    collection: Collection,
    ids: Sequence[str],
    fields: Sequence[str] | None = None,
    session: Session | None = None,
) -> list[Document]:
    """Documents in no order, with `fields` (None: all fields). Leaves out unknown ids."""
    found: list[Document] = []
    for start in range(0, len(ids), IDS_PER_READ):
        some = list(ids[start : start + IDS_PER_READ])
        cursor = collection.find({"_id": {"$in": some}}, fields, session=session)
        found += await cursor.to_list(len(some))
    return found
