"""An OpenID Connect issuer: its metadata, and its signing keys.

Both are fetched when they are first needed, and kept for a time. A token with an unknown key has
them fetched again, but not more often than once in `_PAUSE_S`, since anybody can make up a key's
name. While the issuer is away, what was fetched last is used for a day at most.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import Unavailable
from libs.common.web.http_client import HttpClient, HttpUnreachable

log = structlog.get_logger(__name__)

_TIMEOUT_S = 5.0
_FRESH_S = 600.0
_USABLE_S = 86_400.0
_PAUSE_S = 30.0
_MAX_KEYS = 64
_OK = 200
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class IssuerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The used members of the issuer's discovery document."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""


class _Keys(msgspec.Struct, frozen=True):
    keys: list[Any]


class KnownIssuer(msgspec.Struct, frozen=True):
    """What the issuer said, and when."""

    metadata: IssuerMetadata
    keys: KeySet
    at: float


class IssuerWrong(Exception):
    """The issuer's answer cannot be used."""


class Issuer:
    """One per process; concurrent callers share one fetch."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self.url = url
        self._clock = clock
        self._known: KnownIssuer | None = None
        self._tried_at: float | None = None
        self._lock = asyncio.Lock()

    async def known(self, kid: str | None = None) -> KnownIssuer:
        """Its metadata and keys, `kid` among them where it has that one. Raises Unavailable."""
        async with self._lock:
            known = self._known
            age_s = None if known is None else self._clock() - known.at
            if known is None or age_s is None or age_s > _FRESH_S or not _has(known.keys, kid):
                await self._try()
            known = self._known
        if known is None or self._clock() - known.at > _USABLE_S:
            message = "The issuer of sign-ons does not answer; use an admin key, or retry shortly."
            raise Unavailable(message, retry_after_s=5)
        return known

    async def _try(self) -> None:
        now = self._clock()
        if self._tried_at is not None and now - self._tried_at < _PAUSE_S:
            return
        self._tried_at = now
        try:
            self._known = await self._fetch(now)
        except (HttpUnreachable, IssuerWrong) as error:
            log.warning("oidc.issuer_unavailable", error=error)

    async def _fetch(self, now: float) -> KnownIssuer:
        document = await _get(self.url.rstrip("/") + "/.well-known/openid-configuration")
        try:
            metadata = msgspec.json.decode(document, type=IssuerMetadata)
            if metadata.issuer != self.url:
                raise IssuerWrong(f"It says that it is another issuer: {metadata.issuer[:200]!r}")
            found = msgspec.json.decode(await _get(metadata.jwks_uri), type=_Keys)
            keys = KeySet([key for row in found.keys[:_MAX_KEYS] for key in _keys_of(row)])
        except UNREADABLE as error:
            raise IssuerWrong(f"Its answer cannot be read: {error}") from error
        return KnownIssuer(metadata, keys, now)


def is_secure_url(url: str) -> bool:
    """Only on this machine itself nobody can stand in between."""
    parts = urlsplit(url)
    is_own = parts.scheme == "http" and parts.hostname in _LOOPBACK
    return bool(parts.hostname) and (parts.scheme == "https" or is_own)


async def _get(url: str) -> bytes:
    """Raises HttpUnreachable and IssuerWrong."""
    if not is_secure_url(url):
        raise IssuerWrong(f"It names an address without TLS: {url[:200]!r}")
    client = HttpClient(url, name="The issuer", setting="OIDC_ISSUER", timeout_s=_TIMEOUT_S)
    answer = await client.get()
    if answer.status != _OK:
        raise IssuerWrong(f"It answers {answer.status} at {url[:200]}")
    return answer.body


def _keys_of(row: Any) -> list[Key]:
    """None of a kind that is not known here: others may use it."""
    if not isinstance(row, dict) or row.get("kty") == "oct" or row.get("use", "sig") != "sig":
        return []
    try:
        return [JWKRegistry.import_key(row)]
    except (JoseError, ValueError, TypeError, KeyError):
        return []


def _has(keys: KeySet, kid: str | None) -> bool:
    return kid is None or any(key.kid == kid for key in keys.keys)
