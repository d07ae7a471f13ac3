"""What calls cost by the providers' own pages: one row a line in `provider_costs.jsonl`.

A row has the answer as the provider sends it, with the counts that it is billed by, and the cost
with the arithmetic that leads to it, the page that has the figures and the day when that was read.
"""

import re
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat

_FILE = Path(__file__).with_suffix(".jsonl")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class ProviderCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`region` is that of the deployment, `at` the call's start where the hour counts."""

    name: str
    provider: str
    model: str
    format: ClientFormat
    answer: dict[str, Any]
    at: datetime | None = None
    region: str | None = None
    usd: Decimal
    arithmetic: str
    page: str
    read_on: date

    def computed_usd(self) -> Fraction:
        """What the arithmetic comes to, exactly."""
        expression = _NUMBER.sub(lambda number: f"Fraction('{number[0]}')", self.arithmetic)
        value = eval(expression, {"__builtins__": {}, "Fraction": Fraction})
        assert isinstance(value, Fraction)
        return value


def provider_costs() -> list[ProviderCost]:
    lines = _FILE.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=ProviderCost) for line in lines]
