"""Reads the usage that providers report into `TokenUsage`, by the convention of the endpoint.

One reader for each convention: whoever has a provider's `usage` object, of a relayed answer or a
translated one, calls it. They never raise: what is wrong in a report costs that member alone.

Invariants: the classes do not overlap; the input classes sum to the endpoint's input total and
the output classes to its output total. OpenAI's totals include cached and reasoning tokens,
Anthropic's input counts are additive (`domain.message_usage`). The convention comes from the
endpoint; but a total that the provider states counts, so that no token is dropped: where
`total_tokens` is more than its parts, what is missing is output. A side that nobody reports is
None, never 0.
"""

import re
from decimal import Decimal
from typing import Any

import msgspec

from libs.common.domain.plain_usage import plain_usage
from libs.common.domain.reported_counts import Counts, ReportReader, UsageReport, usd_of, word_of
from libs.common.domain.token_classes import total_input, total_output
from libs.common.schemas.usage import TokenUsage

# Chat's names, those of Responses, and what DeepSeek, Moonshot and Perplexity count beside them.
_TOTALS = {
    "prompt_tokens": "input",
    "input_tokens": "input",
    "completion_tokens": "output",
    "output_tokens": "output",
    "total_tokens": "total",
    "cached_tokens": "cache_read",
    "prompt_cache_hit_tokens": "cache_read",
    "prompt_cache_miss_tokens": "missed",
    "reasoning_tokens": "reasoning",
    "citation_tokens": "citation",
    "num_search_queries": "searches",
}
# In the order in which they are kept should they not fit their total: the dearest first.
_INPUT_DETAILS = {
    "audio_tokens": "input_audio",
    "image_tokens": "input_image",
    # The translation's own names for Anthropic's classes.
    "cache_write_1h_tokens": "cache_write_1h",
    "cache_write_5m_tokens": "cache_write_5m",
    "cache_write_tokens": "written",
    "cache_creation_tokens": "written",
    "cached_tokens": "cache_read",
}
_INPUT_ORDER = (
    "input_audio",
    "input_image",
    "cache_write_1h",
    "cache_write_12h",
    "cache_write_5m",
    "cache_write_30m",
    "cache_read",
)
_WRITTEN_FOR = {
    "ttl_30m_tokens": "cache_write_30m",
    "ttl_30m": "cache_write_30m",
    "ttl_12h_tokens": "cache_write_12h",
    "ttl_12h": "cache_write_12h",
}
_OUTPUT_DETAILS = {
    "audio_tokens": "output_audio",
    "image_tokens": "output_image",
    "reasoning_tokens": "reasoning",
}
# Members that few providers report.
_SERVED = frozenset({"speed", "inference_geo"})
_CHARGED = frozenset(
    {
        "cost",
        "cost_in_usd_ticks",
        "server_tool_use",
        "server_side_tool_usage_details",
        "search_context_size",
    }
)
# Anthropic's and OpenRouter's name.
_SEARCHES = {"web_search_requests": "web_search"}
# What xAI calls its tools, of which it bills what succeeded, and fees have another name for.
_XAI_TOOLS = {
    "code_interpreter_calls": "code_execution",
    "document_search_calls": "attachment_search",
}
# Charged by their tokens alone.
_FREE_CALLS = frozenset({"mcp_calls"})
_MAX_NAMES, _OTHER = 63, "other"
_TOOL_NAME = re.compile(r"[a-z0-9_]{1,64}")
# xAI bills in so many decimals of a dollar.
_TICK_DECIMALS = 10


def usage_of_openai(report: UsageReport, service_tier: str | None = None) -> TokenUsage:
    """Of a chat completion or a response; `service_tier` is the answer's own."""
    return plain_usage(report, service_tier) or read_usage(report, service_tier)


def read_usage(report: UsageReport, service_tier: str | None = None) -> TokenUsage:
    """As `usage_of_openai`, of any report, member by member."""
    reader = ReportReader()
    totals = reader.counts(report, _TOTALS)
    inputs = _input_details(reader, report, totals)
    details = report.get("completion_tokens_details") or report.get("output_tokens_details")
    outputs = reader.counts(details, _OUTPUT_DETAILS)
    _complete(reader, totals, outputs)
    members = reader.split(totals.get("input"), inputs, "input_text")
    members |= reader.split(totals.get("output"), outputs, "output_text")
    if "citation" in totals:
        members["citation"] = totals["citation"]
    if "searches" in totals:
        members["web_searches"] = totals["searches"]
    if not _CHARGED.isdisjoint(report):
        _add_charges(reader, report, members)
    if not _SERVED.isdisjoint(report):
        members |= {name: word_of(report.get(name)) for name in _SERVED}
    if reader.notes:
        members["notes"] = tuple(reader.notes)
    return TokenUsage(service_tier=service_tier, **members)


def usage_of_embedding(report: UsageReport) -> TokenUsage:
    """In chat's shape; whatever is counted is input, for there is no output."""
    reader = ReportReader()
    totals = reader.counts(report, _TOTALS)
    counts = [totals[name] for name in ("input", "total") if name in totals]
    return TokenUsage(
        input_text=max(counts, default=None),
        output_text=0,
        provider_cost_usd=provider_cost(report),
        notes=tuple(reader.notes),
    )


def provider_cost(report: UsageReport) -> Decimal | None:
    """The provider's reported charge in USD (xAI, OpenRouter, Perplexity). None = not reported."""
    ticks = usd_of(report.get("cost_in_usd_ticks"), _TICK_DECIMALS)
    if ticks is not None:
        return ticks
    cost = report.get("cost")
    return usd_of(cost.get("total_cost") if isinstance(cost, dict) else cost)


def filled(reported: TokenUsage, estimated_input: int, uncounted_output: int) -> TokenUsage:
    """Fills in estimates of missing counts: the input, and the tokens of uncounted text.

    What was reported stays. Where one side was, the notes tell which one is estimated.
    """
    has_input, has_output = total_input(reported) > 0, total_output(reported) > 0
    counted_output = 0 if reported.output_text is None else reported.output_text
    notes = list(reported.notes)
    if not has_input and has_output:
        notes.append("input_estimated")
    elif has_input and uncounted_output:
        notes.append("output_estimated")
    return msgspec.structs.replace(
        reported,
        input_text=reported.input_text if has_input else estimated_input,
        output_text=counted_output + uncounted_output,
        notes=tuple(notes),
    )


def _input_details(reader: ReportReader, report: UsageReport, totals: Counts) -> Counts:
    """By class, in their order."""
    details = report.get("prompt_tokens_details") or report.get("input_tokens_details")
    counts = reader.counts(details, _INPUT_DETAILS)
    if "cache_read" in totals:
        counts["cache_read"] = max(totals["cache_read"], counts.get("cache_read", 0))
    if "written" in counts:
        _split_writes(reader, details, counts)
    if len(counts) < 2:
        return counts
    return {name: counts[name] for name in _INPUT_ORDER if name in counts}


def _split_writes(reader: ReportReader, details: Any, counts: Counts) -> None:
    """OpenAI keeps what is written for 30 minutes where it does not say for how long.

    The translation's names for Anthropic's classes tell that it is those.
    """
    counts |= reader.counts(details.get("cache_write_tokens_details"), _WRITTEN_FOR)
    is_anthropic = "cache_write_5m" in counts or "cache_write_1h" in counts
    base = "cache_write_5m" if is_anthropic else "cache_write_30m"
    rest = counts.pop("written") - sum(count for name, count in counts.items() if "_write_" in name)
    if rest > 0 or base not in counts:
        counts[base] = counts.get(base, 0) + max(rest, 0)


def _complete(reader: ReportReader, totals: Counts, outputs: Counts) -> None:
    """Fills in and corrects the totals of input and output by what else is reported."""
    if "input" not in totals and "missed" in totals:
        totals["input"] = totals["missed"] + totals.get("cache_read", 0)
    if "reasoning" in totals and "reasoning" not in outputs:
        outputs["reasoning"] = totals["reasoning"]
        if "output" in totals and ("citation" in totals or "searches" in totals):
            # Perplexity counts reasoning beside everything else, its total included.
            totals["output"] += totals["reasoning"]
            return
    total = totals.get("total")
    if total is None:
        return
    rest = total - totals.get("input", 0) - totals.get("output", 0)
    if rest < 0 or (rest == 0 and "output" in totals):
        return
    if "input" not in totals:
        totals["input"] = rest
    elif "output" not in totals:
        totals["output"] = rest
    else:
        if rest != outputs.get("reasoning"):
            reader.note("output_from_total")
        totals["output"] += rest


def _add_charges(reader: ReportReader, report: UsageReport, members: Counts) -> None:
    """Uses of tools that are charged for, and what the provider says that the call cost.

    Perplexity charges a fee for the request by how much it looks up.
    """
    uses = _xai_uses(reader, report.get("server_side_tool_usage_details"))
    uses |= reader.counts(report.get("server_tool_use"), _SEARCHES)
    if "web_search" in uses:
        members["web_searches"] = uses.pop("web_search")
    size = report.get("search_context_size")
    if size in ("low", "medium", "high"):
        uses[f"request_{size}"] = 1
    members["tool_uses"] = {name: count for name, count in uses.items() if count}
    members["provider_cost_usd"] = provider_cost(report)


def _xai_uses(reader: ReportReader, details: Any) -> Counts:
    """By the names of fees; what is new there keeps its own name, so that nothing is lost."""
    if not isinstance(details, dict):
        return {}
    names = {name: _tool_name(name) for name in details.keys() - _FREE_CALLS}
    uses = reader.counts(details, names)
    for name in list(uses)[_MAX_NAMES:]:
        beyond = uses.pop(name)
        uses[_OTHER] = uses.get(_OTHER, 0) + beyond
    return uses


def _tool_name(reported: str) -> str:
    """Entries' documents take no other names."""
    name = _XAI_TOOLS.get(reported, reported.removesuffix("_calls"))
    return name if _TOOL_NAME.fullmatch(name) else _OTHER
