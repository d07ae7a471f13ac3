"""What is read from a request is written as it was, and read again as the same."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.tools import ToolChoice
from tests.unit.translation.responses.bodies import OPENAI, read, write_own

# Longer ids of calls go as their digest.
_LONGEST = 64
WORDS = st.text(min_size=1, max_size=20)
MARKS = st.sampled_from([{"mode": "explicit", "ttl": "30m"}, {"mode": "explicit", "ttl": "12h"}])
TEXT = st.fixed_dictionaries(
    {"type": st.just("input_text"), "text": WORDS},
    optional={"prompt_cache_breakpoint": MARKS},
)
IMAGE = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("input_image"),
            "image_url": st.sampled_from(["https://x/a.png", "data:image/png;base64,aGk="]),
            "detail": st.sampled_from(["auto", "low", "original"]),
        }
    ),
    st.just({"type": "input_image", "file_id": "file-1", "detail": "high"}),
)
FILE = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("input_file"),
            "filename": WORDS,
            "file_data": st.just("data:application/pdf;base64,aGk="),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("input_file"), "file_url": st.just("https://x/a.pdf")},
        optional={"detail": st.just("low"), "filename": WORDS},
    ),
    st.just({"type": "input_file", "file_id": "file-1"}),
)
CONTENT = st.one_of(WORDS, st.lists(st.one_of(TEXT, IMAGE, FILE), min_size=1, max_size=3))
SAID = st.fixed_dictionaries(
    {
        "type": st.just("output_text"),
        "text": WORDS,
        "annotations": st.sampled_from([[], [{"type": "file_path", "file_id": "f", "index": 1}]]),
    }
)
REFUSED = st.fixed_dictionaries({"type": st.just("refusal"), "refusal": WORDS})
IDS = st.sampled_from(["c1", "c2", "call_" + "x" * 80])
ITEMS = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "developer"]), "content": CONTENT}
    ),
    st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "content": st.one_of(WORDS, st.lists(st.one_of(SAID, REFUSED), min_size=1, max_size=3)),
        },
        optional={"phase": st.sampled_from(["commentary", "final_answer"])},
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("function_call"),
            "call_id": IDS,
            "name": st.sampled_from(["f", "g"]),
            "arguments": st.sampled_from(["{}", '{"a": 1.0}', "broken"]),
        },
        optional={
            "id": st.just("fc_1"),
            "namespace": st.just("ns"),
            "caller": st.just({"type": "program", "caller_id": "p"}),
            "async": st.just(True),
        },
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("custom_tool_call"),
            "call_id": st.just("k1"),
            "name": st.just("h"),
            "input": st.text(),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("function_call_output"), "call_id": IDS, "output": CONTENT}
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("reasoning"),
            "summary": st.lists(
                st.fixed_dictionaries({"type": st.just("summary_text"), "text": WORDS}), max_size=2
            ),
            "encrypted_content": st.sampled_from(["gAAA", "x"]),
        },
        optional={"id": st.just("rs_1")},
    ),
    st.just({"type": "compaction", "encrypted_content": "x"}),
    st.just({"type": "compaction_trigger"}),
    st.just({"type": "mcp_call", "id": "m", "arguments": "{}", "name": "t", "server_label": "s"}),
    st.just(
        {
            "type": "web_search_call",
            "id": "ws",
            "status": "completed",
            "action": {"type": "search", "query": "q"},
        }
    ),
    st.just(
        {
            "type": "additional_tools",
            "role": "developer",
            "tools": [{"type": "custom", "name": "late"}, {"type": "local_shell"}],
        }
    ),
)
TOOL_EXTRAS = {
    "defer_loading": st.just(True),
    "output_schema": st.just({"type": "string"}),
    "allowed_callers": st.just(["programmatic"]),
}
FUNCTION = st.fixed_dictionaries(
    {
        "type": st.just("function"),
        "name": st.sampled_from(["f", "g"]),
        "parameters": st.just({"type": "object", "properties": {"x": {}}}),
        "strict": st.booleans(),
    },
    optional={"description": WORDS, **TOOL_EXTRAS},
)
CUSTOM = st.fixed_dictionaries(
    {"type": st.just("custom"), "name": st.sampled_from(["h", "i"])},
    optional={
        "description": WORDS,
        "format": st.just({"type": "grammar", "syntax": "regex", "definition": "a+"}),
        **TOOL_EXTRAS,
    },
)
TOOLS = st.one_of(
    FUNCTION,
    CUSTOM,
    st.fixed_dictionaries(
        {
            "type": st.just("namespace"),
            "name": st.sampled_from(["n", "o"]),
            "description": WORDS,
            "tools": st.lists(st.one_of(FUNCTION, CUSTOM), min_size=1, max_size=2),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["web_search", "web_search_preview"])},
        optional={
            "search_context_size": st.just("low"),
            "user_location": st.just({"type": "approximate", "city": "Oslo"}),
        },
    ),
    st.just({"type": "image_generation", "quality": "low"}),
)
BODIES = st.fixed_dictionaries(
    {"input": st.one_of(WORDS, st.lists(ITEMS, min_size=1, max_size=8))},
    optional={
        "instructions": WORDS,
        "tools": st.lists(TOOLS, max_size=4),
        "tool_choice": st.sampled_from(
            [
                "auto",
                "required",
                {"type": "function", "name": "f"},
                {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]},
            ]
        ),
        "max_output_tokens": st.integers(16, 10**6),
        "max_tool_calls": st.integers(1, 5),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_logprobs": st.integers(0, 20),
        "include": st.sampled_from(
            [["reasoning.encrypted_content"], ["message.output_text.logprobs"]]
        ),
        "reasoning": st.sampled_from(
            [{"effort": "high"}, {"summary": "auto", "mode": "pro"}, {"context": "all_turns"}]
        ),
        "text": st.sampled_from(
            [
                {"verbosity": "low"},
                {"format": {"type": "json_object"}},
                {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
            ]
        ),
        "metadata": st.just({"a": "b"}),
        "user": WORDS,
        "safety_identifier": WORDS,
        "prompt_cache_key": WORDS,
        "prompt_cache_options": st.just({"ttl": "12h", "mode": "explicit"}),
        "service_tier": st.sampled_from(["flex", "priority"]),
        "store": st.booleans(),
        "stream": st.booleans(),
        "truncation": st.sampled_from(["auto", "disabled"]),
        "previous_response_id": st.just("resp_1"),
        "brand_new": st.just({"x": [1]}),
    },
)


def plain(request: Request) -> Any:
    """Less the places, which a shorter way to say the same changes, and long ids' digests."""
    builtins = msgspec.to_builtins(request, enc_hook=lambda raw: bytes(raw).replace(b" ", b""))
    builtins["labels"]["keeps"] = builtins["labels"]["keeps"] is True
    if not request.tools and request.choice == ToolChoice():
        # There is nothing to choose from.
        builtins["choice"] = None
    # The writer asks for signed thinking by itself.
    builtins["hints"].pop("include", None)
    return _without_places(builtins)


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        members = {name: _without_places(each) for name, each in value.items() if name != "at"}
        for name in members.keys() & {"id", "call_id"}:
            if len(members[name] or "") > _LONGEST or (members[name] or "").startswith("c_"):
                members[name] = None
        return members
    if isinstance(value, list | tuple):
        return [_without_places(each) for each in value]
    return value


@given(BODIES)
def test_a_request_is_read_again_as_the_same(body: dict[str, Any]) -> None:
    first = read(body)
    rewritten = write_own(first, OPENAI)
    assert plain(read(rewritten)) == plain(first)


def is_clients(item: dict[str, Any]) -> bool:
    """Whether the client said it, or one of its tools."""
    has_clients_role = item.get("role") in ("user", "system", "developer")
    return has_clients_role or str(item.get("type")).endswith("_output")


@given(st.lists(ITEMS, min_size=2, max_size=8), st.data())
def test_a_longer_conversation_extends_the_shorter_one(
    items: list[dict[str, Any]], data: st.DataObject
) -> None:
    # Tools that an item brings are listed once, wherever they come first.
    items = [item for item in items if item.get("type") != "additional_tools"]
    length = data.draw(st.integers(0, len(items)))
    # What the model says at a time is one turn: a conversation goes on after it, not in it.
    while 0 < length < len(items) and not is_clients(items[length]):
        length -= 1
    whole = write_own(read({"input": items}))["input"]
    part = write_own(read({"input": items[:length]}))["input"]
    assert whole[: len(part)] == part
