"""The amount that a call may cost at most, as far as that can be known before it is made."""

from libs.common.domain.money import MAX_NUSD
from libs.common.domain.pricing import cost_of
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import TokenUsage

# English text has about four bytes to a token; three errs on the side of a larger hold.
_BYTES_PER_TOKEN = 3


def estimate_input_tokens(body_bytes: int) -> int:
    """Tokens of a request body, rounded up."""
    return -(-body_bytes // _BYTES_PER_TOKEN)


def hold_nusd(
    price: PriceVersion, *, input_tokens: int, output_tokens: int, service_tier: str | None
) -> int:
    """The cost of that many tokens without any cache, at the service tier asked for."""
    worst = TokenUsage(
        input_text=input_tokens, output_text=output_tokens, service_tier=service_tier
    )
    return min(cost_of(worst, price).cost_nusd, MAX_NUSD)
