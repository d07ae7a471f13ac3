"""The names of equivalent headers in OpenAI's and Anthropic's APIs."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from libs.common.errors import RateLimit

_FROM_EVERY_CLIENT = frozenset({b"accept", b"user-agent"})
_KINDS = ("requests", "tokens")
_PARTS = ("limit", "remaining", "reset")
_OPENAI = {kind: [f"x-ratelimit-{part}-{kind}".encode() for part in _PARTS] for kind in _KINDS}
_ANTHROPIC = {
    kind: [f"anthropic-ratelimit-{kind}-{part}".encode() for part in _PARTS] for kind in _KINDS
}


class FormatHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """`sent` are those of a client that reach a provider, `required` those that a provider must
    get, with the values for clients without them.
    """

    credential: Callable[[str], tuple[bytes, bytes]]
    rate_limit: Callable[[RateLimit, datetime], list[tuple[bytes, bytes]]]
    sent: frozenset[bytes]
    required: tuple[tuple[bytes, bytes], ...] = ()


def _bearer(key: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + key.encode()


def _api_key(key: str) -> tuple[bytes, bytes]:
    return b"x-api-key", key.encode()


def _openai_rate_limit(limit: RateLimit, _: datetime) -> list[tuple[bytes, bytes]]:
    return _rate_limit(_OPENAI[limit.kind], limit, b"%.3fs" % (limit.reset_ms / 1000))


def _anthropic_rate_limit(limit: RateLimit, started_at: datetime) -> list[tuple[bytes, bytes]]:
    at = started_at + timedelta(milliseconds=limit.reset_ms)
    reset = at.isoformat(timespec="seconds").replace("+00:00", "Z").encode()
    return _rate_limit(_ANTHROPIC[limit.kind], limit, reset)


def _rate_limit(names: list[bytes], limit: RateLimit, reset: bytes) -> list[tuple[bytes, bytes]]:
    return list(zip(names, (b"%d" % limit.limit, b"%d" % limit.left, reset), strict=True))


OPENAI_HEADERS = FormatHeaders(
    credential=_bearer,
    rate_limit=_openai_rate_limit,
    sent=_FROM_EVERY_CLIENT | {b"openai-beta", b"originator", b"x-client-request-id"},
)
ANTHROPIC_HEADERS = FormatHeaders(
    credential=_api_key,
    rate_limit=_anthropic_rate_limit,
    sent=_FROM_EVERY_CLIENT
    | {
        b"anthropic-version",
        b"anthropic-beta",
        b"anthropic-dangerous-direct-browser-access",
        b"x-app",
    },
    required=((b"anthropic-version", b"2023-06-01"),),
)
