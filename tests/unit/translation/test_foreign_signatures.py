"""What the gateway minted for its clients falls out of what it relays; all else stays."""

import json
from typing import Any

import msgspec
import pytest

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.foreign_signatures import without_foreign_signatures
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.thought_signatures import envelope

FOREIGN = envelope(ThoughtSignature("google", "s"))
UNSIGNED = envelope(ThoughtSignature("none", ""))
SAID = {"type": "text", "text": "said"}
OWN = {"type": "thinking", "thinking": "t", "signature": "c2ln"}
THOUGHT = {"type": "thinking", "thinking": "t", "signature": FOREIGN}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def body(name: str, turns: Any) -> dict[str, Any]:
    return {name: msgspec.Raw(json.dumps(turns).encode()), "model": msgspec.Raw(b'"m"')}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "t", "signature": FOREIGN},
        {"type": "thinking", "thinking": "t", "signature": UNSIGNED},
        {"type": "thinking", "thinking": "t", "signature": ""},
        {"type": "redacted_thinking", "data": FOREIGN},
        {"type": "server_tool_use", "id": f"srvtoolu_{FOREIGN}", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": f"srvtoolu_{FOREIGN}", "content": []},
    ],
)
def test_a_message_keeps_its_own_thinking_alone(block: dict[str, Any]) -> None:
    user = {"role": "user", "content": "q"}
    fields = body("messages", [user, assistant(block, OWN, SAID)])
    kept = without_foreign_signatures("messages", fields, "anthropic")
    assert kept == {**fields, "messages": [user, assistant(OWN, SAID)]}


def test_a_message_keeps_text_without_what_another_search_is_quoted_by() -> None:
    ours = {"type": "web_search_result_location", "url": "https://x", "encrypted_index": FOREIGN}
    own = {**ours, "encrypted_index": "e"}
    fields = body("messages", [assistant({**SAID, "citations": [ours]})])
    kept = without_foreign_signatures("messages", fields, "anthropic")
    assert kept["messages"] == [assistant(SAID)]
    fields = body("messages", [assistant({**SAID, "citations": [ours, own]})])
    kept = without_foreign_signatures("messages", fields, "anthropic")
    assert kept["messages"] == [assistant({**SAID, "citations": [own]})]


@pytest.mark.parametrize("signed", [FOREIGN, UNSIGNED, '[{"type":"thinking","thinking":"t"}]'])
def test_a_response_s_foreign_reasoning_falls_out(signed: str) -> None:
    own = {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
    foreign = {"type": "reasoning", "summary": [], "encrypted_content": signed}
    user = {"role": "user", "content": "q"}
    kept = without_foreign_signatures("responses", body("input", [user, foreign, own]), "openai")
    assert kept["input"] == [user, own]


def test_a_chat_s_blocks_and_gemini_s_signatures_fall_out() -> None:
    turn = {
        "role": "assistant",
        "content": None,
        "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": FOREIGN}],
        "tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "s"}}}],
    }
    kept = without_foreign_signatures("chat", body("messages", [turn]), "openai")
    assert kept["messages"] == [{"role": "assistant", "content": None, "tool_calls": [CALL]}]


def test_gemini_gets_its_own_signatures_back() -> None:
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "s"}}}
    fields = body("messages", [{"role": "assistant", "content": None, "tool_calls": [signed]}])
    assert without_foreign_signatures("chat", fields, "gemini") is fields


@pytest.mark.parametrize(
    ("client_format", "name", "turns"),
    [
        ("messages", "messages", [assistant(OWN, SAID)]),
        # What a user says of an envelope is not an envelope.
        ("messages", "messages", [{"role": "user", "content": FOREIGN}]),
        (
            "messages",
            "messages",
            [{"role": "user", "content": [{"type": "text", "text": FOREIGN}]}],
        ),
        ("responses", "input", FOREIGN),
        ("responses", "input", [{"role": "user", "content": FOREIGN}]),
        ("chat", "messages", [{"role": "user", "content": FOREIGN}, None, 3]),
        ("embeddings", "input", [FOREIGN]),
    ],
)
def test_everything_else_stays_byte_for_byte(
    client_format: ClientFormat, name: str, turns: Any
) -> None:
    fields = body(name, turns)
    assert without_foreign_signatures(client_format, fields, "x") is fields


def test_unreadable_messages_are_forwarded_unchanged() -> None:
    fields = {"messages": msgspec.Raw(b'[{"content": gws1.}]')}
    assert without_foreign_signatures("messages", fields, "anthropic") is fields


@pytest.mark.parametrize(
    ("asked", "first", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 2048}, THOUGHT, {"type": "disabled"}),
        ({"type": "adaptive"}, THOUGHT, {"type": "adaptive"}),
        ({"type": "enabled", "budget_tokens": 2048}, OWN, None),
    ],
    ids=["budget", "adaptive", "own"],
)
def test_a_budget_is_given_up_amid_the_tools_of_another(
    asked: dict[str, Any], first: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    """Anthropic refuses calls that do not follow thinking, and an envelope is none of its own."""
    use = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "r"}
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "q"}]},
        {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "a"}]},
        {"role": "user", "content": [{"type": "text", "text": "q"}]},
        {"role": "assistant", "content": [first, use]},
        {"role": "user", "content": [result]},
    ]
    fields = {**body("messages", turns), "thinking": msgspec.Raw(json.dumps(asked).encode())}
    kept = without_foreign_signatures("messages", fields, "anthropic")
    assert msgspec.json.decode(msgspec.json.encode(kept["thinking"])) == (expected or asked)


@pytest.mark.parametrize(
    ("provider", "is_elsewhere", "is_kept"),
    [
        ("openai", False, False),
        ("deepseek", True, False),
        # Another gateway, which may have Claude's models.
        ("openai", True, True),
    ],
)
def test_claude_s_own_thinking_goes_to_no_chat_that_cannot_be_claude_s(
    provider: str, is_elsewhere: bool, is_kept: bool
) -> None:
    turn = {"role": "assistant", "content": "a", "thinking_blocks": [OWN]}
    fields = body("messages", [turn])
    kept = without_foreign_signatures("chat", fields, provider, is_elsewhere=is_elsewhere)
    if is_kept:
        assert kept is fields
    else:
        assert kept["messages"] == [{"role": "assistant", "content": "a"}]
