"""Searches are charged for, and often only the output tells of them."""

import json
from typing import Any

import pytest

from services.gateway.formats import CHAT, RESPONSES
from tests.unit.gateway.streams import RESPONSES_USAGE, frame_of

SEARCH = {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "x"}}
OPEN = {"type": "web_search_call", "id": "ws_2", "action": {"type": "open_page", "url": "x"}}
BARE = {"type": "web_search_call", "id": "ws_3"}
MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": '"web_search_call"'}]}


@pytest.mark.parametrize(
    ("output", "searches"),
    [
        ([], None),
        ([MESSAGE], None),
        ([OPEN], None),
        ([SEARCH, MESSAGE], 1),
        ([SEARCH, OPEN, BARE, SEARCH, MESSAGE], 3),
        # Whatever cannot be read costs nothing, and does not cost the usage either.
        ([SEARCH, {"type": 7}], None),
        (None, None),
        ("web_search_call", None),
    ],
)
def test_searches_are_counted_in_the_output(output: Any, searches: int | None) -> None:
    answer = {"id": "r", "usage": RESPONSES_USAGE, "output": output}
    tokens = RESPONSES.usage_of_answer(json.dumps(answer).encode())

    reader = RESPONSES.reader(RESPONSES.decode(b'{"model": "m"}'))
    reader.read(frame_of("response.completed", response=answer))

    assert tokens == reader.usage()
    assert tokens is not None
    assert tokens.web_searches == searches
    assert tokens.output_text == 4


CITATION = {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}
CHAT_USAGE = {"prompt_tokens": 3, "completion_tokens": 4}


@pytest.mark.parametrize(
    ("message", "counted", "searches"),
    [
        ({"content": "Rain.", "annotations": [CITATION]}, {}, 1),
        ({"content": "Rain.", "annotations": [CITATION, CITATION]}, {}, 1),
        ({"content": "Rain.", "annotations": []}, {}, None),
        ({"content": 'A "url_citation" is an annotation.'}, {}, None),
        ({"annotations": [CITATION]}, {"server_tool_use": {"web_search_requests": 3}}, 3),
    ],
)
def test_a_chat_that_cites_has_searched(
    message: dict[str, Any], counted: dict[str, Any], searches: int | None
) -> None:
    usage = {**CHAT_USAGE, **counted}
    answer = {"choices": [{"index": 0, "message": message}], "usage": usage}
    tokens = CHAT.usage_of_answer(json.dumps(answer).encode())

    reader = CHAT.reader(CHAT.decode(b'{"model": "m", "stream": true}'))
    for chunk in (
        {"choices": [{"index": 0, "delta": message}], "usage": None},
        {"choices": [], "usage": usage},
    ):
        reader.read(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    assert tokens == reader.usage()
    assert tokens is not None
    assert tokens.web_searches == searches


def test_searches_in_the_usage_take_precedence() -> None:
    usage = {**RESPONSES_USAGE, "server_tool_use": {"web_search_requests": 2}}
    answer = {"usage": usage, "output": [SEARCH]}
    tokens = RESPONSES.usage_of_answer(json.dumps(answer).encode())
    assert tokens is not None
    assert tokens.web_searches == 2
