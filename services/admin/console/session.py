"""Sessions of people who signed in to the console: kept in Redis, named by a cookie.

Redis holds a hash of the cookie's value, so that nobody who reads it there can sign in with it.
"""

import hmac
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.shards import shards_of
from services.admin.people.actor import Actor

COOKIE = "console_session"
# In place of a key's hash, for a sign-on by the issuer.
BY_ISSUER = "issuer"
# A session ends this long after its last request, and at the latest after a day's work.
IDLE = timedelta(minutes=45)
LONGEST = timedelta(hours=12)
_SECRET_BYTES = 32
_TRIES = 6


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """`csrf` goes into every form; `proof` is what the actor signed in with, hashed."""

    actor: Actor
    csrf: str
    proof: str
    ends_at: datetime

    def is_form_of(self, token: str) -> bool:
        return hmac.compare_digest(self.csrf.encode(), token.encode())


class Sessions:
    """Raises RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def begin(self, actor: Actor, proof: str, now: datetime) -> tuple[str, Session]:
        """Also returns a cookie value whose node accepts writes."""
        session = Session(
            actor=actor, csrf=token_urlsafe(_SECRET_BYTES), proof=proof, ends_at=now + LONGEST
        )
        # In a cluster, another cookie's node may answer.
        tries = _TRIES if shards_of(self._redis).count > 1 else 1
        while True:
            cookie = token_urlsafe(_SECRET_BYTES)
            tries -= 1
            try:
                await self._redis.set(session_key(cookie), msgspec.json.encode(session), ex=IDLE)
            except (RedisError, OSError):
                if not tries:
                    raise
            else:
                return cookie, session

    async def find(self, cookie: str, now: datetime, *, by_itself: bool) -> Session | None:
        """The session, which lives on for another `IDLE` unless a page asks `by_itself`."""
        name = session_key(cookie)
        stored = await (self._redis.get(name) if by_itself else self._redis.getex(name, ex=IDLE))
        if stored is None:
            return None
        try:
            session = msgspec.json.decode(stored, type=Session)
        except msgspec.MsgspecError:
            # Of another release.
            return None
        return session if now < session.ends_at else None

    async def end(self, cookie: str) -> None:
        await self._redis.delete(session_key(cookie))


def set_cookie(request: Request[Any], response: Response, cookie: str) -> None:
    """Lasts as long as the browser; Redis ends it earlier."""
    response.set_cookie(
        COOKIE,
        cookie,
        path="/console",
        httponly=True,
        samesite="strict",
        secure=is_over_tls(request),
    )


def is_over_tls(request: Request[Any]) -> bool:
    """Behind a proxy that ends TLS, its header says so. A wrong one locks out its sender alone."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", ""))


def session_key(cookie: str) -> str:
    return f"gateway:console:{sha256(cookie.encode()).hexdigest()}"
