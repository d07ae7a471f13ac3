"""Finds a provider's own error message, wherever LiteLLM left it; never LiteLLM's own words."""

import ast
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

MAX_MESSAGE_CHARS = 4_000
_MAX_SEARCHED_CHARS = 16_384
_STATUSES = range(400, 600)
# Google's `RetryInfo`, in JSON and in Python's words for it.
_RETRY_DELAY = re.compile(r"""retryDelay\\?["']\s*:\s*\\?["'](\d{1,6}(?:\.\d{1,9})?)s""")
# LiteLLM's words for a body of Google's that is an error under a status 200.
_GOT = "Got="
# An error event of Google's: its status and its message.
_OF_GOOGLE = re.compile(r"([A-Z]+(?:_[A-Z]+)*) - (.+)", re.DOTALL)
_GOOGLES_WORDS = frozenset(
    {
        "ABORTED",
        "CANCELLED",
        "DEADLINE_EXCEEDED",
        "FAILED_PRECONDITION",
        "INTERNAL",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "UNAUTHENTICATED",
        "UNAVAILABLE",
        "UNKNOWN",
    }
)


class Words(NamedTuple):
    """`status` is a number that the error itself names."""

    message: str
    code: str | None = None
    status: int | None = None


def words_of_provider(causes: Iterable[BaseException], text: str) -> Words | None:
    """`text` is the first cause's, without what LiteLLM put in front of it."""
    for cause in causes:
        body = getattr(cause, "body", None)
        found = _words_of(body) if isinstance(body, Mapping) else None
        if found is not None:
            return found
    if text.startswith(("b'", 'b"')):
        evaluated = _evaluate(text)
        if not isinstance(evaluated, bytes):
            return None
        text = evaluated.decode("utf-8", "replace")
    event = _OF_GOOGLE.fullmatch(text)
    if event is not None and event[1] in _GOOGLES_WORDS:
        return Words(event[2][:MAX_MESSAGE_CHARS], event[1])
    start = text.find(_GOT)
    if start >= 0:
        body = _evaluate(text[start + len(_GOT) : text.rfind("}") + 1])
    else:
        try:
            body = msgspec.json.decode(text[text.find("{") :])
        except msgspec.DecodeError:
            return None
    return _words_of(body) if isinstance(body, Mapping) else None


def retry_after(causes: Iterable[BaseException]) -> str | None:
    """The header as it came, wherever it is; else Google's delay, in whole seconds."""
    delay = None
    for cause in causes:
        for headers in (
            getattr(cause, "litellm_response_headers", None),
            getattr(getattr(cause, "response", None), "headers", None),
        ):
            value = headers.get("retry-after") if headers is not None else None
            if isinstance(value, str):
                return value
        text = str(getattr(cause, "message", cause))
        delay = delay or _RETRY_DELAY.search(text, 0, _MAX_SEARCHED_CHARS)
    return None if delay is None else str(math.ceil(float(delay[1])))


def _evaluate(text: str) -> Any:
    """Of what Python writes for a value."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _words_of(body: Mapping[str, Any]) -> Words | None:
    inner = body.get("error", body)
    if isinstance(inner, str):
        return Words(inner[:MAX_MESSAGE_CHARS])
    if not isinstance(inner, Mapping) or not isinstance(inner.get("message"), str):
        return None
    code = inner.get("code")
    status = code if type(code) is int and code in _STATUSES else None
    if not isinstance(code, str):
        # Anthropic's type and Gemini's status are what OpenAI calls the code.
        code = inner.get("status", inner.get("type"))
    word = code if isinstance(code, str) else None
    return Words(inner["message"][:MAX_MESSAGE_CHARS], word, status)
