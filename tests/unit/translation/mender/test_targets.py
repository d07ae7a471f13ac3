"""Whole bodies for real models: what providers refused, or clients could not cure."""

import json
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

from libs.common.errors import InvalidRequest
from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.thought_signatures import shown_signature
from tests.unit.translation.judge import faults
from tests.unit.translation.mender.calls import mend_body

USER_ID = '{"device_id":"' + "d" * 64 + '","account_uuid":"","session_id":"' + "s" * 36 + '"}'
TYPES: dict[ClientFormat, Any] = {
    "chat": CompletionCreateParamsNonStreaming,
    "messages": MessageCreateParamsNonStreaming,
    "responses": ResponseCreateParamsNonStreaming,
}
TOOL = {"name": "Bash", "description": "d", "input_schema": {"type": "object", "properties": {}}}
# As Claude Code sends it, in the second turn of a session.
CLAUDE_CODE: dict[str, Any] = {
    "model": "x",
    "max_tokens": 32_000,
    "metadata": {"user_id": USER_ID},
    "thinking": {"type": "enabled", "budget_tokens": 31_999},
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.b97;"},
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
    ],
    "tools": [TOOL],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "minted"},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": "out",
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        },
    ],
}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
AGENT: dict[str, Any] = {
    "model": "x",
    "reasoning_effort": "high",
    "tools": [FUNCTION],
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
    ],
}
CODEX: dict[str, Any] = {
    "model": "x",
    "instructions": "You are an agent.",
    "input": [{"type": "message", "role": "user", "content": "q"}],
    "reasoning": {"effort": "high", "summary": "auto"},
    "text": {"verbosity": "low"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "parallel_tool_calls": False,
    "tools": [
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False},
        {"type": "web_search", "external_web_access": False},
    ],
}
TARGETS: tuple[tuple[str, ClientFormat], ...] = (
    ("gpt-4.1-mini", "responses"),
    ("gpt-4.1-mini", "chat"),
    ("gpt-5-mini", "responses"),
    ("gpt-5-mini", "chat"),
    ("gpt-5.6-sol", "responses"),
    ("o3-pro", "responses"),
    ("claude-haiku-4-5", "messages"),
    ("claude-opus-4-5", "messages"),
    ("claude-sonnet-4-6", "messages"),
    ("claude-opus-5", "messages"),
    ("claude-fable-5", "messages"),
    ("claude-of-tomorrow", "messages"),
    ("gpt-of-tomorrow", "responses"),
    ("hosted_vllm/qwen", "chat"),
    ("deepseek/deepseek-chat", "chat"),
    ("deepseek/deepseek-reasoner", "chat"),
    ("groq/openai/gpt-oss-120b", "chat"),
    ("mistral/mistral-large-latest", "chat"),
    ("xai/grok-4", "chat"),
    ("openrouter/some/model", "chat"),
)
OLD_BEDROCK = "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"
# What servers take that OpenAI's types do not have.
EXTENSIONS = ("$.random_seed: unknown", "$.top_k: unknown")


def all_pairs() -> Iterator[Any]:
    for name, to in TARGETS:
        for client, body in (
            ("messages", CLAUDE_CODE),
            ("chat", AGENT),
            ("responses", CODEX),
        ):
            yield pytest.param(client, body, name, to, id=f"{client}-{name}-{to}")


@pytest.mark.parametrize(("client", "body", "name", "to"), list(all_pairs()))
def test_agents_run_on_every_model(
    client: ClientFormat, body: dict[str, Any], name: str, to: ClientFormat
) -> None:
    """Unasked, and in bodies of the target's own types."""
    found = mend_body(client, body, name, to)
    assert found.dropped == ()
    assert [each for each in faults(found.body, TYPES[to]) if each not in EXTENSIONS] == []
    text = json.dumps(found.body)
    if "claude" not in name:
        for foreign in ("x-anthropic-billing", "minted", USER_ID[:40], "cache_control"):
            assert foreign not in text


def test_claude_code_on_a_model_that_does_not_think() -> None:
    found = mend_body("messages", CLAUDE_CODE, "gpt-4.1-mini", "responses")
    digest = sha256(USER_ID.encode()).hexdigest()
    assert found.adapted == ("thinking",)
    assert "reasoning" not in found.body
    assert found.body["instructions"] == "You are an agent."
    assert (found.body["user"], found.body["prompt_cache_key"]) == (digest, digest)
    assert found.body["store"] is False


def test_an_agents_second_turn_on_claude() -> None:
    old = mend_body("chat", AGENT, "claude-sonnet-4-5", "messages")
    assert old.body["thinking"] == {"type": "disabled"}
    assert old.adapted == ("reasoning_effort",)
    assert old.body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    ]
    new = mend_body("chat", AGENT, "claude-opus-5", "messages")
    assert (new.body["thinking"], new.adapted) == ({"type": "adaptive"}, ())
    assert new.body["output_config"] == {"effort": "high"}


@pytest.mark.parametrize(
    ("limit", "thinking", "max_tokens"),
    [
        ({"max_tokens": 1_000}, {"type": "disabled"}, 1_000),
        ({"max_completion_tokens": 3_000}, {"type": "enabled", "budget_tokens": 1_976}, 3_000),
        ({}, {"type": "enabled", "budget_tokens": 16_384}, 64_000),
        ({"max_tokens": 100_000}, {"type": "enabled", "budget_tokens": 16_384}, 64_000),
    ],
)
def test_thought_leaves_room_for_the_answer(
    limit: dict[str, int], thinking: dict[str, Any], max_tokens: int
) -> None:
    body = {
        "model": "x",
        "reasoning_effort": "high",
        "messages": [{"role": "user", "content": "q"}],
        **limit,
    }
    found = mend_body("chat", body, "claude-sonnet-4-5", "messages").body
    assert (found["thinking"], found["max_tokens"]) == (thinking, max_tokens)


def test_codex_on_claude_and_on_a_server() -> None:
    claude = mend_body("responses", CODEX, "claude-sonnet-4-5", "messages")
    assert claude.body["thinking"]["budget_tokens"] == 16_384
    assert claude.body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    server = mend_body("responses", CODEX, "hosted_vllm/qwen", "chat")
    assert server.body["reasoning_effort"] == "high"
    assert set(server.adapted) == set(claude.adapted) == {"tools[1]", "text.verbosity"}
    for found in (claude, server):
        assert [tool.get("type", "function") for tool in found.body["tools"]] == ["function"]


@pytest.mark.parametrize(
    ("name", "to", "field"),
    [
        ("gpt-5-mini", "responses", "temperature"),
        ("claude-opus-5", "messages", "temperature"),
        ("mistral/mistral-large-latest", "chat", "logit_bias"),
    ],
)
def test_an_option_is_refused_by_the_clients_name(name: str, to: ClientFormat, field: str) -> None:
    body: dict[str, Any] = {
        "model": "x",
        "messages": [{"role": "user", "content": "q"}],
        field: {"5": 1} if field == "logit_bias" else 0.2,
    }
    with pytest.raises(InvalidRequest) as refused:
        mend_body("chat", body, name, to)
    assert refused.value.param == field
    lax = mend_body("chat", body, name, to, drops=True)
    assert (lax.dropped, field in lax.body) == ((field,), False)


def test_mistral_gets_its_own_words() -> None:
    body = {
        "model": "x",
        "messages": [{"role": "user", "content": "q"}],
        "max_completion_tokens": 5,
        "seed": 1,
        "user": "u",
        "stream": True,
    }
    assert mend_body("chat", body, "mistral/mistral-large-latest", "chat").body == {
        "model": "mistral-large-latest",
        "messages": [{"role": "user", "content": "q"}],
        "max_tokens": 5,
        "random_seed": 1,
        "stream": True,
    }


@pytest.mark.parametrize(
    ("client", "to", "body", "name"),
    [
        ("messages", "responses", CLAUDE_CODE, "gpt-5.6-sol"),
        ("messages", "chat", CLAUDE_CODE, "hosted_vllm/qwen"),
        ("chat", "messages", AGENT, "claude-opus-5"),
        ("responses", "messages", CODEX, "claude-opus-5"),
    ],
)
def test_a_longer_conversation_begins_with_the_shorter_one(
    client: ClientFormat, to: ClientFormat, body: dict[str, Any], name: str
) -> None:
    """At every end of a turn, so that caches and signatures hold."""
    field = "input" if client == "responses" else "messages"
    turns = body[field] * 3 if client == "responses" else _three_rounds(body[field])
    ends = [n for n in range(1, len(turns) + 1) if n == len(turns) or _begins(turns[n])]
    sent_field = "input" if to == "responses" else "messages"
    whole = mend_body(client, body | {field: turns}, name, to).body[sent_field]
    for end in ends:
        part = mend_body(client, body | {field: turns[:end]}, name, to).body[sent_field]
        assert part == whole[: len(part)]


def _begins(turn: dict[str, Any]) -> bool:
    """Whether it is the model's: what is before it has been sent, with it to be answered."""
    return bool(turn["role"] == "assistant")


def _three_rounds(turns: list[Any]) -> list[Any]:
    """With ids of their own, for a call is answered once."""
    text = json.dumps(turns)
    rounds = [text.replace("toolu_1", f"toolu_{n}").replace('"c1"', f'"c{n}"') for n in range(3)]
    first: list[Any]
    first, *rest = [json.loads(each) for each in rounds]
    return first + [turn for each in rest for turn in each if turn["role"] != "system"]


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        (OLD_BEDROCK, {"reasoning_effort": "high"}, {"type": "enabled", "budget_tokens": 16_384}),
        (OLD_BEDROCK, {"reasoning_effort": "none"}, {"type": "disabled"}),
        ("vertex_ai/claude-opus-4-6", {"reasoning_effort": "high"}, "high"),
        (
            "gemini/gemini-2.5-pro",
            {"reasoning_effort": "high"},
            {"type": "enabled", "budget_tokens": 16_384},
        ),
        ("gemini/gemini-3.1-pro-preview", {"reasoning_effort": "high"}, "high"),
    ],
)
def test_effort_is_translated_for_models_behind_litellm(
    name: str, asked: dict[str, Any], expected: Any
) -> None:
    body = {"model": "x", "messages": [{"role": "user", "content": "q"}], **asked}
    found = mend_body("chat", body, name, "chat").body
    assert found.get("thinking") == (expected if isinstance(expected, dict) else None)
    assert found.get("reasoning_effort") == (None if isinstance(expected, dict) else expected)


def test_cohere_is_asked_in_its_own_words() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = {
        "model": "x",
        "messages": [{"role": "user", "content": "q"}],
        "max_completion_tokens": 9,
        "user": "u",
        "tools": [tool],
        "tool_choice": "required",
        "stream": True,
    }
    assert mend_body("chat", body, "cohere_chat/command-a-03-2025", "chat").body == {
        "model": "command-a-03-2025",
        "messages": [{"role": "user", "content": "q"}],
        "max_tokens": 9,
        "tools": [tool],
        "tool_choice": "required",
        "stream": True,
    }


FAMILIES = ("anthropic", "openai", "google", "deepseek")


def _minted(family: str) -> str:
    return f"minted-by-{family}"


def _thought(family: str) -> dict[str, Any]:
    """As a Messages client has it of that family, from an answer of the gateway's."""
    signature = ThoughtSignature(family, _minted(family))
    return {
        "type": "thinking",
        "thinking": f"thought-of-{family}",
        "signature": shown_signature(signature, "anthropic"),
    }


@pytest.mark.parametrize(
    ("name", "to", "own"),
    [
        ("claude-sonnet-4-6", "messages", "anthropic"),
        ("gpt-5-mini", "responses", "openai"),
        ("gpt-5-mini", "chat", None),
        ("hosted_vllm/qwen", "chat", None),
        ("gpt-4.1", "responses", None),
        (OLD_BEDROCK, "chat", "anthropic"),
    ],
)
def test_signatures_of_one_family_reach_no_other(
    name: str, to: ClientFormat, own: str | None
) -> None:
    """Each in a turn of its own, then all of them in one, which keeps none."""
    turns: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
    for family in FAMILIES:
        turns += [
            {"role": "assistant", "content": [_thought(family), {"type": "text", "text": "a"}]},
            {"role": "user", "content": "q"},
        ]
    body = {"model": "x", "max_tokens": 9_000, "messages": turns}
    found = json.dumps(mend_body("messages", body, name, to).body)
    assert {family for family in FAMILIES if _minted(family) in found} == ({own} if own else set())
    for family in FAMILIES:
        if family != own:
            assert b64encode(_minted(family).encode()).decode().rstrip("=") not in found
            assert f"thought-of-{family}" not in found
    mixed = [*map(_thought, FAMILIES), {"type": "text", "text": "a"}]
    body["messages"] = [turns[0], {"role": "assistant", "content": mixed}, turns[0]]
    found = json.dumps(mend_body("messages", body, name, to).body)
    assert "minted" not in found
    assert "thought-of" not in found
