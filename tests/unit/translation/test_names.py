"""Names of tools, there and back."""

import msgspec
import pytest

from libs.common.errors import InvalidRequest
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.names import sent_name, tool_names
from services.gateway.upstream.translation.responses.paths import PATHS
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Tool,
)


def names(*tools: Tool, max_chars: int = 64) -> dict[str, tuple[str | None, str, bool]]:
    return tool_names(Request(turns=(), tools=tools), max_chars, PATHS).known


def test_each_tool_is_known_by_the_name_that_is_sent() -> None:
    long, dotted = "f" * 65, "functions.run"
    originals = names(
        Function(name="f", at=(0,)),
        Freeform(name="patch", at=(1,)),
        Function(name="g", namespace="ns", at=(2,)),
        Function(name=long, at=(3,)),
        Function(name=dotted, at=(4,)),
    )
    assert originals == {
        "f": (None, "f", False),
        "patch": (None, "patch", True),
        "ns__g": ("ns", "g", False),
        sent_name(long, None, 64): (None, long, False),
        sent_name(dotted, None, 64): (None, dotted, False),
    }
    assert all(len(name) <= 64 and name.replace("_", "").isalnum() for name in originals)


def test_a_target_with_longer_names_gets_them_as_they_are() -> None:
    assert names(Function(name="f" * 65, at=(0,)), max_chars=128) == {
        "f" * 65: (None, "f" * 65, False)
    }


def test_a_name_that_the_model_made_up_stays() -> None:
    known = tool_names(Request(turns=(), tools=(Function(name="f", at=(0,)),)), 64, PATHS)
    assert known.original("f") == (None, "f", False)
    assert known.original("h") == (None, "h", False)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Function(name="f", at=(0,)), Function(name="f", at=(1,))),
        (Function(name="f", at=(0,)), Freeform(name="f", at=(1,))),
        (Function(name="b", namespace="a", at=(0,)), Function(name="a__b", at=(1,))),
        (Function(name="a__b", at=(0,)), Function(name="b", namespace="a", at=(1,))),
    ],
)
def test_two_tools_of_one_name_are_refused(first: Tool, second: Tool) -> None:
    with pytest.raises(InvalidRequest) as refused:
        names(first, second)
    assert refused.value.param == "tools[1]"


def test_tools_that_come_later_do_not_take_a_name_away() -> None:
    originals = names(Function(name="f", at=(0,)), Function(name="f", at=(-3,)))
    assert originals == {"f": (None, "f", False)}


def test_hosted_tools_have_no_names() -> None:

    tool = HostedTool(kind="mcp", at=(0,), raw=msgspec.Raw(b"{}"), family="openai")
    assert names(tool, tool) == {}
