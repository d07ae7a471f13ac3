"""The amount that a call may cost at most, as far as that can be known before it is made."""

from decimal import Decimal

from libs.common.domain.attachments import split_attachments
from libs.common.domain.money import MAX_NUSD
from libs.common.domain.pricing import cost_nusd
from libs.common.schemas.price import AT_COST, PriceVersion
from libs.common.schemas.usage import TokenUsage

# English text has about four bytes to a token; three errs on the side of a larger hold.
_BYTES_PER_TOKEN = 3
# No model takes or makes more; a client may still ask for more than can be computed with.
_MAX_TOKENS = 10**12


def estimate_input_tokens(body: bytes) -> int:
    """Tokens of a request body, rounded up."""
    text, attachment_tokens = split_attachments(body)
    return -(-len(text) // _BYTES_PER_TOKEN) + attachment_tokens


def hold_nusd(
    price: PriceVersion,
    account_multiplier: Decimal = AT_COST,
    *,
    input_tokens: int,
    output_tokens: int,
    service_tier: str | None,
) -> int:
    """The cost of that many tokens without any cache, at the service tier asked for."""
    worst = TokenUsage(
        input_text=min(input_tokens, _MAX_TOKENS),
        output_text=min(output_tokens, _MAX_TOKENS),
        service_tier=service_tier,
    )
    return min(cost_nusd(worst, price, account_multiplier), MAX_NUSD)
