from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.holds import estimate_input_tokens, hold_nusd
from libs.common.domain.money import MAX_NUSD
from libs.common.domain.pricing import cost_of
from libs.common.schemas.usage import TokenUsage
from tests.unit.builders import price, rates, tier


@pytest.mark.parametrize(
    ("body_bytes", "tokens"), [(0, 0), (1, 1), (3, 1), (4, 2), (3_000_000, 1_000_000)]
)
def test_a_body_is_estimated_at_three_bytes_a_token_rounded_up(
    body_bytes: int, tokens: int
) -> None:
    assert estimate_input_tokens(b"a" * body_bytes) == tokens


def test_each_attachment_counts_as_one_image_whatever_its_size() -> None:
    text = b'{"text": "hello", "url": "data:image/png;base64,"}'
    one = estimate_input_tokens(text + b"A" * 1_024)
    assert one == estimate_input_tokens(text) + 1_600
    assert estimate_input_tokens(text + b"A" * 1_000_000) == one
    assert estimate_input_tokens(text + b"A" * 5_000 + b'","' + b"B" * 5_000) == one + 1_601


def test_a_long_word_is_no_attachment() -> None:
    assert estimate_input_tokens(b"a" * 9_000) == 3_000


def test_a_hold_is_the_input_and_the_whole_output_limit() -> None:
    version = price(rates=rates(input="3", output="15"))
    amount = hold_nusd(version, input_tokens=1_000, output_tokens=4_096, service_tier=None)
    assert amount == 3_000_000 + 61_440_000


def test_a_hold_is_taken_at_the_service_tier_asked_for() -> None:
    version = price(tiers=(tier(service_tier="priority", input="6", output="30"),))

    def hold(service_tier: str | None) -> int:
        return hold_nusd(
            version, input_tokens=1_000, output_tokens=1_000, service_tier=service_tier
        )

    assert hold("priority") == 2 * hold(None)
    assert hold("auto") == hold(None)


def test_a_long_context_is_held_at_its_own_rates() -> None:
    version = price(tiers=(tier(above=200_000, input="6", output="30"),))

    def hold(tokens: int) -> int:
        return hold_nusd(version, input_tokens=tokens, output_tokens=0, service_tier=None)

    assert hold(200_000) == 600_000_000
    assert hold(200_001) == 1_200_006_000


def test_a_hold_stays_within_what_redis_computes_exactly() -> None:
    version = price(rates=rates(input="1000000", output="1000000"))
    amount = hold_nusd(version, input_tokens=10**9, output_tokens=10**9, service_tier=None)
    assert amount == MAX_NUSD


def test_a_hold_is_multiplied_as_the_cost_will_be() -> None:
    version = price(multiplier=Decimal(3))
    amount = hold_nusd(version, Decimal("0.5"), input_tokens=1, output_tokens=0, service_tier=None)
    assert amount == 4_500


_rates = st.decimals(0, 1_000, places=6, allow_nan=False)
_tokens = st.integers(0, 1_000_000)


@given(_rates, _rates, _tokens, _tokens, st.data())
def test_a_call_within_its_estimates_never_costs_more_than_its_hold(
    input_rate: Decimal,
    output_rate: Decimal,
    input_tokens: int,
    output_tokens: int,
    data: st.DataObject,
) -> None:
    version = price(rates=rates(input=str(input_rate), output=str(output_rate)))
    cached = data.draw(st.integers(0, input_tokens))
    thought = data.draw(st.integers(0, output_tokens))
    used = TokenUsage(
        input_text=input_tokens - cached,
        cache_read=cached,
        output_text=output_tokens - thought,
        reasoning=thought,
    )
    held = hold_nusd(
        version, input_tokens=input_tokens, output_tokens=output_tokens, service_tier=None
    )
    assert cost_of(used, version).cost_nusd <= held
