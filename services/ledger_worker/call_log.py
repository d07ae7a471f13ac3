"""One log line per call, for operators without tables or traces (`LOG_CALLS`).

The worker writes it, because it knows the cost; docs/log.md has the fields.
"""

from collections.abc import Iterable

import structlog

from libs.common.domain.money import usd_text
from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.traces import trace_of
from libs.common.schemas.entry import LedgerEntry

log = structlog.get_logger(__name__)


def log_calls(entries: Iterable[LedgerEntry]) -> None:
    """Entries that were added to the ledger; corrections are in the audit."""
    for entry in entries:
        if entry.kind != "call":
            continue
        usage = entry.usage
        log.info(
            "call.posted",
            call_id=entry.entry_id,
            trace_id=trace_of(entry.entry_id, entry.traceparent),
            user_id=entry.user_id,
            key_id=entry.key_id,
            requested_model=entry.requested_model,
            provider=entry.provider,
            model=entry.model,
            deployment=entry.deployment,
            status=entry.status,
            http_status=entry.http_status,
            error_code=entry.error_code,
            attempts=entry.attempts,
            stream=entry.stream,
            latency_ms=entry.latency_ms,
            first_byte_ms=entry.first_byte_ms,
            input_tokens=None if usage is None else total_input(usage),
            output_tokens=None if usage is None else total_output(usage),
            usage_source=entry.usage_source,
            cost_usd=usd_text(entry.cost_nusd),
        )
