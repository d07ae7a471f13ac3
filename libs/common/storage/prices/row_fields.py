"""The members of a row of LiteLLM's price map, read within bounds."""

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any

import msgspec

from libs.common.domain.money import EXACT, plain_amount
from libs.common.domain.pricing import multiplier_problem

_MILLION = Decimal(1_000_000)
_MAX_USD = Decimal(1_000)
# Beyond what the map has: so many digits that the exact product of a call could not be kept.
_FINEST_USD = Decimal("1e-24")
_ROUNDING = Context(prec=60)

Row = Mapping[str, msgspec.Raw]


class RowFieldError(msgspec.ValidationError):
    """A member of a row that is not what it should be."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


def row_field(row: Row, key: str, field_type: Any) -> Any:
    """Raises RowFieldError."""
    try:
        return msgspec.json.decode(row[key], type=field_type)
    except msgspec.ValidationError as error:
        raise RowFieldError(key, f"cannot be read: {error}") from None


def row_rate(row: Row, key: str) -> Decimal | None:
    """USD per million tokens, where a row has USD per token. Raises RowFieldError."""
    per_token: Decimal | None = row_field(row, key, Decimal | None)
    if per_token is None:
        return None
    return plain_amount(EXACT.multiply(checked_usd(key, per_token), _MILLION))


def checked_usd(field: str, usd: Decimal) -> Decimal:
    """A price as a row has it: per token, or per search. Raises RowFieldError."""
    if not (usd.is_finite() and 0 <= usd <= _MAX_USD):
        raise RowFieldError(field, f"must be from 0 to {_MAX_USD} USD")
    if usd != usd.quantize(_FINEST_USD, context=_ROUNDING):
        raise RowFieldError(field, "has too many decimals")
    return usd


def checked_factor(field: str, factor: Decimal) -> Decimal:
    """A multiplier of prices. Raises RowFieldError."""
    problem = multiplier_problem(factor)
    if problem is not None:
        raise RowFieldError(field, problem)
    return plain_amount(factor)
