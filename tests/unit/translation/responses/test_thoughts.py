"""Reasoning items, and whose signatures they hold."""

import json

from services.gateway.upstream.translation.conversation import Request, Turn
from services.gateway.upstream.translation.parts import (
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.thought_signatures import envelope
from tests.unit.translation.responses.bodies import (
    USER,
    parts_of,
    read,
    write,
    write_own,
)


def test_thinking_of_others_is_left_out_and_ones_own_goes_back() -> None:
    own = Thinking(text="told", signature=ThoughtSignature("openai", "enc"))
    turn = Turn(
        role="assistant",
        parts=(
            Thinking(text="a", signature=ThoughtSignature("anthropic", "SIG-A")),
            Thinking(text="b", signature=ThoughtSignature("none", "")),
            Thinking(text="c"),
            own,
            ToolCall(id="c", name="f", arguments="", signature=ThoughtSignature("google", "SIG-G")),
        ),
        at=(1,),
    )
    question = Turn(role="user", parts=(Text(text="x"),))
    body = write(Request(turns=(question, turn)))
    assert body["input"][1:] == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "told"}],
            "encrypted_content": "enc",
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]
    assert "SIG" not in json.dumps(body)
    replaying = Profile(family="other", replays_thinking="reasoning_content")
    assert [
        item.get("content") for item in write(Request(turns=(question, turn)), replaying)["input"]
    ][1:3] == [[{"type": "reasoning_text", "text": text}] for text in ("b", "c")]


def test_a_reasoning_item_without_its_signature_is_for_who_keeps_it() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    body = {"input": [USER, item, {"role": "assistant", "content": "x"}]}
    assert [i.get("type") for i in write_own(read({**body, "store": True}))["input"]] == [
        None,
        "reasoning",
        None,
    ]
    assert len(write_own(read({**body, "store": False}))["input"]) == 2


def test_an_id_of_our_own_making_is_not_sent_to_anybody() -> None:
    minted = f"rs_{'0' * 48}_1"
    item = {"type": "reasoning", "id": minted, "summary": [], "encrypted_content": "enc"}
    assert "id" not in write_own(read({"input": [USER, item, USER]}))["input"][1]
    item["id"] = f"rs_{'0' * 48}"
    assert write_own(read({"input": [USER, item, USER]}))["input"][1]["id"] == item["id"]


def test_reasoning_items_of_an_earlier_version_are_read() -> None:
    blocks = [
        {"type": "thinking", "thinking": "t", "signature": "S"},
        {"type": "redacted_thinking", "data": "D"},
        {"type": "thinking", "thinking": "u", "signature": ""},
    ]
    item = {"type": "reasoning", "summary": [], "encrypted_content": json.dumps(blocks)}
    assert parts_of(item)[:1] != ()
    item["encrypted_content"] = json.dumps(blocks, separators=(",", ":"))
    assert parts_of(item) == (
        Thinking(text="t", signature=ThoughtSignature("anthropic", "S"), at=(0,)),
        Thinking(signature=ThoughtSignature("anthropic", "D"), is_redacted=True, at=(0,)),
        Thinking(text="u", signature=ThoughtSignature("none", ""), at=(0,)),
    )


def test_an_unreadable_envelope_is_ignored() -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": "gws1.anthropic.%%%"}
    assert parts_of(item) == (Thinking(at=(0,)),)
    item["encrypted_content"] = envelope(ThoughtSignature("anthropic", "not ours"))
    assert parts_of(item) == (
        Thinking(signature=ThoughtSignature("anthropic", "not ours"), at=(0,)),
    )
