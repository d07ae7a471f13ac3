"""Anthropic's `iterations`: which of them are charged, and at whose price.

The payloads are those of Anthropic's pages on compaction, the advisor tool, and refusals and
fallback, and of answers that users published.
"""

from typing import Any

from libs.common.domain.message_usage import usage_of_message
from libs.common.domain.reported_counts import merged
from libs.common.schemas.usage import MAX_RUNS, ModelRun, TokenUsage
from tests.unit.domain.test_usage import message, report

MESSAGE = {"type": "message", "input_tokens": 23000, "output_tokens": 1000}
COMPACTION = {"type": "compaction", "input_tokens": 180000, "output_tokens": 3500}
COMPACTED = {
    "input_tokens": 23000,
    "output_tokens": 1000,
    "iterations": [COMPACTION, MESSAGE],
}
ADVISED = {
    "input_tokens": 1760,
    "output_tokens": 531,
    "iterations": [
        {"type": "message", "input_tokens": 412, "output_tokens": 89},
        {
            "type": "advisor_message",
            "model": "claude-opus-5",
            "input_tokens": 823,
            "output_tokens": 1612,
        },
        {"type": "message", "input_tokens": 1348, "output_tokens": 442},
    ],
}
# A record of a user (ccusage issue 1552).
FELL_BACK = {
    "input_tokens": 2,
    "output_tokens": 13658,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 79214,
    "iterations": [
        {
            "type": "message",
            "model": "claude-fable-5",
            "input_tokens": 2,
            "output_tokens": 578,
            "cache_creation_input_tokens": 10421,
            "cache_read_input_tokens": 72769,
        },
        {
            "type": "fallback_message",
            "model": "claude-opus-4-8",
            "input_tokens": 2,
            "output_tokens": 13658,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 79214,
        },
    ],
}


def test_a_compaction_comes_on_top() -> None:
    assert message(COMPACTED) == TokenUsage(
        input_text=23000,
        output_text=1000,
        runs=(ModelRun(role="compaction", input_text=180000, output_text=3500),),
    )


def test_an_advisor_comes_on_top_at_its_own_model() -> None:
    advice = ModelRun(role="advisor", model="claude-opus-5", input_text=823, output_text=1612)
    assert message(ADVISED) == TokenUsage(input_text=1760, output_text=531, runs=(advice,))


def test_rounds_of_the_call_s_own_model_count_nothing_twice() -> None:
    rounds = [MESSAGE, {"type": "message", "input_tokens": 7, "output_tokens": 3}]
    usage = message({"input_tokens": 23007, "output_tokens": 1003, "iterations": rounds})
    assert usage == TokenUsage(input_text=23007, output_text=1003)


def test_rounds_that_come_to_more_than_the_top_level_are_not_lost() -> None:
    """As where the top level has the first prompt alone."""
    usage = message(ADVISED | {"input_tokens": 412})
    assert usage.input_text == 1760
    # What the rounds do not split stays split as the top level has it.
    thought = {"output_tokens": 500, "output_tokens_details": {"thinking_tokens": 200}}
    rounds = [{"type": "message", "input_tokens": 5, "output_tokens": 500}]
    usage = message({"input_tokens": 5, "iterations": rounds, **thought})
    assert usage == TokenUsage(input_text=5, output_text=300, reasoning=200)


def test_a_fallback_is_charged_to_the_model_that_answered() -> None:
    assert message(FELL_BACK) == TokenUsage(
        model="claude-opus-4-8",
        input_text=2,
        cache_read=79214,
        cache_write_5m=0,
        output_text=13658,
        runs=(
            ModelRun(
                role="fallback",
                model="claude-fable-5",
                input_text=2,
                cache_read=72769,
                cache_write_5m=10421,
                output_text=578,
            ),
        ),
    )


def test_an_attempt_that_was_declined_before_any_output_is_free() -> None:
    declined = {"type": "message", "model": "claude-fable-5", "input_tokens": 9, "output_tokens": 0}
    fallback = {
        "type": "fallback_message",
        "model": "claude-opus-4-8",
        "input_tokens": 1000,
        "output_tokens": 1000,
    }
    usage = message(
        {"input_tokens": 1000, "output_tokens": 1000, "iterations": [declined, fallback]}
    )
    assert usage == TokenUsage(model="claude-opus-4-8", input_text=1000, output_text=1000)


def test_earlier_rounds_of_the_model_that_took_over_are_in_the_top_level() -> None:
    rounds = [
        {"type": "message", "model": "opus", "input_tokens": 10, "output_tokens": 1},
        {"type": "fallback_message", "model": "opus", "input_tokens": 20, "output_tokens": 2},
    ]
    usage = message({"input_tokens": 30, "output_tokens": 3, "iterations": rounds})
    assert usage == TokenUsage(model="opus", input_text=30, output_text=3)


def test_a_run_of_an_unknown_kind_is_charged_and_noted() -> None:
    runs = [MESSAGE, {"type": "rehearsal", "model": "m", "input_tokens": 4, "output_tokens": 5}]
    usage = message({"input_tokens": 23000, "output_tokens": 1000, "iterations": runs})
    assert usage.runs == (ModelRun(role="other", model="m", input_text=4, output_text=5),)
    assert usage.notes == ("run_unknown",)


def test_odd_runs_spoil_nothing() -> None:
    odd: list[Any] = [None, 7, "x", [], {}, {"type": 5}, {"type": "compaction", "input_tokens": -1}]
    usage = message({"input_tokens": 5, "output_tokens": 2, "iterations": [*odd, COMPACTION]})
    assert (usage.input_text, usage.output_text) == (5, 2)
    assert ModelRun(role="compaction", input_text=180000, output_text=3500) in usage.runs
    nothing: list[Any] = [None, {}, "x", 0]
    for none in nothing:
        assert message({"input_tokens": 5, "iterations": none}) == TokenUsage(input_text=5)


def test_runs_beyond_the_bound_are_added_to_the_last_of_their_kind() -> None:
    many = [COMPACTION] * (MAX_RUNS + 10) + [
        {"type": "advisor_message", "model": f"m{number}", "input_tokens": 1, "output_tokens": 1}
        for number in range(3)
    ]
    usage = message({"input_tokens": 5, "output_tokens": 2, "iterations": many})
    assert len(usage.runs) == MAX_RUNS
    assert sum(run.output_text or 0 for run in usage.runs) == 3500 * (MAX_RUNS + 10) + 3


def test_the_runs_of_a_stream_are_cumulative() -> None:
    start = report({"input_tokens": 23000, "output_tokens": 1})
    first = report({"output_tokens": 500, "iterations": [COMPACTION]})
    last = report({"output_tokens": 1000, "iterations": [COMPACTION, MESSAGE]})
    whole = message(COMPACTED)
    assert usage_of_message(merged(merged(start, first), last)) == whole
    assert usage_of_message(merged(merged(last, first), start)) == whole
    # Each event may also bring those that are new.
    only_new = report({"output_tokens": 1000, "iterations": [MESSAGE]})
    assert usage_of_message(merged(merged(start, first), only_new)) == whole


def test_a_round_that_turns_out_to_be_the_fallback_is_one() -> None:
    going_on = {"type": "message", "model": "opus", "input_tokens": 20, "output_tokens": 1}
    fallback = {"type": "fallback_message", "model": "opus", "input_tokens": 20, "output_tokens": 2}
    first = report({"input_tokens": 20, "output_tokens": 1, "iterations": [going_on]})
    last = report({"output_tokens": 2, "iterations": [fallback]})
    expected = TokenUsage(model="opus", input_text=20, output_text=2)
    assert usage_of_message(merged(first, last)) == expected
