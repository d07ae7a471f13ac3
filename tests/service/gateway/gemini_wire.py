"""Gemini's answers as they are on the wire."""

import json
from typing import Any

OLD, OLD_PRO = "gemini/gemini-2.5-flash", "gemini/gemini-2.5-pro"
NEW, NEW_PRO = "gemini/gemini-3-flash-preview", "gemini/gemini-3.1-pro-preview"
HI = [{"role": "user", "content": "hi"}]


def answer(*parts: dict[str, Any], finish: str = "STOP", **usage: int) -> dict[str, Any]:
    return {
        "candidates": [
            {"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": 5,
            "candidatesTokenCount": 2,
            "totalTokenCount": 7,
            **usage,
        },
        "modelVersion": "gemini",
        "responseId": "r1",
    }


def frames(*chunks: dict[str, Any] | bytes) -> list[bytes]:
    return [
        chunk if isinstance(chunk, bytes) else f"data: {json.dumps(chunk)}\r\n\r\n".encode()
        for chunk in chunks
    ]


def piece(*parts: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """A chunk of a stream that is not its last."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini", "responseId": "r1"}
