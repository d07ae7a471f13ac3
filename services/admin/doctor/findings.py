"""The result of one check."""

from collections.abc import Sequence
from typing import Literal

import msgspec

# `unknown`: the check could not be made.
FindingVerdict = Literal["ok", "warn", "fail", "unknown"]
_WORST: tuple[FindingVerdict, ...] = ("fail", "warn", "unknown", "ok")
_SKEW_S, _BAD_SKEW_S = 2.0, 30.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`reason` states the result, `mend` the command or the setting that fixes it."""

    area: str
    check: str
    verdict: FindingVerdict
    reason: str
    mend: str | None = None


def worst(findings: Sequence[Finding]) -> FindingVerdict:
    """A check that could not be made is not a fault by itself."""
    found = {finding.verdict for finding in findings}
    return next((verdict for verdict in _WORST if verdict in found), "ok")


def worst_of_each(findings: Sequence[Finding]) -> list[Finding]:
    """One for each check: the first of the worst."""
    found: dict[str, Finding] = {}
    for finding in findings:
        known = found.setdefault(finding.check, finding)
        if _WORST.index(finding.verdict) < _WORST.index(known.verdict):
            found[finding.check] = finding
    return list(found.values())


class Area:
    """Makes the findings of one area."""

    def __init__(self, name: str) -> None:
        self._name = name

    def ok(self, check: str, reason: str) -> Finding:
        return self._finding(check, "ok", reason, None)

    def warn(self, check: str, reason: str, mend: str | None = None) -> Finding:
        return self._finding(check, "warn", reason, mend)

    def fail(self, check: str, reason: str, mend: str | None = None) -> Finding:
        return self._finding(check, "fail", reason, mend)

    def unknown(self, check: str, reason: str, mend: str | None = None) -> Finding:
        return self._finding(check, "unknown", reason, mend)

    def _finding(
        self, check: str, verdict: FindingVerdict, reason: str, mend: str | None
    ) -> Finding:
        return Finding(area=self._name, check=check, verdict=verdict, reason=reason, mend=mend)


def clock_finding(area: Area, whose: str, ahead_s: float, round_trip_s: float = 0.0) -> Finding:
    """`ahead_s` is how far that clock is before the one that it is compared with.

    Half of the round trip is uncertain, and not counted as a difference.
    """
    skew_s = max(0.0, abs(ahead_s) - round_trip_s / 2)
    reason = f"the clock of {whose} is {abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}"
    mend = "chronyc makestep (or what keeps the clock of that machine)"
    if skew_s > _BAD_SKEW_S:
        return area.fail("clock", f"{reason}: holds expire and periods begin wrongly", mend)
    if skew_s > _SKEW_S:
        return area.warn("clock", reason, mend)
    return area.ok("clock", f"the clock of {whose} agrees within {max(skew_s, 0.1):.1f} s")
