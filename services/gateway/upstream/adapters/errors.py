"""Turns LiteLLM's exceptions into a refusal with the provider's own status and message."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from libs.common.errors import ProviderNotConfigured, UpstreamCause
from services.gateway.upstream.adapters.provider_words import (
    MAX_MESSAGE_CHARS,
    retry_after,
    words_of_provider,
)
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
# LiteLLM's messages about a request before any call, which it raises as connection errors.
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
_MAX_CAUSES = 16
_FIRST_ERROR = 400
_LAST_ERROR = 599


@contextmanager
def refusals(target: TranslationTarget) -> Iterator[None]:
    """Turns any exception inside into TranslationRefused."""
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
    if status is not None and status < _FIRST_ERROR:
        return TranslationRefused(
            502,
            f"{target.provider} redirects the call, and redirects are not followed",
            code="upstream_unavailable",
        )
    text = _clean(_text(causes[0]))
    words = words_of_provider(causes, text)
    if words is None and status is None and not _in_stream(causes, kinds):
        return _library_refusal(causes, kinds, text, target)
    message, code = _readable(text, target, status), None
    if words is not None:
        message, code = words.message, words.code
        if words.status is not None and not _http_status(causes):
            status = words.status
    return TranslationRefused(
        status if status is not None else _stream_status(causes),
        message.replace(target.api_key, "[key]") if target.api_key else message,
        code=code,
        retry_after=retry_after(causes),
    )


def truncated(target: TranslationTarget) -> TranslationRefused:
    """LiteLLM would end such a stream as if the model had stopped."""
    return TranslationRefused(
        502,
        f"{target.provider} ended its stream before the answer was complete",
        code="upstream_incomplete",
    )


def _library_refusal(
    causes: list[BaseException], kinds: set[str], text: str, target: TranslationTarget
) -> TranslationRefused:
    """For an exception without an answer of the provider.

    LiteLLM itself refuses what it cannot carry, and names it; what else there is has to do with
    connections and unreadable answers, whose words would show addresses and source lines.
    """
    if _NO_CREDENTIAL.search(text.partition("\n")[0]):
        variable = _KEY_VARIABLE.search(text)
        missing = variable[0] if variable is not None else "its credentials"
        return TranslationRefused(
            ProviderNotConfigured.status,
            f"The gateway has no key for provider '{target.provider}': set {missing}.",
            code=ProviderNotConfigured.code,
        )
    status = getattr(causes[0], "status_code", None)
    invalid = _INVALID_REQUEST.match(text)
    if _NO_IMAGE_URLS in text:
        text = f"{target.provider} does not accept images by such a URL: send a data: URL"
        return TranslationRefused(400, text, code="unsupported_field")
    if invalid is not None:
        return TranslationRefused(400, invalid[0][:MAX_MESSAGE_CHARS], code="invalid_request")
    if isinstance(status, int) and 400 <= status < 500:
        reason = text.partition("\n")[0].strip()
        return TranslationRefused(400, reason[:MAX_MESSAGE_CHARS], code="unsupported_field")
    return TranslationRefused(
        502,
        f"{target.provider} could not be reached, or gave an answer that cannot be read",
        code="upstream_unavailable",
        cause=_cause(causes, kinds),
    )


def _cause(causes: list[BaseException], kinds: set[str]) -> UpstreamCause | None:
    """LiteLLM also blames its own failures on the connection; this finds the true cause."""
    if any(is_unreachable(cause) for cause in causes):
        return "unreachable"
    return None if kinds & _CONNECTIONS else "translation"


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it came from, LiteLLM's wrapper for its router left out of the front."""
    causes: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending and len(causes) < _MAX_CAUSES:
        cause = pending.pop(0)
        if cause is None or any(cause is known for known in causes):
            continue
        causes.append(cause)
        original = getattr(cause, "original_exception", None)
        pending += [original if isinstance(original, BaseException) else None]
        pending += [cause.__cause__, cause.__context__]
    wrapped = getattr(error, "original_exception", None)
    return [*causes[1:], error] if isinstance(wrapped, BaseException) else causes


def _status(causes: list[BaseException], kinds: set[str]) -> int | None:
    """The provider's own status: LiteLLM's differs (529 becomes 500)."""
    http_status = _http_status(causes)
    if http_status is not None:
        return http_status
    headers = getattr(causes[0], "litellm_response_headers", None)
    if headers is None or "JSONDecodeError" in kinds:
        return None
    status = getattr(causes[0], "status_code", None)
    return status if isinstance(status, int) and _FIRST_ERROR <= status <= _LAST_ERROR else None


def _http_status(causes: list[BaseException]) -> int | None:
    for cause in causes:
        response = getattr(cause, "response", None)
        if type(cause).__name__ == "HTTPStatusError" and response is not None:
            return int(response.status_code)
    return None


def _stream_status(causes: list[BaseException]) -> int:
    """The status of an error event, by the provider's own number."""
    status = getattr(causes[0], "status_code", None)
    return status if isinstance(status, int) and _FIRST_ERROR <= status <= _LAST_ERROR else 502


def _in_stream(causes: list[BaseException], kinds: set[str]) -> bool:
    """An error event in a stream is raised as its message alone, by the provider's own class."""
    return (
        "MidStreamFallbackError" in kinds
        and not kinds & {"TransportError", "JSONDecodeError"}
        and any(type(cause).__module__.startswith("litellm.llms.") for cause in causes)
    )


def _readable(text: str, target: TranslationTarget, status: int | None) -> str:
    """A proxy's page of HTML in front of the provider is not a message."""
    if not text or text.startswith(("<", "b'", 'b"')) or "Traceback (most recent" in text:
        return f"{target.provider} answered {status or 502} without a readable reason"
    return text[:MAX_MESSAGE_CHARS]


def _text(error: BaseException) -> str:
    message = getattr(error, "message", None)
    return message if isinstance(message, str) else str(error)


def _clean(text: str) -> str:
    return _SUFFIX.sub("", _PREFIX.sub("", text.strip())).strip()
