"""Orders that the admin service gives to the ledger worker, which alone writes the ledger."""

from datetime import datetime
from typing import Literal

import msgspec

OrderedKind = Literal["refund", "credit", "adjustment"]


class CorrectionOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One correction. `entry_id` is its own id, so that posting it is idempotent.

    `cost_nusd` is added to what was spent. `at` is when it was ordered: a credit that corrects no
    entry counts in the periods of that moment.
    """

    v: int = 1
    entry_id: str
    user_id: str
    kind: OrderedKind
    cost_nusd: int
    corrects: str | None
    reason: str
    made_by: str
    at: datetime


class RepriceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Entries to be priced again with the versions that are valid for them now."""

    v: int = 1
    entry_ids: tuple[str, ...]
    reason: str
    made_by: str
