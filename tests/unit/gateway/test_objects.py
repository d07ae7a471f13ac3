"""Which objects a body names: found wherever they stand, and however they are spelt."""

import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from libs.common.errors import InvalidRequest
from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.objects import brought_objects, is_disguised, named_objects


def objects_in(client_format: ClientFormat, body: Any) -> list[tuple[str, str]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    found = named_objects(client_format, raw, fields, disguised=is_disguised(raw))
    return [(each.path, each.id) for each in found]


@pytest.mark.parametrize(
    ("client_format", "body", "found"),
    [
        ("messages", {"container": None, "thread": {"type": "create"}}, []),
        (
            "messages",
            b'{"thread": {"previous_message_id": "a", "previous_message_id": "b"}}',
            [("thread.previous_message_id", "a"), ("thread.previous_message_id", "b")],
        ),
        (
            "messages",
            b'{ "messages" : [ {"content": "Hi"} , {"content": [{"source": {"file_id": "a"}}]} ] }',
            [("messages[1].content[0].source.file_id", "a")],
        ),
        (
            "messages",
            b'{"messages": [{"content": [{"source": {"\\u0066ile\\u005fid": "a"}}]}]}',
            [("messages[0].content[0].source.file_id", "a")],
        ),
        (
            "messages",
            b'{"messages": [{"content": [{"source": {"file_id": "a", "file_id": "b"}}]}]}',
            [
                ("messages[0].content[0].source.file_id", "a"),
                ("messages[0].content[0].source.file_id", "b"),
            ],
        ),
        (
            "messages",
            b'{"container": {"skills": [{"type": "x", "skill_id": "a", "type": "anthropic"}]}}',
            [("container.skills[0].skill_id", "a")],
        ),
        ("responses", {"previous_response_id": ["a"]}, [("previous_response_id[0]", "a")]),
        # Some servers read names in any case.
        ("responses", {"Previous_Response_Id": "a"}, [("Previous_Response_Id", "a")]),
        (
            "messages",
            {"THREAD": {"Previous_message_id": "a"}},
            [("THREAD.Previous_message_id", "a")],
        ),
        ("responses", {"input": "Is {'id': 'a'} an item?"}, []),
        ("responses", {"input": [{"role": "user", "content": '{"file_id": "a"}'}]}, []),
        (
            "responses",
            {"input": [{"type": "additional_tools", "tools": [{"container": "a"}]}]},
            [("input[0].tools[0].container", "a")],
        ),
        (
            "responses",
            {"input": [{"type": "reasoning", "id": "a", "encrypted_content": ""}]},
            [("input[0].id", "a")],
        ),
        ("responses", {"input": [{"type": "reasoning", "id": "a", "encrypted_content": "x"}]}, []),
        (
            "responses",
            b'{"input": [{"type": "reasoning", "id": "a", "encrypted_content": "", '
            b'"encrypted_content": "x"}, {"type": "function_call", "id": "b", "id": "c"}]}',
            [("input[0].id", "a")],
        ),
        (
            "responses",
            b'{"input": [{"type": "reasoning", "id": "a", "id": "b"}, {"type": "message", '
            b'"id": "c", "type": "item_reference"}]}',
            [("input[0].id", "a"), ("input[0].id", "b"), ("input[1].id", "c")],
        ),
        ("responses", {"input": [{"type": "function_call", "id": "a", "call_id": "c"}]}, []),
        ("responses", {"input": [{"type": ["x"], "id": "a"}]}, [("input[0].id", "a")]),
        ("responses", {"metadata": {"file_id": "a"}, "input": [{"id": None}]}, []),
        ("chat", {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, []),
        ("chat", {"tools": [{"function": {"parameters": {"file_id": "a"}}}]}, []),
        ("embeddings", {"input": "x", "file_id": "a"}, []),
    ],
)
def test_objects_named_by_a_body(
    client_format: ClientFormat, body: Any, found: list[tuple[str, str]]
) -> None:
    assert objects_in(client_format, body) == found


def test_the_number_of_named_objects_is_bounded() -> None:
    parts = [{"source": {"file_id": f"file_{n}"}} for n in range(257)]
    body = {"messages": [{"content": parts}]}

    with pytest.raises(InvalidRequest) as raised:
        objects_in("messages", body)

    assert raised.value.param == "messages[0].content[256].source.file_id"
    assert len(objects_in("messages", {"messages": [{"content": parts[:256]}]})) == 256


def test_huge_numbers_are_cheap() -> None:
    body = b'{"messages": [{"n": %b, "source": {"file_id": "a"}}]}' % (b"9" * 5_000)
    assert objects_in("messages", body) == [("messages[0].source.file_id", "a")]


@pytest.mark.parametrize(
    ("client_format", "answer", "ids"),
    [
        (
            "chat",
            {"choices": [{"message": {"audio": {"id": "a"}, "tool_calls": [{"id": "t"}]}}]},
            ("a",),
        ),
        ("messages", {"id": "msg", "container": {"id": "a"}, "content": [{"id": "toolu"}]}, ("a",)),
        ("messages", {"content": [{"content": {"content": [{"file_id": "a"}]}}]}, ("a",)),
        ("messages", {"content": [{"type": "tool_use", "input": {"file_id": "no"}}]}, ()),
        (
            "responses",
            [
                {
                    "container_id": "a",
                    "content": [{"annotations": [{"container_id": "a", "file_id": "b"}]}],
                }
            ],
            ("a", "b"),
        ),
        ("responses", [{"content": [{"annotations": [{"file_id": "found by a search"}]}]}], ()),
        ("responses", [{"results": [{"file_id": "found by a search"}]}], ()),
        # What a client's own server says of its tools makes nobody the owner of anything.
        (
            "responses",
            [{"type": "mcp_list_tools", "tools": [{"annotations": {"container_id": "no"}}]}],
            (),
        ),
        ("responses", [{"type": "tool_search_output", "tools": [{"container_id": "no"}]}], ()),
        ("responses", [{"type": "additional_tools", "tools": [{"container_id": "no"}]}], ()),
        (
            "messages",
            {"content": [{"type": "mcp_tool_listing", "tools": [{"meta": {"file_id": "no"}}]}]},
            (),
        ),
        (
            "messages",
            {"content": [{"type": "mcp_tool_result", "content": [{"container": {"id": "no"}}]}]},
            (),
        ),
    ],
)
def test_objects_created_by_an_answer(
    client_format: ClientFormat, answer: Any, ids: tuple[str, ...]
) -> None:
    assert brought_objects(client_format, json.dumps(answer).encode()) == ids


@pytest.mark.parametrize("answer", [b"", b"{", b'{"container": {"id": 5}}', b"\xff"])
def test_an_unreadable_answer_creates_no_objects(answer: bytes) -> None:
    assert brought_objects("messages", answer) == ()


def test_a_list_of_too_many_parts_is_rejected() -> None:
    body = {"messages": [{"content": [{"file_id": "a"}]}] + [{}] * 50_000}
    with pytest.raises(InvalidRequest) as refused:
        objects_in("messages", body)
    assert refused.value.param == "messages"


def test_too_many_small_values_are_rejected() -> None:
    """Not one by one, and not all together."""
    values = b"[" + b",".join([b"1"] * 500_001) + b"]"
    nodes = b"[" + b",".join([b"[]"] * 170_000) + b"]"
    for content in (values, nodes):
        messages = b",".join([b'{"file_id": 1, "x": %b}' % content] * 3)
        with pytest.raises(InvalidRequest):
            objects_in("messages", b'{"messages": [%b]}' % messages)
    few = b"[" + b",".join([b"[]"] * 10_000) + b"]"
    assert objects_in("messages", b'{"messages": [{"file_id": "a", "x": %b}]}' % few) != []


def test_a_list_that_inflates_in_memory_is_rejected() -> None:
    body = b'{"input": [{"id": "a"}, %b]}' % b",".join([b"1"] * 2_100_000)
    tracemalloc.start()
    with pytest.raises(InvalidRequest):
        named_objects("responses", body, {"input": msgspec.Raw(body[10:-1])}, disguised=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(body)


@pytest.mark.parametrize(
    ("text", "disguised"),
    [
        (rb'"\u0066ile_id"', True),
        (rb'"\\\u0066ile_id"', True),
        (rb'"file\u005Fid"', True),
        # What a text quotes of an expression, and what encoders write of signs.
        (rb'"[\\u0000-\\u001f\\u0061]"', False),
        (rb'"\u003c\u007f\u00e4"', False),
    ],
)
def test_escaped_names_are_found(text: bytes, disguised: bool) -> None:
    assert is_disguised(text) is disguised
