"""Which accounts spent most in some days, by what they keep of their spend in their documents."""

from collections.abc import Sequence
from datetime import date, timedelta

from libs.common.storage.mongo.account_spend import KEPT_DAYS
from libs.common.storage.mongo.driver import Database, Document


async def dearest_accounts(
    database: Database, since: date, until: date, limit: int
) -> list[str] | None:
    """Of those that posted on the days from `since` to before `until`, of each account's zone.

    None if an account keeps the spend of some of these days elsewhere.
    """
    days = [(since + timedelta(days=n)).isoformat() for n in range((until - since).days)]
    if not 0 < len(days) <= KEPT_DAYS:
        return None
    pipeline: list[Document] = [
        {"$project": _amount(days)},
        {"$match": {"$or": [{"whole": False}, {"posted": True}]}},
        {"$sort": {"whole": 1, "nusd": -1, "_id": 1}},
        {"$limit": limit},
    ]
    rows = await database["accounts"].aggregate(pipeline).to_list(limit)
    if rows and not rows[0]["whole"]:
        return None
    return [row["_id"] for row in rows]


def _amount(days: Sequence[str]) -> Document:
    """An account is `whole` as `account_spend` says."""
    paths = [f"$spend.{day}" for day in days]
    counts = [{"$ifNull": [f"${name}", 0]} for name in ("summed", "entries")]
    since = {"$ifNull": ["$spend_since", ""]}
    return {
        "whole": {"$and": [{"$eq": counts}, {"$lte": [since, days[0]]}]},
        "posted": {"$ne": [{"$ifNull": [*paths, None]}, None]},
        "nusd": {"$add": [{"$ifNull": [path, 0]} for path in paths]},
    }
