from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.domain.attachments import Attachment
from libs.common.domain.holds import BillableFeatures, estimate_input_tokens, hold_nusd
from libs.common.domain.money import MAX_NUSD
from libs.common.domain.pricing import cost_nusd
from libs.common.schemas.price import Hours, PriceVersion, Rates, Tier
from libs.common.schemas.usage import TokenUsage
from tests.unit.builders import NOW, price, rates, tier


@pytest.mark.parametrize(
    ("body_bytes", "tokens"), [(0, 0), (1, 1), (3, 1), (4, 2), (3_000_000, 1_000_000)]
)
def test_a_body_is_estimated_at_three_bytes_a_token_rounded_up(
    body_bytes: int, tokens: int
) -> None:
    assert estimate_input_tokens(b"a" * body_bytes) == tokens


def test_attachments_are_estimated_by_their_kind() -> None:
    text = b"a" * 300
    image, recording = Attachment("image", "A" * 9_000), Attachment("recording", "A" * 400_001)
    assert estimate_input_tokens(text + b"A" * 9_000, [image]) == 100 + 1_600
    estimate = estimate_input_tokens(text + b"A" * 409_001, [image, recording])
    assert estimate == 100 + 1_600 + 5_001


def test_a_long_word_is_not_an_attachment() -> None:
    assert estimate_input_tokens(b"a" * 9_000) == 3_000


def test_a_hold_covers_the_input_and_the_whole_output_limit() -> None:
    version = price(rates=rates(input="3", output="15"))
    amount = hold_nusd(version, input_tokens=1_000, output_tokens=4_096, service_tier=None)
    assert amount == 3_000_000 + 61_440_000


def hold(version: PriceVersion, service_tier: str | None = None, **features: Any) -> int:
    return hold_nusd(
        version,
        input_tokens=1_000_000,
        output_tokens=1_000_000,
        service_tier=service_tier,
        features=BillableFeatures(**features),
    )


_TIERS = (
    tier(service_tier="priority", input="6", output="30"),
    tier(service_tier="flex", input="1", output="7"),
    tier(service_tier="ultrafast", input="30", output="150"),
)


@pytest.mark.parametrize(
    ("asked", "usd"),
    [
        # A project's setting may make it a priority call, but not an ultra-fast one.
        (None, 36),
        ("auto", 36),
        ("priority", 36),
        ("default", 18),
        ("standard_only", 18),
        # It may be served as an ordinary one after all.
        ("flex", 18),
        ("ultrafast", 180),
        # OpenAI's other name for it.
        ("fast", 36),
        # Nobody knows what it is: any of them.
        ("turbo", 180),
    ],
)
def test_a_hold_covers_the_dearest_tier_that_may_be_served(asked: str | None, usd: int) -> None:
    assert hold(price(tiers=_TIERS), asked) == usd * 10**9


def test_a_tier_named_like_the_standard_one_is_held_for() -> None:
    """Anthropic reports `standard`, OpenAI `default`."""
    named = tier(service_tier="standard", input="6", output="30")
    assert hold(price(tiers=(named,))) == 36 * 10**9


def test_a_tier_is_held_for_under_its_other_name() -> None:
    version = price(tiers=(tier(service_tier="fast", input="6", output="30"),))
    for asked in (None, "auto", "priority", "fast"):
        assert hold(version, asked) == 36 * 10**9
    assert hold(version, "default") == 18 * 10**9


def test_the_dearest_hour_is_held_for() -> None:
    off_peak = tier(input="1", output="1", hours=(Hours(from_minute=0, to_minute=1440),))
    assert hold(price(tiers=(off_peak,))) == 18 * 10**9
    peak = tier(input="6", output="30", hours=(Hours(from_minute=0, to_minute=1),))
    assert hold(price(tiers=(peak,))) == 36 * 10**9


def test_tools_are_held_for_by_their_fees() -> None:
    fees = {"file_search": Decimal("0.0025"), "container_1g": Decimal("0.03")}
    version = price(provider="anthropic", web_search=Decimal("0.01"), tool_fees=fees)
    base = hold(version)
    assert hold(version, tools={"file_search": 10}) == base + 25_000_000
    # A container of unknown size is the dearest one.
    assert hold(version, tools={"container": 1}) == base + 30_000_000
    # The preview tool costs what the other does where it has no fee of its own.
    assert hold(version, tools={"web_search_preview": 2}) == base + 20_000_000


def test_the_dearest_fee_for_a_request_is_held_for_unasked() -> None:
    """Perplexity's sonar, docs.perplexity.ai, 2026: 5, 8 or 12 USD per 1,000 requests by size."""
    fees = {"request_low": "0.005", "request_medium": "0.008", "request_high": "0.012"}
    version = price(tool_fees={name: Decimal(usd) for name, usd in fees.items()})
    assert hold(version) == hold(price()) + 12_000_000


def test_a_fee_for_the_call_is_held_once() -> None:
    version = price(provider="anthropic", web_search=Decimal("0.035"), web_search_per="call")
    assert hold(version, tools={"web_search": 10}) == hold(version) + 35_000_000
    assert hold(version, tools={"web_search": 0}) == hold(version)


_EVERY_RATE = {
    "cache_read": "0.3",
    "cache_write_5m": "3.75",
    "cache_write_1h": "6",
    "input_audio": "40",
    "output_audio": "80",
}


@pytest.mark.parametrize(
    ("provider", "features", "usd"),
    [
        ("anthropic", {}, 18),
        ("anthropic", {"cache_writes": True}, 18.75),
        ("anthropic", {"cache_writes": True, "long_writes": True}, 21),
        # It writes to its cache unasked.
        ("openai", {}, 18.75),
        ("*", {}, 18.75),
        ("anthropic", {"audio_input": True}, 55),
        ("anthropic", {"audio_output": True}, 83),
        ("anthropic", {"tools": {"web_search": 3}}, 18.03),
    ],
)
def test_a_hold_covers_the_dearest_classes_of_its_features(
    provider: str, features: dict[str, Any], usd: float
) -> None:
    version = price(provider=provider, rates=rates(**_EVERY_RATE), web_search=Decimal("0.01"))
    assert hold(version, **features) == round(usd * 10**9)


def test_a_long_context_is_held_at_its_own_rates() -> None:
    version = price(tiers=(tier(above=200_000, input="6", output="30"),))

    def held(tokens: int) -> int:
        return hold_nusd(version, input_tokens=tokens, output_tokens=0, service_tier=None)

    assert held(200_000) == 600_000_000
    assert held(200_001) == 1_200_006_000


def test_a_hold_stays_within_the_exact_integers_of_redis() -> None:
    version = price(rates=rates(input="1000000", output="1000000"))
    amount = hold_nusd(version, input_tokens=10**9, output_tokens=10**9, service_tier=None)
    assert amount == MAX_NUSD


def test_a_hold_uses_the_multipliers_of_the_cost() -> None:
    version = price(multiplier=Decimal(3))
    amount = hold_nusd(version, Decimal("0.5"), input_tokens=1, output_tokens=0, service_tier=None)
    assert amount == 4_500


_rate = st.decimals(0, 1_000, places=6, allow_nan=False)
_rate_or_none = st.none() | _rate
_cards = st.builds(
    Rates,
    input=_rate,
    output=_rate,
    cache_read=_rate_or_none,
    cache_write_5m=_rate_or_none,
    cache_write_1h=_rate_or_none,
    cache_write_30m=_rate_or_none,
    cache_write_12h=_rate_or_none,
    citation=_rate_or_none,
    reasoning=_rate_or_none,
    input_audio=_rate_or_none,
    input_image=_rate_or_none,
    output_audio=_rate_or_none,
    output_image=_rate_or_none,
)
_tiers = st.builds(
    Tier,
    rates=_cards,
    above_input_tokens=st.sampled_from([0, 1_000, 100_000]),
    service_tier=st.sampled_from(
        [None, "default", "standard", "flex", "priority", "fast", "turbo"]
    ),
    hours=st.sampled_from([(), (Hours(from_minute=60, to_minute=240, weekdays=(1, 2, 3, 4, 5)),)]),
)
_TOOLS = ("web_search", "web_search_preview", "file_search", "container_1g", "container_4g")
_FEES = (*_TOOLS, "container", "request", "request_low", "request_high")
_multipliers = st.just(Decimal(1)) | st.decimals(0, 1_000, places=6, allow_nan=False)
_prices = st.builds(
    lambda provider, card, tiers, fee, per, fees, multiplier, surcharges: price(
        provider=provider,
        rates=card,
        tiers=tuple(tiers),
        web_search=fee,
        web_search_per=per,
        tool_fees=fees,
        multiplier=multiplier,
        surcharges=surcharges,
    ),
    st.sampled_from(["anthropic", "openai", "*"]),
    _cards,
    st.lists(_tiers, max_size=4),
    _rate_or_none,
    st.sampled_from(["search", "call"]),
    st.dictionaries(st.sampled_from(_FEES), _rate),
    _multipliers,
    st.dictionaries(
        st.sampled_from(["fast", "us", "eu"]), st.decimals(0, 1_000, places=6, allow_nan=False)
    ),
)
_reaches = st.builds(
    BillableFeatures,
    cache_writes=st.booleans(),
    long_writes=st.booleans(),
    audio_input=st.booleans(),
    audio_output=st.booleans(),
    tools=st.dictionaries(st.sampled_from(_TOOLS), st.integers(0, 100)),
    fast=st.booleans(),
)
_limits = st.sampled_from([0, 1, 999, 1_001, 100_001]) | st.integers(0, 1_000_000)
# What a provider may serve to a call that asks for the tier.
_UNASKED = (None, "default", "standard", "priority", "fast")
_SERVED = {
    None: _UNASKED,
    "auto": _UNASKED,
    "default": (None, "default"),
    "standard_only": (None, "standard"),
    "flex": (None, "default", "flex"),
    "priority": _UNASKED,
    "fast": _UNASKED,
}
_MOMENTS = (
    NOW,
    datetime(2026, 11, 24, 1, 0, tzinfo=UTC),
    datetime(2026, 11, 28, 2, 0, tzinfo=UTC),
)


def within(data: st.DataObject, limit: int, classes: list[str]) -> dict[str, Any]:
    """Tokens of those classes that come to at most the limit."""
    tokens: dict[str, int] = {}
    for name in data.draw(st.permutations(classes)):
        tokens[name] = data.draw(st.sampled_from([0, limit]) | st.integers(0, limit))
        limit -= tokens[name]
    return tokens


@settings(max_examples=3 * settings().max_examples)
@given(_prices, _multipliers, _reaches, _limits, _limits, st.data())
def test_a_call_within_its_reach_never_costs_more_than_its_hold(
    version: PriceVersion,
    account_multiplier: Decimal,
    features: BillableFeatures,
    input_tokens: int,
    output_tokens: int,
    data: st.DataObject,
) -> None:
    service_tier = data.draw(st.sampled_from(list(_SERVED)))
    inputs = ["input_text", "cache_read", "input_image", "citation"]
    if features.cache_writes or version.provider != "anthropic":
        inputs += ["cache_write_5m", "cache_write_30m"]
    if features.long_writes:
        inputs += ["cache_write_5m", "cache_write_30m", "cache_write_1h", "cache_write_12h"]
    inputs += ["input_audio"] * features.audio_input
    outputs = [
        "output_text",
        "reasoning",
        "output_image",
        *["output_audio"] * features.audio_output,
    ]
    max_uses = dict(features.tools)
    usage = TokenUsage(
        **within(data, input_tokens, list(dict.fromkeys(inputs))),
        **within(data, output_tokens, outputs),
        web_searches=data.draw(st.none() | st.integers(0, max_uses.pop("web_search", 0))),
        tool_uses={tool: data.draw(st.integers(0, uses)) for tool, uses in max_uses.items()},
        service_tier=data.draw(st.sampled_from(_SERVED[service_tier])),
        speed=data.draw(st.sampled_from([None, "standard", *["fast"] * features.fast])),
        inference_geo=data.draw(st.sampled_from([None, "global", "us", "EU", "fast"])),
    )
    held = hold_nusd(
        version,
        account_multiplier,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        service_tier=service_tier,
        features=features,
    )
    cost = cost_nusd(usage, version, account_multiplier, at=data.draw(st.sampled_from(_MOMENTS)))
    assert min(cost, MAX_NUSD) <= held
