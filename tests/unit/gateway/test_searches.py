"""Searches of a response are charged for, and only its output tells of them."""

import json
from typing import Any

import pytest

from services.gateway.formats import RESPONSES
from tests.unit.gateway.streams import RESPONSES_USAGE, named

SEARCH = {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "x"}}
OPEN = {"type": "web_search_call", "id": "ws_2", "action": {"type": "open_page", "url": "x"}}
BARE = {"type": "web_search_call", "id": "ws_3"}
SAID = {"type": "message", "content": [{"type": "output_text", "text": '"web_search_call"'}]}


@pytest.mark.parametrize(
    ("output", "searches"),
    [
        ([], None),
        ([SAID], None),
        ([OPEN], None),
        ([SEARCH, SAID], 1),
        ([SEARCH, OPEN, BARE, SEARCH, SAID], 3),
        # Whatever cannot be read costs nothing, and does not cost the usage either.
        ([SEARCH, {"type": 7}], None),
        (None, None),
        ("web_search_call", None),
    ],
)
def test_searches_are_counted_in_the_output(output: Any, searches: int | None) -> None:
    answer = {"id": "r", "usage": RESPONSES_USAGE, "output": output}
    whole = RESPONSES.usage_of_answer(json.dumps(answer).encode())

    reader = RESPONSES.reader(RESPONSES.decode(b'{"model": "m"}'))
    reader.read(named("response.completed", response=answer))

    assert whole == reader.usage()
    assert whole is not None
    assert whole.web_searches == searches
    assert whole.output_text == 4


def test_what_the_usage_says_counts_for_more() -> None:
    usage = {**RESPONSES_USAGE, "server_tool_use": {"web_search_requests": 2}}
    answer = {"usage": usage, "output": [SEARCH]}
    tokens = RESPONSES.usage_of_answer(json.dumps(answer).encode())
    assert tokens is not None
    assert tokens.web_searches == 2
