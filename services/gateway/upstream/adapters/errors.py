"""Turns whatever LiteLLM raises into a refusal with the provider's own status and words."""

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from libs.common.errors import ProviderNotConfigured, UpstreamCause
from services.gateway.upstream.adapters.target import TranslationRefused, TranslationTarget
from services.gateway.upstream.http.connections import is_unreachable

# "litellm.RateLimitError: RateLimitError: OpenAIException - the words of the provider"
_PREFIX = re.compile(
    r"^(?:(?:litellm\.)?\w+(?:Error|Exception|Timeout)\s*(?::|-|(?=\w+Error))\s*)+"
)
_SUFFIX = re.compile(
    r"\s*(?:\. )?Handle with `litellm\.\w+`\.?$|\s*To drop these, set `litellm\.drop_params.*$",
    re.DOTALL,
)
# What LiteLLM says of a request before it calls the provider, under an error of connection.
_INVALID_REQUEST = re.compile(r"^Invalid \w+ message\b.*")
# How LiteLLM and the SDKs inside it say, before any call, that they found no credential.
_NO_CREDENTIAL = re.compile(
    r"Missing (?:\w+ )?API key|Missing credentials|_API_KEY is not set|Unable to locate credentials"
)
_KEY_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9_]*_API_KEY\b")
_NO_IMAGE_URLS = "Image URL download is disabled"
_TIMEOUTS = {"Timeout", "TimeoutError", "TimeoutException", "APITimeoutError"}
# What the HTTP clients inside LiteLLM raise, by the names of their classes.
_CONNECTIONS = {"TransportError", "ClientError"}
_MESSAGE_CHARS = 4_000
_MAX_CAUSES = 16


@contextmanager
def refusals(target: TranslationTarget) -> Iterator[None]:
    """Whatever is raised inside leaves as TranslationRefused."""
    try:
        yield
    except (TranslationRefused, StopAsyncIteration):
        raise
    except Exception as error:
        # LiteLLM lets through what its parsers meet, from KeyError to the errors of two SDKs.
        raise refused(error, target) from error


def refused(error: BaseException, target: TranslationTarget) -> TranslationRefused:
    causes = _causes(error)
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    if kinds & _TIMEOUTS:
        return TranslationRefused(
            504,
            f"{target.provider} did not answer within {target.timeout_s:g} s",
            code="upstream_timeout",
        )
    status = _status(causes, kinds)
    text = _cleaned(_text(causes[0]))
    said = _said_by_provider(causes, text)
    if said is None and status is None and not _in_stream(causes, kinds):
        return _unsaid(causes, kinds, text, target)
    message, code = said if said is not None else (_readable(text, target, status), None)
    return TranslationRefused(
        status if status is not None else 502,
        message.replace(target.api_key, "[key]") if target.api_key else message,
        code=code,
        retry_after=_retry_after(causes),
    )


def truncated(target: TranslationTarget) -> TranslationRefused:
    """LiteLLM would end such a stream as if the model had stopped."""
    return TranslationRefused(
        502,
        f"{target.provider} ended its stream before the answer was complete",
        code="upstream_incomplete",
    )


def _unsaid(
    causes: list[BaseException], kinds: set[str], text: str, target: TranslationTarget
) -> TranslationRefused:
    """No answer of the provider is behind it.

    LiteLLM itself refuses what it cannot carry, and names it; what else there is has to do with
    connections and unreadable answers, whose words would show addresses and source lines.
    """
    if _NO_CREDENTIAL.search(text.partition("\n")[0]):
        variable = _KEY_VARIABLE.search(text)
        what = variable[0] if variable is not None else "its credentials"
        return TranslationRefused(
            ProviderNotConfigured.status,
            f"The gateway has no key for provider '{target.provider}': set {what}.",
            code=ProviderNotConfigured.code,
        )
    status = getattr(causes[0], "status_code", None)
    invalid = _INVALID_REQUEST.match(text)
    if _NO_IMAGE_URLS in text:
        text = f"{target.provider} takes no image by such a URL: send it as a data: URL"
        return TranslationRefused(400, text, code="unsupported_field")
    if invalid is not None:
        return TranslationRefused(400, invalid[0][:_MESSAGE_CHARS], code="invalid_request")
    if isinstance(status, int) and 400 <= status < 500:
        said = text.partition("\n")[0].strip()
        return TranslationRefused(400, said[:_MESSAGE_CHARS], code="unsupported_field")
    return TranslationRefused(
        502,
        f"{target.provider} could not be reached, or gave an answer that cannot be read",
        code="upstream_unavailable",
        cause=_cause(causes, kinds),
    )


def _cause(causes: list[BaseException], kinds: set[str]) -> UpstreamCause | None:
    """Of what is due to no connection, LiteLLM says that it is as well: its own mistakes, too."""
    if any(is_unreachable(cause) for cause in causes):
        return "unreachable"
    return None if kinds & _CONNECTIONS else "translation"


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it came from, LiteLLM's wrapper for its router left out of the front."""
    found: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending and len(found) < _MAX_CAUSES:
        cause = pending.pop(0)
        if cause is None or any(cause is seen for seen in found):
            continue
        found.append(cause)
        original = getattr(cause, "original_exception", None)
        pending += [original if isinstance(original, BaseException) else None]
        pending += [cause.__cause__, cause.__context__]
    wrapped = getattr(error, "original_exception", None)
    return [*found[1:], error] if isinstance(wrapped, BaseException) else found


def _status(causes: list[BaseException], kinds: set[str]) -> int | None:
    """The provider's own status: LiteLLM's differs (529 becomes 500)."""
    for cause in causes:
        response = getattr(cause, "response", None)
        if type(cause).__name__ == "HTTPStatusError" and response is not None:
            return int(response.status_code)
    headers = getattr(causes[0], "litellm_response_headers", None)
    if headers is None or "JSONDecodeError" in kinds:
        return None
    status = getattr(causes[0], "status_code", None)
    return status if isinstance(status, int) and 400 <= status <= 599 else None


def _in_stream(causes: list[BaseException], kinds: set[str]) -> bool:
    """An error event in a stream is raised as its message alone, by the provider's own class."""
    return (
        "MidStreamFallbackError" in kinds
        and not kinds & {"TransportError", "JSONDecodeError"}
        and any(type(cause).__module__.startswith("litellm.llms.") for cause in causes)
    )


def _said_by_provider(causes: list[BaseException], text: str) -> tuple[str, str | None] | None:
    """(message, code) of the provider's error body, wherever LiteLLM left it."""
    for cause in causes:
        body = getattr(cause, "body", None)
        found = _message_and_code(body) if isinstance(body, Mapping) else None
        if found is not None:
            return found
    if text.startswith(("b'", 'b"')):
        try:
            text = ast.literal_eval(text).decode("utf-8", "replace")
        except (SyntaxError, ValueError):
            return None
    try:
        decoded = msgspec.json.decode(text[text.find("{") :])
    except msgspec.DecodeError:
        return None
    return _message_and_code(decoded) if isinstance(decoded, Mapping) else None


def _message_and_code(body: Mapping[str, Any]) -> tuple[str, str | None] | None:
    inner = body.get("error", body)
    if isinstance(inner, str):
        return inner[:_MESSAGE_CHARS], None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("message"), str):
        return None
    code = inner.get("code")
    if not isinstance(code, str):
        # Anthropic's type and Gemini's status are what OpenAI calls the code.
        code = inner.get("status", inner.get("type"))
    return inner["message"][:_MESSAGE_CHARS], code if isinstance(code, str) else None


def _readable(text: str, target: TranslationTarget, status: int | None) -> str:
    """A proxy's page of HTML in front of the provider is no message."""
    if not text or text.startswith(("<", "b'", 'b"')) or "Traceback (most recent" in text:
        return f"{target.provider} answered {status or 502} and said nothing readable"
    return text[:_MESSAGE_CHARS]


def _text(error: BaseException) -> str:
    message = getattr(error, "message", None)
    return message if isinstance(message, str) else str(error)


def _cleaned(text: str) -> str:
    return _SUFFIX.sub("", _PREFIX.sub("", text.strip())).strip()


def _retry_after(causes: list[BaseException]) -> str | None:
    for cause in causes:
        headers = getattr(cause, "litellm_response_headers", None)
        value = headers.get("retry-after") if headers is not None else None
        if isinstance(value, str):
            return value
    return None
