"""The types of price fields: rates, factors and fees, each with its bounds."""

import re
from datetime import datetime
from decimal import Context, Decimal
from typing import Annotated

from libs.common.domain.pricing import MAX_MULTIPLIER, multiplier_problem
from libs.common.domain.tool_fees import WEB_SEARCH
from services.admin.fields import described, whole
from services.admin.validation import FieldRule

# Of a surcharge, a tool, a region.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NAME_RULE = "must be 1 to 64 lower-case letters, digits or _ -"
_MAX_SURCHARGES = 16
_MAX_TOOL_FEES = 32
_MAX_RATE_USD = 1_000_000
_RATE_DECIMALS = 12
_FINEST_RATE = Decimal(1).scaleb(-_RATE_DECIMALS)
_ROUNDING = Context(prec=60)


def _rate(value: Decimal, _: datetime) -> str | None:
    if not value.is_finite():
        return "must be a finite number"
    if not 0 <= value <= _MAX_RATE_USD:
        return f"must be between 0 and {_MAX_RATE_USD}"
    # Within the bounds above, only digits after the last decimal are lost here.
    if value != value.quantize(_FINEST_RATE, context=_ROUNDING):
        return f"must have at most {_RATE_DECIMALS} decimals"
    return None


def _multiplier(value: Decimal, _: datetime) -> str | None:
    return multiplier_problem(value)


def _surcharges(factors: dict[str, Decimal], _: datetime) -> str | None:
    if len(factors) > _MAX_SURCHARGES:
        return f"has more than {_MAX_SURCHARGES} of them"
    for name, factor in factors.items():
        if not _NAME.fullmatch(name):
            return f"name {name[:64]!r} {_NAME_RULE}"
        problem = multiplier_problem(factor)
        if problem is not None:
            return f"{name!r} {problem}"
    return None


def _tool_fees(fees: dict[str, Decimal], now: datetime) -> str | None:
    if len(fees) > _MAX_TOOL_FEES:
        return f"has more than {_MAX_TOOL_FEES} of them"
    for name, fee in fees.items():
        if not _NAME.fullmatch(name):
            return f"name {name[:64]!r} {_NAME_RULE}"
        if name == WEB_SEARCH:
            return f"{name!r} is set by web_search_cost"
        problem = _rate(fee, now)
        if problem is not None:
            return f"{name!r} {problem}"
    return None


def _region(value: str, _: datetime) -> str | None:
    return None if _NAME.fullmatch(value) else f"{_NAME_RULE}, such as eu or us-east5"


_PICO = f"USD, with at most {_RATE_DECIMALS} decimals"
_MULTIPLIER = described(minimum=0, maximum=MAX_MULTIPLIER, description="With at most 6 decimals")
_NAMES = {"pattern": whole(_NAME)}
Rate = Annotated[
    Decimal, described(minimum=0, maximum=_MAX_RATE_USD, description=_PICO), FieldRule(_rate)
]
Multiplier = Annotated[Decimal, _MULTIPLIER, FieldRule(_multiplier)]
ToolFees = Annotated[
    dict[str, Annotated[Decimal, described(minimum=0, maximum=_MAX_RATE_USD)]],
    described(maxProperties=_MAX_TOOL_FEES, propertyNames=_NAMES),
    FieldRule(_tool_fees),
]
Surcharges = Annotated[
    dict[str, Annotated[Decimal, _MULTIPLIER]],
    described(maxProperties=_MAX_SURCHARGES, propertyNames=_NAMES),
    FieldRule(_surcharges),
]
Region = Annotated[str, described(pattern=whole(_NAME)), FieldRule(_region)]
