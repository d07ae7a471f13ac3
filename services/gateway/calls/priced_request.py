"""A request that may be admitted: decoded, with a price for each deployment that may serve it."""

from collections.abc import Mapping

import msgspec

from libs.common.schemas.price import PriceVersion
from services.gateway.formats.base import CallRequest


class PricedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`prices` are by deployment; `prices_of_models` too, in the order of the request's `models`.

    `continued_tokens` are those of `input_tokens` that a continued response or thread brings along.
    """

    request: CallRequest
    prices: Mapping[str, PriceVersion]
    prices_of_models: Mapping[str, tuple[PriceVersion, ...]] = {}
    input_tokens: int
    continued_tokens: int = 0
