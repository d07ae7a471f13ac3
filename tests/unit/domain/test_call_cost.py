"""Costs of calls in which several models ran, worked out by hand from providers' pages."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.call_cost import CallCost, call_tokens, cost_of_call, cost_parts, models_of
from libs.common.domain.money import nusd_to_usd
from libs.common.domain.pricing import cost_nusd
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import ModelRun, TokenUsage
from tests.unit.builders import price, rates, tier
from tests.unit.domain.test_message_usage import ADVISED, COMPACTED, FELL_BACK
from tests.unit.domain.test_usage import message

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


def anthropic(model: str, usd_in: str, usd_out: str, **fields: Any) -> PriceVersion:
    """Cache reads at a tenth of the input and writes at five quarters, as on Anthropic's page."""
    reads, writes = Decimal(usd_in) / 10, Decimal(usd_in) * 5 / 4
    card = rates(input=usd_in, output=usd_out, cache_read=str(reads), cache_write_5m=str(writes))
    return price(model, rates=card, **fields)


PRICES = {
    "claude-sonnet-4-5": anthropic("claude-sonnet-4-5", "3", "15"),
    "claude-haiku-4-5": anthropic("claude-haiku-4-5", "1", "5"),
    "claude-opus-4-6": anthropic("claude-opus-4-6", "5", "25"),
    "claude-opus-4-8": anthropic("claude-opus-4-8", "5", "25"),
    "claude-opus-5": anthropic("claude-opus-5", "5", "25"),
    "claude-fable-5": anthropic("claude-fable-5", "10", "50"),
}


def prices_for(model: str) -> Callable[[str | None], PriceVersion | None]:
    return lambda other: PRICES.get(model if other is None else other)


def usd_of(model: str, usage: TokenUsage) -> Decimal:
    call_cost = cost_of_call(usage, model, prices_for(model), Decimal(1), AT)
    assert call_cost.unpriced == ()
    check(call_cost)
    return nusd_to_usd(call_cost.cost.cost_nusd)


def check(call_cost: CallCost) -> None:
    """An entry can be recomputed from its lines."""
    for line in call_cost.cost.lines:
        assert line.amount == line.quantity * line.rate / 1_000_000
    total = sum(line.amount for line in call_cost.cost.lines) * call_cost.cost.multiplier
    assert abs(total - nusd_to_usd(call_cost.cost.cost_nusd)) <= Decimal("5e-10")


ADVISED_SONNET = {
    "input_tokens": 1700,
    "output_tokens": 490,
    "iterations": [
        {
            "type": "advisor_message",
            "model": "claude-opus-4-6",
            "input_tokens": 900,
            "output_tokens": 1600,
        }
    ],
}
SERVED_BY_OPUS = {
    "input_tokens": 1000,
    "output_tokens": 1000,
    "iterations": [
        {"type": "message", "input_tokens": 1000, "output_tokens": 0},
        {
            "type": "fallback_message",
            "model": "claude-opus-4-8",
            "input_tokens": 1000,
            "output_tokens": 1000,
        },
    ],
}


@pytest.mark.parametrize(
    ("model", "report", "usd"),
    [
        # Anthropic's page on compaction: 203,000 x 3 + 4,500 x 15.
        ("claude-sonnet-4-5", COMPACTED, "0.6765"),
        # Its page on the advisor tool: 1,760 x 1 + 531 x 5, and 823 x 5 + 1,612 x 25.
        ("claude-haiku-4-5", ADVISED, "0.04883"),
        # 1,700 x 3 + 490 x 15, and 900 x 5 + 1,600 x 25.
        ("claude-sonnet-4-5", ADVISED_SONNET, "0.05695"),
        # Its page on fallbacks: what was declined at once is free; 1,000 x 5 + 1,000 x 25.
        ("claude-fable-5", SERVED_BY_OPUS, "0.03"),
        # ccusage issue 1552: 2 x 5 + 79,214 x 0.5 + 13,658 x 25 at Opus, and at Fable
        # 2 x 10 + 72,769 x 1 + 10,421 x 12.5 + 578 x 50.
        ("claude-fable-5", FELL_BACK, "0.6130185"),
    ],
)
def test_costs_from_anthropic_s_pages(model: str, report: dict[str, Any], usd: str) -> None:
    assert usd_of(model, message(report)) == Decimal(usd)


def test_lines_tell_who_ran_and_why() -> None:
    call_cost = cost_of_call(
        message(ADVISED), "claude-haiku-4-5", prices_for("claude-haiku-4-5"), Decimal(1), AT
    )
    assert [(line.item, line.quantity, line.model, line.run) for line in call_cost.cost.lines] == [
        ("input_text", 1760, None, None),
        ("output_text", 531, None, None),
        ("input_text", 823, "claude-opus-5", "advisor"),
        ("output_text", 1612, "claude-opus-5", "advisor"),
    ]
    assert [line.price_id for line in call_cost.cost.lines[1:3]] == [None, "*:claude-opus-5@-1"]
    assert call_cost.price_id == "*:claude-haiku-4-5@-1"


def test_every_run_has_the_rates_of_its_own_context() -> None:
    """A threshold of 200,000 is for one prompt: 180,000 and 23,000 are two below it."""
    long = anthropic("m", "3", "15", tiers=(tier(200_000, input="6", output="22.5"),))
    call_cost = cost_of_call(message(COMPACTED), "m", lambda _: long, Decimal(1), AT)
    assert nusd_to_usd(call_cost.cost.cost_nusd) == Decimal("0.6765")


def test_runs_of_one_model_share_their_lines() -> None:
    run = ModelRun(role="advisor", model="claude-opus-5", input_text=10, output_text=1)
    usage = TokenUsage(input_text=5, output_text=2, runs=(run, run, run))
    call_cost = cost_of_call(usage, "m", lambda _: price(), Decimal(1), AT)
    assert [line.quantity for line in call_cost.cost.lines] == [5, 2, 30, 3]
    check(call_cost)
    assert call_tokens(usage) == 40


def test_a_model_without_a_price_is_a_line_that_waits() -> None:
    usage = message(ADVISED)
    haiku = PRICES["claude-haiku-4-5"]
    call_cost = cost_of_call(
        usage, "claude-haiku-4-5", lambda other: haiku if other is None else None, Decimal(1), AT
    )
    assert call_cost.unpriced == ("claude-opus-5",)
    assert nusd_to_usd(call_cost.cost.cost_nusd) == Decimal("0.004415")
    waiting = [line for line in call_cost.cost.lines if line.unpriced]
    assert [(line.quantity, int(line.amount)) for line in waiting] == [(823, 0), (1612, 0)]


def test_a_snapshot_of_the_called_model_is_that_model() -> None:
    run = ModelRun(role="fallback", model="claude-fable-5-20260609", output_text=1)
    usage = TokenUsage(model="claude-opus-4-8", output_text=1, runs=(run,))
    assert sorted(models_of(usage, "claude-fable-5")) == ["claude-fable-5", "claude-opus-4-8"]
    # Another model may have a name that begins alike.
    run = ModelRun(role="advisor", model="claude-fable-5-2", output_text=1)
    assert models_of(TokenUsage(unbilled=True, runs=(run,)), "claude-fable-5") == [
        "claude-fable-5-2"
    ]


def test_a_call_refused_before_any_output_is_free() -> None:
    refused = TokenUsage(input_text=100_000, output_text=0, unbilled=True)
    assert cost_parts(refused, "claude-fable-5") == []
    assert usd_of("claude-fable-5", refused) == 0
    # What advised it is not.
    advice = ModelRun(role="advisor", model="claude-opus-5", input_text=1000, output_text=1000)
    advised = TokenUsage(input_text=100_000, output_text=0, unbilled=True, runs=(advice,))
    assert usd_of("claude-fable-5", advised) == Decimal("0.03")


def test_images_of_a_response_cost_what_their_model_does() -> None:
    """OpenAI's page: 1,000 x 0.4 + 100 x 1.6 for the response, 4,160 x 40 for the image."""
    image = ModelRun(role="image_generation", model="gpt-image-1", output_image=4160)
    usage = TokenUsage(input_text=1000, output_text=100, runs=(image,))
    prices = {
        None: price("gpt-4.1-mini", rates=rates(input="0.4", output="1.6")),
        "gpt-image-1": price("gpt-image-1", rates=rates(input="5", output="40")),
    }
    call_cost = cost_of_call(usage, "gpt-4.1-mini", prices.get, Decimal(1), AT)
    assert nusd_to_usd(call_cost.cost.cost_nusd) == Decimal("0.16696")


def test_a_reported_cost_covers_all_runs() -> None:
    reported = price(basis="provider_reported")
    usage = TokenUsage(
        input_text=1,
        provider_cost_usd=Decimal("0.5"),
        runs=(ModelRun(role="advisor", model="m", output_text=1000),),
    )
    call_cost = cost_of_call(usage, "gpt-4o", lambda _: reported, Decimal(1), AT)
    assert nusd_to_usd(call_cost.cost.cost_nusd) == Decimal("0.5")
    assert call_cost.unpriced == ()


@pytest.mark.parametrize(
    ("own", "advisor", "multiplier", "usd"),
    [("1.1", "1.1", "1.1", "0.053713"), ("1.1", "2", "1", "0.0936865")],
)
def test_different_multipliers_go_into_the_lines(
    own: str, advisor: str, multiplier: str, usd: str
) -> None:
    prices = {
        None: anthropic("claude-haiku-4-5", "1", "5", multiplier=Decimal(own)),
        "claude-opus-5": anthropic("claude-opus-5", "5", "25", multiplier=Decimal(advisor)),
    }
    call_cost = cost_of_call(message(ADVISED), "claude-haiku-4-5", prices.get, Decimal(1), AT)
    assert call_cost.cost.multiplier == Decimal(multiplier)
    assert nusd_to_usd(call_cost.cost.cost_nusd) == Decimal(usd)
    check(call_cost)
    doubled = cost_of_call(message(ADVISED), "claude-haiku-4-5", prices.get, Decimal(2), AT)
    assert nusd_to_usd(doubled.cost.cost_nusd) == 2 * Decimal(usd)


_counts = st.integers(0, 10_000)
_runs = st.builds(
    ModelRun,
    role=st.sampled_from(["compaction", "advisor", "other"]),
    model=st.sampled_from([None, *PRICES]),
    input_text=_counts,
    cache_read=_counts,
    output_text=_counts,
)


@given(_counts, _counts, st.lists(_runs, max_size=4), _runs)
def test_one_run_more_costs_what_it_costs_alone(
    input_tokens: int, output_tokens: int, runs: list[ModelRun], more: ModelRun
) -> None:
    model = "claude-sonnet-4-5"
    usage = TokenUsage(input_text=input_tokens, output_text=output_tokens, runs=tuple(runs))
    longer = TokenUsage(input_text=input_tokens, output_text=output_tokens, runs=(*runs, more))
    alone = TokenUsage(
        input_text=more.input_text, cache_read=more.cache_read, output_text=more.output_text
    )
    version = PRICES[more.model or model]
    alone_usd = nusd_to_usd(cost_nusd(alone, version))
    difference = usd_of(model, longer) - usd_of(model, usage)
    assert abs(difference - alone_usd) <= Decimal("2e-9")
