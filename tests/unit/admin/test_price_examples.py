"""The prices that docs/pricing.md shows can be set."""

import re
from pathlib import Path

import msgspec
import pytest

from services.admin.cost_bodies import NewCost

PRICING = (Path(__file__).parents[3] / "docs/pricing.md").read_text()
EXAMPLES = re.findall(r"```json\n(.*?)```", PRICING, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_can_be_read(example: str) -> None:
    assert isinstance(msgspec.json.decode(example, type=NewCost, strict=True), NewCost)


def test_price_examples_exist() -> None:
    assert EXAMPLES
