"""Pages of accounts beside their checkpoints: what has changed since is told without an entry."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec

from libs.common.domain.checkpoints import NO_AMOUNT
from libs.common.storage.mongo.account_spend import FIELDS
from libs.common.storage.mongo.driver import ASCENDING, Database, Document, bson_of

_PAGE = 500
# The fields of an account's document that postings write.
POSTED = (*FIELDS, "spent_nusd")
# For a time that somebody wrote as something else.
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_SEAL = ("seq", "document", "full_at")


class ProofCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """An account, whose `document` is its fingerprint; or a checkpoint alone, where that is empty.

    `sealed` is the fingerprint that the checkpoint agreed with, and is empty in one of an earlier
    release, which has no `full_at` either.
    """

    user_id: str
    entries: int
    nusd: int
    spend: Mapping[str, int]
    document: str
    has_checkpoint: bool
    sealed: str
    full_at: datetime | None

    @property
    def is_unchanged(self) -> bool:
        return self.sealed != "" and self.document == self.sealed


class ProofPage(msgspec.Struct, frozen=True, kw_only=True):
    """In order of user_id; `until` is the last one that was looked for, None at the end."""

    candidates: list[ProofCandidate]
    until: str | None


class ProofPages:
    """Reads a page in two ranges, of which the second has as many documents at most twice."""

    def __init__(self, database: Database, *, page: int = _PAGE) -> None:
        self._accounts = database["accounts"]
        self._checkpoints = database["checkpoints"]
        self._page = page

    async def read(self, after: str | None) -> ProofPage:
        """The page that starts after that user_id."""
        ids: Document = {} if after is None else {"$gt": after}
        accounts = await self._range(self._accounts, ids, POSTED, self._page)
        until = accounts[-1]["_id"] if len(accounts) == self._page else None
        if until is not None:
            ids = ids | {"$lte": until}
        seals = await self._range(self._checkpoints, ids, _SEAL, 2 * self._page)
        if len(seals) == 2 * self._page:
            # Checkpoints without accounts; whatever comes after the last of them waits.
            until = seals[-1]["_id"]
            accounts = [account for account in accounts if account["_id"] <= until]
        sealed = {seal["_id"]: seal for seal in seals}
        candidates = [
            _candidate(account, fingerprint(account), sealed.pop(account["_id"], {}))
            for account in accounts
        ]
        # An account without entries may have been removed.
        candidates += [
            _candidate({"_id": id_}, "", seal) for id_, seal in sealed.items() if seal.get("seq")
        ]
        return ProofPage(candidates=sorted(candidates, key=lambda each: each.user_id), until=until)

    async def _range(
        self, collection: Any, ids: Document, fields: tuple[str, ...], limit: int
    ) -> list[Document]:
        query = {"_id": ids} if ids else {}
        cursor = collection.find(query, dict.fromkeys(fields, 1)).sort("_id", ASCENDING)
        # A first batch has a hundred documents otherwise.
        documents: list[Document] = await cursor.limit(limit).batch_size(limit).to_list(limit)
        return documents


def fingerprint(account: Document) -> str:
    """Of what postings write into an account's document. Another value is another fingerprint."""
    posted = {name: account.get(name) for name in POSTED}
    return blake2b(bson_of(posted), digest_size=16).hexdigest()


def amount_of(value: object) -> int:
    """A value other than a whole number, a sign of tampering, differs from every true amount.

    Rounding a fraction to a whole amount beside it could hide it.
    """
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return int(value) if value == int(value) else math.ceil(value) + 1
    return NO_AMOUNT


def _candidate(account: Document, document: str, seal: Document) -> ProofCandidate:
    full_at = seal.get("full_at")
    if full_at is not None and not isinstance(full_at, datetime):
        full_at = _LONG_AGO
    return ProofCandidate(
        user_id=account["_id"],
        entries=amount_of(account.get("entries", 0)),
        nusd=amount_of(account.get("spent_nusd", 0)),
        spend=account.get("spend", {}),
        document=document,
        has_checkpoint=bool(seal),
        sealed=seal.get("document", ""),
        full_at=full_at,
    )
