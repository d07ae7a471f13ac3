"""Every tool that the newest SDKs can offer is known to be free by itself, or has a fee."""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from anthropic.types.beta import BetaToolUnionParam
from openai.types.chat import ChatCompletionToolUnionParam
from openai.types.responses import ToolParam

from libs.common.domain.tool_fees import fee_of
from libs.common.storage.prices.provider_fees import with_provider_fees
from services.gateway.formats.billed_tools import FREE_TOOLS, billed_tools
from tests.unit.builders import price
from tests.unit.gateway.sdk_types import fields_of


def types_of(union: Any) -> Iterator[str]:
    """The words that `type` may be, of every member of the union."""
    for field in fields_of(union):
        if field.path == ("type",):
            yield from strings_of(field.annotation)


def strings_of(annotation: Any) -> Iterator[str]:
    for inner in get_args(annotation):
        if isinstance(inner, str):
            yield inner
        else:
            yield from strings_of(inner)


@pytest.mark.parametrize(
    ("union", "provider", "model"),
    [
        (ToolParam, "openai", "gpt-5.4"),
        (ChatCompletionToolUnionParam, "openai", "gpt-5.4"),
        (BetaToolUnionParam, "anthropic", "claude-opus-5"),
    ],
)
def test_each_is_free_or_has_a_fee(union: Any, provider: str, model: str) -> None:
    version = with_provider_fees(price(), provider, model)
    kinds = set(types_of(union))
    assert kinds
    for kind in kinds:
        tool = {"type": kind, "container": {"type": "auto"}, "environment": None}
        fields = {"tools": msgspec.Raw(msgspec.json.encode([tool]))}
        for name in billed_tools(fields, None, disguised=False):
            assert name not in FREE_TOOLS
            assert fee_of(version, name) is not None, kind
