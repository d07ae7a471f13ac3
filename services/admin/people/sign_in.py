"""Finds the actor of a request: the root, a person by their admin key, or whom a sign-on names."""

import hmac
from collections.abc import Callable, Sequence
from datetime import datetime

from starlette.datastructures import Headers
from starlette.types import Scope

from libs.common.domain.ids import ADMIN_SECRET_PREFIX, secret_hash
from libs.common.errors import KeyExpired, KeyRevoked, Unauthenticated, Unavailable
from libs.common.settings import Secret
from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.mongo.people import PersonStore
from services.admin.people.actor import ROOT, Actor
from services.admin.people.sign_on import SignOn
from services.admin.people.tokens import is_token

_NO_KEY = "Send `Authorization: Bearer` with the value of ADMIN_API_KEY or an admin key."
# Also shown to whoever typed the key at the console.
_UNKNOWN = (
    "This admin key is not known. Use the value of ADMIN_API_KEY, or an admin key that an owner "
    "made for you."
)


class SignIn:
    """A person is read from MongoDB with each request, so that a revoked key ends at once."""

    def __init__(
        self,
        *,
        root_keys: Sequence[Secret],
        people: PersonStore,
        now: Callable[[], datetime],
        sign_on: SignOn,
    ) -> None:
        self._root_hashes = [secret_hash(key.reveal()) for key in root_keys]
        self._people = people
        self._now = now
        self._sign_on = sign_on

    async def actor(self, scope: Scope) -> Actor:
        """Raises Unauthenticated, Forbidden, and Unavailable while a store is away."""
        proxy, tokens = self._sign_on.proxy, self._sign_on.tokens
        by_proxy = None if proxy is None else proxy.actor(scope)
        if by_proxy is not None:
            return by_proxy
        scheme, _, value = Headers(scope=scope).get("authorization", "").partition(" ")
        credential = value.strip() if scheme.lower() == "bearer" else ""
        if tokens is not None and is_token(credential):
            return await tokens.actor(credential)
        if not credential:
            raise Unauthenticated(_NO_KEY)
        return await self.of_key(credential)

    async def of_key(self, key: str) -> Actor:
        """Raises Unauthenticated and Unavailable."""
        if not self.is_root(secret_hash(key)) and not key.startswith(ADMIN_SECRET_PREFIX):
            raise Unauthenticated(_UNKNOWN)
        return await self.of_hash(secret_hash(key))

    async def of_hash(self, hashed: str) -> Actor:
        """The present owner of the key with this hash. Raises Unauthenticated and Unavailable."""
        return ROOT if self.is_root(hashed) else await self._person(hashed)

    def is_root(self, hashed: str) -> bool:
        return any(hmac.compare_digest(hashed, key) for key in self._root_hashes)

    async def _person(self, hashed: str) -> Actor:
        try:
            person = await self._people.get_by_hash(hashed)
        except PyMongoError as error:
            message = "MongoDB does not answer, so your key cannot be checked; retry shortly."
            raise Unavailable(message, retry_after_s=2) from error
        if person is None:
            raise Unauthenticated(_UNKNOWN)
        if person.status == "revoked":
            raise KeyRevoked("This admin key was revoked. Ask an owner for another one.")
        if person.expires_at is not None and person.expires_at <= self._now():
            raise KeyExpired("This admin key has expired. Ask an owner for another one.")
        return Actor(
            id=person.person_id, name=person.name, role=person.role, accounts=person.accounts
        )
