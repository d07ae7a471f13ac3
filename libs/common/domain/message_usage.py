"""Reads the usage of Anthropic's Messages, whose counts are additive, and its `iterations`.

Anthropic's rules (its pages on compaction, the advisor tool, and refusals and fallback): the counts
of the top level are those of the model that answered, in all of its rounds. What shortened the
context (`compaction`) and what advised it (`advisor_message`) come on top, each with a price of its
own. Where another model took over (`fallback_message`), the top level is that model's; attempts
before it are charged at their own model's price, unless they were declined before any output.
Rounds of the model that answered (`message`) are in the top level already.

Invariants: as `domain.usage`. A run of an unknown kind is charged as one on top.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from libs.common.domain.plain_usage import plain_message_usage, plain_message_usage_in
from libs.common.domain.reported_counts import (
    Counts,
    ReportReader,
    UsageReport,
    decode_report,
    word_of,
)
from libs.common.domain.usage import provider_cost
from libs.common.schemas.usage import MAX_RUNS, ModelRun, RunRole, TokenCounts, TokenUsage

_ROLES: dict[str | None, RunRole] = {
    "compaction": "compaction",
    "advisor_message": "advisor",
    "message": "fallback",
}
_CLASSES = TokenCounts.__struct_fields__
_COUNTS = {
    "input_tokens": "input_text",
    "cache_read_input_tokens": "cache_read",
    "cache_creation_input_tokens": "written",
    "output_tokens": "output",
}
_WRITTEN_FOR = {
    "ephemeral_5m_input_tokens": "cache_write_5m",
    "ephemeral_1h_input_tokens": "cache_write_1h",
}
_OUTPUT = frozenset({"output_tokens", "output_tokens_details"})
_THINKING = {"thinking_tokens": "reasoning"}
_CODE = "code_execution"
_TOOLS = {"web_search_requests": "web_searches", "code_execution_requests": _CODE}
_CHARGED = frozenset({"server_tool_use", "cost", "cost_in_usd_ticks"})
_WORDS = ("service_tier", "speed", "inference_geo")
# What is compared as a whole, since rounds may not say what it consists of.
_GROUPS = (
    ("input_text",),
    ("cache_read",),
    ("cache_write_5m", "cache_write_1h"),
    ("output_text", "reasoning"),
)


def usage_of_message(report: UsageReport) -> TokenUsage:
    """The usage of a whole message, or of all events of a stream, merged."""
    return plain_message_usage(report) or read_usage_of_message(report)


def usage_in_message(raw: bytes) -> TokenUsage | None:
    """Of a whole message, by its `usage` as JSON; None where that is not an object."""
    usage = plain_message_usage_in(raw)
    if usage is not None:
        return usage
    report = decode_report(raw)
    return None if report is None else read_usage_of_message(report)


def read_usage_of_message(report: UsageReport) -> TokenUsage:
    """As `usage_of_message`, of any report, member by member."""
    reader = ReportReader()
    members = _classes(reader, report)
    runs = _Runs(reader, report["iterations"]) if report.get("iterations") else None
    if runs is not None:
        runs.add_to(members)
    if not _CHARGED.isdisjoint(report):
        uses = reader.counts(report.get("server_tool_use"), _TOOLS)
        members["web_searches"] = uses.pop("web_searches", None)
        members["tool_uses"] = {name: count for name, count in uses.items() if count}
        members["provider_cost_usd"] = provider_cost(report)
    if reader.notes:
        members["notes"] = tuple(reader.notes)
    for name in _WORDS:
        if name in report:
            members[name] = word_of(report[name])
    return TokenUsage(**members)


def with_container(usage: TokenUsage, *, ran_code: bool) -> TokenUsage:
    """With the use of the container that the message says it ran code in, which no count tells."""
    if not ran_code or _CODE in usage.tool_uses:
        return usage
    return msgspec.structs.replace(usage, tool_uses={**usage.tool_uses, _CODE: 1})


def without_output(report: UsageReport) -> UsageReport:
    """The counts of a stream's first event less its output, which is only announced."""
    return {name: value for name, value in report.items() if name not in _OUTPUT}


class _Runs:
    """The `iterations` of one report, sorted by who is charged for them."""

    def __init__(self, reader: ReportReader, runs: Any) -> None:
        self._reader = reader
        self._reports: list[UsageReport] = (
            [each for each in runs if isinstance(each, dict)] if isinstance(runs, list) else []
        )
        self._answering_model: str | None = None
        for report in self._reports:
            if report.get("type") == "fallback_message":
                self._answering_model = word_of(report.get("model"))
        self._rounds: list[Counts] = []

    def add_to(self, members: Counts) -> None:
        """The runs beside the top level, which `members` has; and what its rounds say more."""
        members["runs"] = _bounded(list(self._model_runs()))
        members["model"] = self._answering_model
        for names in _GROUPS:
            reported = _sum_of(members, names)
            rounds = sum(_sum_of(counts, names) for counts in self._rounds)
            if rounds > reported:
                members[names[0]] = rounds - reported + members.get(names[0], 0)

    def _model_runs(self) -> Iterator[ModelRun]:
        for report in self._reports:
            kind, model = word_of(report.get("type")), word_of(report.get("model"))
            counts = _classes(self._reader, report)
            if kind == "fallback_message" or (kind == "message" and not self._came_before(model)):
                self._rounds.append(counts)
                continue
            if kind not in _ROLES:
                self._reader.note("run_unknown")
            elif kind == "message" and not _has_output(counts):
                continue
            yield ModelRun(role=_ROLES.get(kind, "other"), model=model, **counts)

    def _came_before(self, model: str | None) -> bool:
        """A message of another model than the one that took over was declined."""
        return self._answering_model is not None and model != self._answering_model


def _sum_of(counts: Counts, names: tuple[str, ...]) -> int:
    return sum(counts.get(name, 0) for name in names)


def _has_output(counts: Counts) -> bool:
    return _sum_of(counts, ("output_text", "reasoning")) > 0


def _classes(reader: ReportReader, report: UsageReport) -> Counts:
    """Of the whole report, or of one of its runs.

    Anthropic bills thinking as output and reports it as a part of that; older models do not say.
    What the split by time leaves over of the total written counts as 5-minute writes.
    """
    counts = reader.counts(report, _COUNTS)
    written, output = counts.pop("written", None), counts.pop("output", None)
    if "cache_creation" in report:
        counts |= reader.counts(report["cache_creation"], _WRITTEN_FOR)
    if written is not None:
        rest = written - _sum_of(counts, ("cache_write_5m", "cache_write_1h"))
        if rest > 0 or "cache_write_5m" not in counts:
            counts["cache_write_5m"] = counts.get("cache_write_5m", 0) + max(rest, 0)
    thinking: Counts = {}
    if "output_tokens_details" in report:
        thinking = reader.counts(report["output_tokens_details"], _THINKING)
    return counts | reader.split(output, thinking, "output_text")


def _bounded(runs: list[ModelRun]) -> tuple[ModelRun, ...]:
    """As many as an event holds; what goes beyond is added to the last one of its model."""
    kept = runs[:MAX_RUNS]
    for run in runs[MAX_RUNS:]:
        alike = [
            place
            for place, other in enumerate(kept)
            if (other.role, other.model) == (run.role, run.model)
        ]
        place = alike[-1] if alike else MAX_RUNS - 1
        kept[place] = _sum_of_runs(kept[place], run)
    return tuple(kept)


def _sum_of_runs(first: ModelRun, second: ModelRun) -> ModelRun:
    summed = {
        name: None if a is None and b is None else (a or 0) + (b or 0)
        for name in _CLASSES
        for a, b in [(getattr(first, name), getattr(second, name))]
    }
    return ModelRun(role=first.role, model=first.model, **summed)
