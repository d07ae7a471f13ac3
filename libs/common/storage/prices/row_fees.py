"""Fees for the use of tools: what the provider's page says, else a row of LiteLLM's price map."""

from decimal import Decimal

from libs.common.domain.tool_fees import WEB_SEARCH
from libs.common.storage.prices.provider_fees import provider_fees
from libs.common.storage.prices.row_fields import Row, checked_usd, row_field

_SEARCHES = "search_context_cost_per_query"
_REQUEST = "input_cost_per_request"
_MAPS = "google_maps_grounding_cost_per_query"
# As litellm reads it: the fees of all other providers do not differ by the size of the context.
_SIZE = "search_context_size_medium"
_PER_REQUEST = frozenset({"perplexity"})
_RESEARCHING = "deep-research"


def read_fees(row: Row, provider: str, name: str) -> dict[str, Decimal]:
    """USD by tool. Raises WrongField where a fee is not a price."""
    sizes = {
        size: checked_usd(f"{_SEARCHES}.{size}", usd)
        for size, usd in _searches(row).items()
        if usd is not None
    }
    fees: dict[str, Decimal] = {}
    if provider in _PER_REQUEST and _RESEARCHING not in name:
        # These models always search, as deeply as the request says, and cost by that alone.
        fees = {size.replace("search_context_size", "request"): usd for size, usd in sizes.items()}
        fees[WEB_SEARCH] = Decimal(0)
    elif _SIZE in sizes:
        fees[WEB_SEARCH] = sizes[_SIZE]
    request = row_field(row, _REQUEST, Decimal | None) if _REQUEST in row else None
    if request:
        fees["request"] = checked_usd(_REQUEST, request)
    maps = row_field(row, _MAPS, Decimal | None) if _MAPS in row else None
    if maps is not None:
        fees["maps_grounding"] = checked_usd(_MAPS, maps)
    return fees | provider_fees(provider, name.removeprefix(f"{provider}/"))


def _searches(row: Row) -> dict[str, Decimal | None]:
    if _SEARCHES not in row:
        return {}
    return row_field(row, _SEARCHES, dict[str, Decimal | None] | None) or {}
