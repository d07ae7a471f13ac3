"""All indexes, and those that the ledger worker cannot do without."""

from libs.common.storage.mongo import (
    account_spend,
    accounts,
    alerts,
    audit,
    dead_letters,
    idempotent_requests,
    keys,
    ledger,
    people,
    prices,
    rollup_segments,
    rollup_values,
)
from libs.common.storage.queue import recordings

# The command that an operator runs if indexes of large collections are missing.
BUILD_INDEXES = "python -m services.admin --build-indexes"
WORKER_INDEXES = (
    *ledger.INDEXES,
    *account_spend.INDEXES,
    *rollup_values.INDEXES,
    *rollup_segments.INDEXES,
    *dead_letters.INDEXES,
    *recordings.INDEXES,
    *alerts.INDEXES,
)
INDEXES = (
    *WORKER_INDEXES,
    *accounts.INDEXES,
    *people.INDEXES,
    *audit.INDEXES,
    *keys.INDEXES,
    *prices.INDEXES,
    *idempotent_requests.INDEXES,
)
