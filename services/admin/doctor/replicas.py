"""The processes of the services: which run, of which version, with which clocks."""

from collections.abc import Sequence
from datetime import UTC, datetime

from libs.common.storage.redis.replicas import EVERY_S, ReplicaNote
from services.admin.doctor.findings import Area, Finding, clock_finding

_MS = 1000
_SILENT_S = 4 * EVERY_S
_NEEDED = ("gateway", "ledger_worker")


def replica_findings(notes: Sequence[ReplicaNote], *, version: str, redis_ms: int) -> list[Finding]:
    """`version` is the admin service's own."""
    found: list[Finding] = []
    for service in _NEEDED:
        area = Area(service)
        own = [note for note in notes if note.service == service]
        running = [note for note in own if redis_ms - note.noted_ms <= _SILENT_S * _MS]
        if not running:
            found.append(
                area.fail(
                    "replicas", "none reports that it runs", f"start a {service.replace('_', ' ')}"
                )
            )
        for note in own:
            found += _findings_of(area, note, version, redis_ms)
    return found


def _findings_of(area: Area, note: ReplicaNote, version: str, redis_ms: int) -> list[Finding]:
    silent_s = (redis_ms - note.noted_ms) / _MS
    if silent_s > _SILENT_S:
        reason = f"has reported nothing for {silent_s:,.0f} s: it was killed, or cannot reach Redis"
        return [
            area.warn(note.name, reason, "start it again; what is gone is forgotten after an hour")
        ]
    since = datetime.fromtimestamp(note.started_ms / _MS, UTC)
    text = f"version {note.version}, Python {note.python}, since {since:%Y-%m-%d %H:%M}Z"
    if note.spool_bytes is not None:
        waiting = f"{note.spool_bytes:,} bytes" if note.spool_bytes else "nothing"
        text += f", {waiting} in its spool"
    if note.keyed:
        text += f", keys of {', '.join(note.keyed)}"
    if note.version == version:
        first = area.ok(note.name, text)
    else:
        first = area.warn(
            note.name,
            f"{text}; the admin service is {version}",
            "bring all services to one version",
        )
    clock = clock_finding(area, note.name, note.ahead_ms / _MS)
    return [first] if clock.verdict == "ok" else [first, clock]
