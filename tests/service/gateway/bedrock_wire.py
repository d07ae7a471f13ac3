"""Bedrock's Converse answers as they are on the wire: JSON, and its binary event streams."""

import json
import zlib
from collections.abc import Iterable
from typing import Any

CLAUDE = "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0"
NEWER_CLAUDE = "bedrock/us.anthropic.claude-opus-4-6-v1"
NOVA = "bedrock/us.amazon.nova-2-lite-v1:0"
LLAMA = "bedrock/meta.llama3-1-70b-instruct-v1:0"
USAGE = {
    "inputTokens": 20,
    "cacheReadInputTokens": 500,
    "cacheWriteInputTokens": 30,
    "outputTokens": 9,
    "totalTokens": 29,
}
TEXT = {"text": "hello"}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "a long thought", "signature": "sig"}}}
CALL = {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": {"a": 1}}}


def converse(*content: dict[str, Any], stop: str = "end_turn") -> bytes:
    answer = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop,
        "usage": USAGE,
        "metrics": {"latencyMs": 1},
    }
    return json.dumps(answer).encode()


def event(name: str, payload: dict[str, Any], kind: str = "event") -> bytes:
    """One message of `application/vnd.amazon.eventstream`, with its checksums."""
    word = ":event-type" if kind == "event" else ":exception-type"
    fields = {word: name, ":content-type": "application/json", ":message-type": kind}
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
        for key, value in fields.items()
    )
    body = json.dumps(payload).encode()
    prelude = (16 + len(headers) + len(body)).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    message = prelude + zlib.crc32(prelude).to_bytes(4, "big") + headers + body
    return message + zlib.crc32(message).to_bytes(4, "big")


BEGUN = [
    event("messageStart", {"role": "assistant"}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "hel"}}),
]
ENDED = [
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "lo"}}),
    event("contentBlockStop", {"contentBlockIndex": 0}),
    event(
        "contentBlockStart",
        {
            "contentBlockIndex": 1,
            "start": {"toolUse": {"toolUseId": "tooluse_1", "name": "f"}},
        },
    ),
    event(
        "contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"a":1}'}}}
    ),
    event("contentBlockStop", {"contentBlockIndex": 1}),
    event("messageStop", {"stopReason": "tool_use"}),
    event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}),
]
STREAM_HEADERS = {"content-type": "application/vnd.amazon.eventstream"}


def cut(messages: Iterable[bytes]) -> list[bytes]:
    """In reads that end anywhere."""
    data = b"".join(messages)
    return [data[start : start + 37] for start in range(0, len(data), 37)]
