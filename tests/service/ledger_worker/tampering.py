"""What somebody changes in the databases past the ledger, and where the proof finds it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.rollup_segments import RollupSegments


class Tampering(NamedTuple):
    """The `change` of one document that the `query` finds."""

    collection: str
    query: Mapping[str, Any]
    change: Mapping[str, Any]
    where: str = ""

    async def do(self, database: Database) -> None:
        if self.collection == "rollups":
            await RollupSegments(database).roll_up(after_ms=0)
        result = await database[self.collection].update_one(self.query, self.change)
        assert result.modified_count == 1
