"""Where our cost is not litellm's, each with its reason. Nothing else may differ."""

from collections.abc import Callable

import msgspec

from libs.common.schemas.price import PriceVersion
from tests.parity.payloads import Case


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """`applies` to a model's price and a usage; then the two costs need not be the same."""

    name: str
    reason: str
    applies: Callable[[PriceVersion, Case], bool]


# Their provider-qualified names are other rows of the map, with other prices.
_NAMED_TWICE = frozenset({"deepseek-chat", "gemini-exp-1206", "perplexity/perplexity/sonar"})


DIFFERENCES = (
    Difference(
        name="named twice",
        reason="The map has a row by the bare name and another one by the provider-qualified name. "
        "litellm takes the qualified row; we look a call up by the exact name first. "
        "For gemini-exp-1206 litellm's choice is free of charge.",
        applies=lambda price, case: price.model in _NAMED_TWICE,
    ),
    Difference(
        name="perplexity's cache and thresholds",
        reason="litellm's calculation for Perplexity knows one rate for all input. The map, like "
        "the provider's page on third-party models, has cached rates and thresholds.",
        applies=lambda price, case: (
            price.provider == "perplexity" and (case.cached > 0 or case.written > 0)
        ),
    ),
    Difference(
        name="perplexity's fee for requests",
        reason="Perplexity's page has a fee for each request beside the tokens; litellm takes the "
        "map's figure for one per search, which Perplexity does not count for these models.",
        applies=lambda price, case: any(name.startswith("request") for name in price.tool_fees),
    ),
    Difference(
        name="priority at fireworks",
        reason="The map has rates for priority, as has the provider's page; litellm's calculation "
        "for Fireworks is not told the service tier and charges the standard rates.",
        applies=lambda price, case: (
            price.provider == "fireworks_ai" and case.service_tier == "priority"
        ),
    ),
    Difference(
        name="priority at xai",
        reason="By xAI's page priority costs twice the standard rates; the map has no rates for "
        "it, and litellm charges the standard ones.",
        applies=lambda price, case: price.provider == "xai" and case.service_tier == "priority",
    ),
    Difference(
        name="cached input in batches",
        reason="Where a row has no batch rate for input and no rate for cached input, litellm "
        "charges nothing for cached input in batches. Nothing is free by accident: it costs what "
        "input does.",
        applies=lambda price, case: (
            price.provider == "bedrock_mantle"
            and price.rates.cache_read is None
            and case.service_tier == "batch"
            and case.cached > 0
        ),
    ),
    Difference(
        name="hour-long cache writes in batches",
        reason="litellm charges them as 5-minute writes. By Anthropic's page the batch discount of "
        "a half and the higher rate of hour-long writes apply together.",
        applies=lambda price, case: case.service_tier == "batch" and case.written_1h > 0,
    ),
)
