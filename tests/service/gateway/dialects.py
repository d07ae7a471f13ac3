"""The three client formats as tests speak them: requests, whole answers, streams, errors."""

import json
from typing import Any

import httpx2
import msgspec

from libs.common.schemas.usage import ClientFormat, TokenUsage
from tests.service.gateway.stage import CHAT_MODEL, MESSAGES_MODEL
from tests.service.gateway.upstream import Upstream

TEXT = "Good day to you."
# By the tokeniser that estimates what a provider does not report.
TEXT_TOKENS = 5
# What every scripted answer says that it used.
TOKENS = TokenUsage(input_text=15, cache_read=5, output_text=7)
_OPENAI_CHAT_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 5},
}
_OPENAI_RESPONSES_USAGE = {
    "input_tokens": 20,
    "output_tokens": 7,
    "total_tokens": 27,
    "input_tokens_details": {"cached_tokens": 5},
}
_ANTHROPIC_USAGE = {"input_tokens": 15, "cache_read_input_tokens": 5, "output_tokens": 7}
# HTTP status: the type in OpenAI's shape, and in Anthropic's.
_TYPES = {
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("authentication_error", "authentication_error"),
    402: ("insufficient_quota", "billing_error"),
    403: ("permission_error", "permission_error"),
    404: ("invalid_request_error", "not_found_error"),
    405: ("invalid_request_error", "invalid_request_error"),
    413: ("invalid_request_error", "request_too_large"),
    415: ("invalid_request_error", "invalid_request_error"),
    429: ("rate_limit_error", "rate_limit_error"),
    431: ("invalid_request_error", "invalid_request_error"),
    500: ("api_error", "api_error"),
    502: ("api_error", "api_error"),
    503: ("api_error", "api_error"),
    504: ("api_error", "timeout_error"),
}


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One format; `whole` and `frames` are what a provider answers with."""

    name: ClientFormat
    path: str
    upstream_path: str
    model: str
    prompt_field: str
    limit_field: str
    whole: dict[str, Any]
    frames: tuple[bytes, ...]
    wanted: dict[str, Any] = {}

    def body(self, prompt: str = "Hi", *, stream: bool = False, **fields: Any) -> dict[str, Any]:
        """A request; a chat stream asks for its usage, so that its bytes pass unchanged."""
        value: Any = prompt
        if self.prompt_field == "messages":
            value = [{"role": "user", "content": prompt}]
        body = {"model": self.model, self.prompt_field: value, self.limit_field: 100}
        return {**body, **({"stream": True, **self.wanted} if stream else {}), **fields}

    @property
    def answer(self) -> bytes:
        """With spaces that only a relay would keep."""
        return json.dumps(self.whole, indent=1).encode()

    @property
    def stream(self) -> bytes:
        return b"".join(self.frames)

    def served_by(self, upstream: Upstream, *, stream: bool) -> None:
        """From now on, the provider answers as it should."""
        if stream:
            upstream.streams(self.frames)
        else:
            upstream.answers(self.answer)

    def status_of(self, status: int) -> int:
        """OpenAI's clients know no 402."""
        return 429 if status == 402 and self.name != "messages" else status

    def check_error(self, response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
        """The whole contract of an error: status, ids, and the format's own shape; its fields."""
        assert response.status_code == self.status_of(status), response.text
        assert response.headers["content-type"] == "application/json"
        request_id = response.headers["request-id"]
        assert response.headers["x-request-id"] == request_id
        return self.check_error_body(response.json(), request_id, status, code)

    def check_error_body(
        self, body: dict[str, Any], request_id: str, status: int, code: str
    ) -> dict[str, Any]:
        openai, anthropic = _TYPES[status]
        error: dict[str, Any] = body["error"]
        assert error["message"]
        if self.name == "messages":
            assert body == {"type": "error", "error": error, "request_id": request_id}
            assert set(error) - {"details"} == {"type", "message"}
            assert error["type"] == anthropic
        else:
            assert set(error) == {"message", "type", "param", "code"}
            assert error["type"] == openai
            assert error["code"] == ("insufficient_quota" if status == 402 else code)
        return error


def _data(fields: Any) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


def named(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + _data({"type": kind, **fields})


def chunk(delta: dict[str, Any], **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return _data({"object": "chat.completion.chunk", "choices": [choice], **fields})


CHAT = Dialect(
    name="chat",
    path="/v1/chat/completions",
    upstream_path="/v1/chat/completions",
    model=CHAT_MODEL,
    prompt_field="messages",
    limit_field="max_tokens",
    whole={
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}}],
        "usage": _OPENAI_CHAT_USAGE,
    },
    frames=(
        chunk({"role": "assistant"}, usage=None),
        chunk({"content": TEXT}, usage=None),
        _data({"choices": [], "usage": _OPENAI_CHAT_USAGE}),
        b"data: [DONE]\n\n",
    ),
    wanted={"stream_options": {"include_usage": True}},
)
MESSAGES = Dialect(
    name="messages",
    path="/v1/messages",
    upstream_path="/v1/messages",
    model=MESSAGES_MODEL,
    prompt_field="messages",
    limit_field="max_tokens",
    whole={
        "type": "message",
        "content": [{"type": "text", "text": TEXT}],
        "usage": _ANTHROPIC_USAGE,
    },
    frames=(
        named("message_start", message={"usage": {**_ANTHROPIC_USAGE, "output_tokens": 1}}),
        named("content_block_delta", index=0, delta={"type": "text_delta", "text": TEXT}),
        named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7}),
        named("message_stop"),
    ),
)
RESPONSES = Dialect(
    name="responses",
    path="/v1/responses",
    upstream_path="/v1/responses",
    model=CHAT_MODEL,
    prompt_field="input",
    limit_field="max_output_tokens",
    whole={
        "object": "response",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": TEXT}]}],
        "usage": _OPENAI_RESPONSES_USAGE,
    },
    frames=(
        named("response.created", response={"usage": None}),
        named("response.output_text.delta", delta=TEXT),
        named("response.completed", response={"usage": _OPENAI_RESPONSES_USAGE}),
    ),
)
DIALECTS = (CHAT, MESSAGES, RESPONSES)
