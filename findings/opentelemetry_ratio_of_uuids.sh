#!/usr/bin/env bash
# opentelemetry-sdk 1.45.2: `TraceIdRatioBased` keeps nothing, or everything, of traces whose ids are UUIDs.
#
# A trace id is 128 bits and any UUID is a valid one, so a system that has a UUID for each request uses it,
# also to find a trace by the request's id. The sampler compares the low 64 bits with `rate * 2**64`, as if
# all of them were random. The highest two of them are a UUID's variant, always binary 10, of version 4
# (all random else) and 7 (time first) alike. Expected: about the share of traces that was asked for, as
# with the SDK's own ids. Seen: at a rate of 0.5 or below none, at 0.6 two fifths, at 0.75 and above all.
# The low 56 bits, by which the W3C's Trace Context (level 2, the `random` flag) samples, are random in both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  opentelemetry-api==1.45.2 opentelemetry-sdk==1.45.2
cd "$folder"
venv/bin/python - <<'PY'
import os
import time
import uuid

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

TRACES = 10_000


def uuid7() -> int:
    """RFC 9562, 5.7: 48 bits of time in ms, version, 12 random bits, variant, 62 random bits."""
    random = int.from_bytes(os.urandom(10), "big")
    high = time.time_ns() // 1_000_000 << 16 | 0x7000 | random >> 68
    return high << 64 | 0b10 << 62 | random & (1 << 62) - 1


assert uuid.UUID(int=uuid7()).version == 7 and uuid.UUID(int=uuid7()).variant == uuid.RFC_4122
MAKERS = {
    "the SDK's own": RandomIdGenerator().generate_trace_id,
    "UUIDv4": lambda: uuid.uuid4().int,
    "UUIDv7": uuid7,
}
kept = {}
for name, make in MAKERS.items():
    ids = [make() for _ in range(TRACES)]
    for rate in (0.1, 0.5, 0.6, 0.75, 0.9):
        sampler = TraceIdRatioBased(rate)
        found = [sampler.should_sample(None, each, "call").decision for each in ids]
        kept[name, rate] = found.count(Decision.RECORD_AND_SAMPLE) / TRACES
        print(f"{name:14} rate {rate}: {kept[name, rate]:.3f} of the traces are kept")
for name, rate in kept:
    # Of the low 64 bits a UUID's are from a half to three quarters of their range.
    wanted = rate if name == "the SDK's own" else min(max((rate - 0.5) / 0.25, 0.0), 1.0)
    # Ten standard deviations, so that no chance makes it fail.
    slack = 0.05 if 0 < wanted < 1 else 0.0
    assert abs(kept[name, rate] - wanted) <= slack, "it has changed"
PY
