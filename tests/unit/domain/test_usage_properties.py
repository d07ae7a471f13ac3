"""What holds for everything that a provider may report."""

from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.domain.message_usage import (
    read_usage_of_message,
    usage_in_message,
    usage_of_message,
)
from libs.common.domain.plain_usage import plain_message_usage, plain_usage
from libs.common.domain.pricing import cost_nusd
from libs.common.domain.reported_counts import UsageReport, decode_report, merged
from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.usage import read_usage, usage_of_openai
from libs.common.schemas.usage import TokenUsage
from tests.unit.builders import price, rates

_counts = st.none() | st.integers(0, 500)
_input_details = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "audio_tokens"), _counts
    )
    | {"image_tokens": _counts, "text_tokens": _counts},
)
_output_details = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("reasoning_tokens", "audio_tokens", "image_tokens"), _counts)
)


def totals(usage: TokenUsage) -> tuple[int, int]:
    return total_input(usage), total_output(usage)


@given(st.integers(0, 2_500), _input_details, st.integers(0, 1_500), _output_details)
def test_the_classes_of_openai_sum_to_the_totals(
    input_total: int,
    input_details: dict[str, int | None],
    output_total: int,
    output_details: dict[str, int | None],
) -> None:
    as_chat = {
        "prompt_tokens": input_total,
        "prompt_tokens_details": input_details,
        "completion_tokens": output_total,
        "completion_tokens_details": output_details,
    }
    as_response = {
        "input_tokens": input_total,
        "input_tokens_details": input_details,
        "output_tokens": output_total,
        "output_tokens_details": output_details,
    }
    usage = usage_of_openai(as_chat)
    assert totals(usage) == (input_total, output_total)
    assert usage_of_openai(as_response) == usage


@given(
    st.integers(0, 500),
    st.integers(0, 500),
    _counts,
    _counts,
    st.none() | st.tuples(_counts, _counts),
    _counts,
)
def test_the_classes_of_anthropic_sum_to_the_totals(
    input_tokens: int,
    output_tokens: int,
    cache_read: int | None,
    written: int | None,
    split: tuple[int | None, int | None] | None,
    thinking: int | None,
) -> None:
    creation = None if split is None else dict(zip(("5m", "1h"), split, strict=True))
    payload = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_input_tokens": cache_read,
        "cache_creation_input_tokens": written,
        "cache_creation": creation
        and {f"ephemeral_{life}_input_tokens": n for life, n in creation.items()},
        "output_tokens_details": {"thinking_tokens": thinking},
    }
    in_split = sum(n or 0 for n in split) if split is not None else 0
    usage = usage_of_message(payload)
    # Neither of the two is dropped where they differ.
    all_written = max(in_split, written or 0)
    assert totals(usage) == (input_tokens + (cache_read or 0) + all_written, output_tokens)


_PRICE = price(
    rates=rates(cache_read="0.3", cache_write_5m="3.75", cache_write_1h="6", reasoning="20")
)
_odd: st.SearchStrategy[Any] = st.integers(-5, 0) | st.sampled_from([None, "odd", [], {}, 10**12])
_CHAT_NAMES = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens")
_MESSAGE_NAMES = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


@st.composite
def runs_of(draw: st.DrawFn) -> list[dict[str, Any]]:
    kinds = st.sampled_from(["message", "compaction", "advisor_message", "unheard_of"])
    counts = st.fixed_dictionaries(dict.fromkeys(_MESSAGE_NAMES, st.integers(0, 500)))
    return [draw(counts) | {"type": kind} for kind in draw(st.lists(kinds, max_size=4))]


@st.composite
def split_report(draw: st.DrawFn, names: tuple[str, ...]) -> tuple[UsageReport, list[UsageReport]]:
    """A report, and the same in parts: counts that grow up to it, members that are missing, null,
    zero or odd, in any order. Each of its counts comes in some part.
    """
    whole: dict[str, Any] = {name: draw(st.integers(1, 500)) for name in names}
    if "input_tokens" in whole:
        whole["iterations"] = draw(runs_of())
    parts: list[dict[str, Any]] = [{} for _ in range(draw(st.integers(1, 4)))]
    for name, value in whole.items():
        for part in parts:
            if draw(st.booleans()):
                early = _odd if isinstance(value, list) else _odd | st.integers(0, value)
                part[name] = draw(early)
        draw(st.sampled_from(parts))[name] = value
    return whole, list(draw(st.permutations(parts)))


def put_together(parts: list[UsageReport]) -> UsageReport:
    report: UsageReport = {}
    for part in parts:
        report = merged(report, part)
    return report


@given(split_report(_CHAT_NAMES))
def test_no_part_of_a_chat_s_report_lowers_its_cost(
    split: tuple[UsageReport, list[UsageReport]],
) -> None:
    whole, parts = split
    usage = usage_of_openai(put_together(parts))
    assert usage == usage_of_openai(whole)


@given(split_report(_MESSAGE_NAMES))
def test_no_part_of_a_message_s_report_lowers_its_cost(
    split: tuple[UsageReport, list[UsageReport]],
) -> None:
    whole, parts = split
    assert cost(usage_of_message(put_together(parts))) == cost(usage_of_message(whole))


def cost(usage: TokenUsage) -> int:
    """Of all its runs, whoever ran them, at one price."""
    own_cost = cost_nusd(usage, _PRICE)
    counts = [
        {name: getattr(run, name) for name in ("input_text", "cache_read", "cache_write_5m")}
        | {"output_text": run.output_text}
        for run in usage.runs
    ]
    return own_cost + sum(cost_nusd(TokenUsage(**each), _PRICE) for each in counts)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(_CHAT_NAMES[:2], _odd | st.integers(0, 500))),
    st.integers(0, 2_000),
    st.integers(1, 500),
)
def test_a_larger_stated_total_never_lowers_the_cost(
    report: dict[str, Any], total: int, more: int
) -> None:
    smaller, larger = report | {"total_tokens": total}, report | {"total_tokens": total + more}
    assert cost(usage_of_openai(larger)) >= cost(usage_of_openai(smaller))


@given(st.tuples(*[st.integers(0, 300)] * 7))
def test_one_answer_is_read_alike_in_every_format(counts: tuple[int, ...]) -> None:
    """As the provider reports it, and as the translation writes it for the other formats."""
    text, read, for_5m, for_1h, words, thoughts, searches = counts
    details = {
        "cached_tokens": read,
        "cache_write_tokens": for_5m + for_1h,
        "cache_write_5m_tokens": for_5m,
        "cache_write_1h_tokens": for_1h,
    }
    tools = {"server_tool_use": {"web_search_requests": searches}}
    as_chat = {
        "prompt_tokens": text + read + for_5m + for_1h,
        "completion_tokens": words + thoughts,
        "total_tokens": sum(counts) - searches,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": thoughts},
        **tools,
    }
    as_message = {
        "input_tokens": text,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": for_5m + for_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": for_5m,
            "ephemeral_1h_input_tokens": for_1h,
        },
        "output_tokens": words + thoughts,
        "output_tokens_details": {"thinking_tokens": thoughts},
        **tools,
    }
    assert usage_of_openai(as_chat) == usage_of_message(as_message)


_things = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    [
        *_CHAT_NAMES,
        *_MESSAGE_NAMES,
        "cached_tokens",
        "prompt_tokens_details",
        "output_tokens_details",
        "cache_creation",
        "server_tool_use",
        "iterations",
        "cost",
        "cost_in_usd_ticks",
        "speed",
    ]
)


@given(st.dictionaries(_NAMES, _things), st.dictionaries(_NAMES, _things))
def test_nothing_that_is_reported_makes_a_reader_fail(
    first: dict[str, Any], later: dict[str, Any]
) -> None:
    for report in (first, later, merged(first, later)):
        for usage in (usage_of_openai(report), usage_of_message(report)):
            for counts in (usage, *usage.runs):
                assert total_input(counts) >= 0
                assert total_output(counts) >= 0


_unfit = st.integers(-1, 5) | st.none() | st.sampled_from([1.5, 2.0, "3", True, 10**12, {}])
_number = st.integers(0, 60) | _unfit
_plain_input = st.none() | st.dictionaries(
    st.sampled_from(["cached_tokens", "audio_tokens", "cache_write_tokens", "new_tokens"]),
    st.integers(0, 20) | _unfit,
)
_plain_output = st.none() | st.dictionaries(
    st.sampled_from(
        ["reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "image_tokens"]
    ),
    st.integers(0, 20) | _unfit,
)


@given(
    st.booleans(), _number, _number, st.none() | _number, _plain_input, _plain_output, st.booleans()
)
def test_a_plain_report_is_read_in_one_step_as_member_by_member(
    as_chat: bool,
    input_tokens: object,
    output_tokens: object,
    total: object,
    details: dict[str, object] | None,
    output_details: dict[str, object] | None,
    is_sound: bool,
) -> None:
    if is_sound and isinstance(input_tokens, int) and isinstance(output_tokens, int):
        total = input_tokens + output_tokens
    members: dict[str, object] = {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": total,
        "prompt_tokens_details": details,
        "completion_tokens_details": output_details,
    }
    if not as_chat:
        members = {
            name.replace("prompt", "input").replace("completion", "output"): value
            for name, value in members.items()
        }
    report = decode_report(msgspec.json.encode(members))
    assert report is not None
    plain = plain_usage(report, "default")
    assert plain is None or plain == read_usage(report, "default")


def test_openais_usage_reports_are_plain() -> None:
    chat = {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 4,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 1,
            "rejected_prediction_tokens": 0,
        },
    }
    response = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 29,
    }
    for report in (chat, response):
        assert plain_usage(report, None) == read_usage(report)


_written = st.none() | st.dictionaries(
    st.sampled_from(["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "new_tokens"]),
    st.integers(0, 20) | _unfit,
)
_message_members = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": _number,
        "output_tokens": _number,
        "cache_read_input_tokens": _number,
        "cache_creation_input_tokens": _number,
        "cache_creation": _written,
        "output_tokens_details": st.none()
        | st.dictionaries(st.sampled_from(["thinking_tokens", "new_tokens"]), _number),
        "service_tier": st.sampled_from(["standard", None, 3]),
        "speed": st.sampled_from(["fast", None]),
        "inference_geo": st.sampled_from(["us", None, {}]),
        "server_tool_use": st.sampled_from([None, {"web_search_requests": 1}]),
        "iterations": st.sampled_from([None, [], [{"type": "compaction", "input_tokens": 3}]]),
        "new_tokens": st.just(1),
    },
)


@given(_message_members)
@example({"output_tokens": 3, "output_tokens_details": {"thinking_tokens": 5}})
@example({"input_tokens": 1, "output_tokens_details": {"thinking_tokens": 5}})
def test_a_plain_message_is_read_in_one_step_as_member_by_member(members: dict[str, Any]) -> None:
    raw = msgspec.json.encode(members)
    report = decode_report(raw)
    assert report is not None
    usage = read_usage_of_message(report)
    assert plain_message_usage(report) in (None, usage)
    assert usage_in_message(raw) == usage_of_message(report) == usage


def test_anthropics_usage_reports_are_plain() -> None:
    full_report = {
        "input_tokens": 20,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 2},
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
        "service_tier": "standard",
        "inference_geo": "not_available",
        "server_tool_use": None,
    }
    last_event = {"output_tokens": 9, "cache_read_input_tokens": 3}
    for report in (full_report, last_event):
        assert plain_message_usage(report) == read_usage_of_message(report)


def test_a_message_without_a_report_has_no_usage() -> None:
    assert [usage_in_message(raw) for raw in (b"", b"null", b"[]", b"3", b"{")] == [None] * 5
