"""The fees of a price for tool uses, and for a request as such, in USD each.

Invariants: an explicit 0 is a fee; a fee of one tool is never another's, but for those below that
are sizes of one thing.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from libs.common.domain.money import EXACT
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import TokenUsage

WEB_SEARCH = "web_search"
_PREVIEW = "web_search_preview"
# For each call, whatever it does; some providers have one by the size of what is searched.
REQUEST = "request"
_REQUEST_SIZES = ("request_low", "request_medium", "request_high")
_REQUEST_FEES = frozenset({REQUEST, *_REQUEST_SIZES})
_NOTHING = Decimal(0)
_CONTAINER = "container"
_SIZES = tuple(f"{_CONTAINER}_{size}" for size in ("1g", "4g", "16g", "64g"))


def fee_of(version: PriceVersion, tool: str) -> Decimal | None:
    """USD for one use; None where the price has no fee for it.

    A container of a size that is not known costs what the dearest does; the older tool for searches
    what the newer does, where it has no fee of its own.
    """
    fees = version.tool_fees
    if tool == WEB_SEARCH:
        return version.web_search
    if tool in fees:
        return fees[tool]
    if tool == _PREVIEW:
        return version.web_search
    if tool.startswith(_CONTAINER):
        return max((fees[size] for size in (_CONTAINER, *_SIZES) if size in fees), default=None)
    return None


def charged_uses(version: PriceVersion, usage: TokenUsage) -> Sequence[tuple[str, int]]:
    """The tools that were used, with how many uses are charged for, and the request's own fee."""
    if not (usage.web_searches or usage.tool_uses or has_request_fee(version)):
        return ()
    charged: list[tuple[str, int]] = []
    if usage.web_searches:
        charged.append((WEB_SEARCH, searches_charged(version, usage.web_searches)))
    for tool, uses in usage.tool_uses.items():
        if uses and tool not in _REQUEST_SIZES:
            charged.append((tool, uses))
    request = _request_fee(version, usage.tool_uses)
    if request is not None:
        charged.append((request, 1))
    return charged


def searches_charged(version: PriceVersion, searches: int) -> int:
    return min(searches, 1) if version.web_search_per == "call" else searches


def has_request_fee(version: PriceVersion) -> bool:
    return bool(version.tool_fees) and not _REQUEST_FEES.isdisjoint(version.tool_fees)


def most_usd(version: PriceVersion, uses: Mapping[str, int]) -> Decimal:
    """The most that so many uses cost, and the dearest request fee; what has no fee is free."""
    usd = _NOTHING
    if has_request_fee(version):
        usd = max(version.tool_fees.get(name, _NOTHING) for name in _REQUEST_FEES)
    for tool, count in uses.items():
        charged = searches_charged(version, count) if tool == WEB_SEARCH else count
        fee = fee_of(version, tool)
        if fee is not None:
            usd = EXACT.fma(Decimal(charged), fee, usd)
    return usd


def _request_fee(version: PriceVersion, tool_uses: Mapping[str, int]) -> str | None:
    """The size that was used, else the general one, else the smallest."""
    if not has_request_fee(version):
        return None
    for size in _REQUEST_SIZES:
        if tool_uses.get(size) and size in version.tool_fees:
            return size
    return next(name for name in (REQUEST, *_REQUEST_SIZES) if name in version.tool_fees)
