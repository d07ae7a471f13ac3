"""Verifies tokens of the configured issuer, and finds their actor."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from joserfc import jws, jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError

from libs.common.errors import Forbidden, Unauthenticated
from services.admin.people.actor import Actor
from services.admin.people.issuer import Issuer
from services.admin.people.role_map import RoleMap

# No symmetric ones: with these, whoever can check a token can make one.
_ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
# Three parts in base64, as no key of ours has.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{2,4096}\.[A-Za-z0-9_-]{2,16384}\.[A-Za-z0-9_-]{2,4096}")
_LEEWAY_S = 30
_MAX_CHARS = 200
_MAX_ACCOUNTS = 100
# Signed by the same keys, but no proof of a present user.
_NO_SIGN_ON = frozenset({"logout+jwt", "secevent+jwt", "dpop+jwt"})


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Where a token has what: `role` and `accounts` are paths such as realm_access.roles.

    Without a path for them, whoever signs on reaches all accounts.
    """

    audience: str
    role: str
    roles: RoleMap
    accounts: str | None


class Tokens:
    """`now` is the current time."""

    def __init__(self, issuer: Issuer, claims: Claims, now: Callable[[], datetime]) -> None:
        self._issuer = issuer
        self._claims = claims
        self._now = now

    async def actor(self, token: str) -> Actor:
        """Raises Unauthenticated, Forbidden, and Unavailable while the keys cannot be had."""
        return self.actor_of(await self.verified(token, self._claims.audience))

    async def verified(self, token: str, audience: str) -> Mapping[str, Any]:
        """Its claims. Raises Unauthenticated and Unavailable."""
        try:
            header = jws.extract_compact(token.encode()).headers()
            if str(header.get("typ", "")).lower() in _NO_SIGN_ON:
                raise _refused("it is not a sign-on token")
            kid = header.get("kid")
            known = await self._issuer.known(kid if isinstance(kid, str) else None)
            if not known.keys.keys:
                raise _refused("the issuer has no keys")
            decoded = jwt.decode(token, known.keys, algorithms=_ALGORITHMS)
            rules = jwt.JWTClaimsRegistry(
                now=int(self._now().timestamp()),
                leeway=_LEEWAY_S,
                iss={"essential": True, "value": self._issuer.url},
                aud={"essential": True, "value": audience},
                exp={"essential": True},
                sub={"essential": True},
            )
            rules.validate(decoded.claims)
        except ExpiredTokenError:
            raise _refused("it has expired") from None
        except ClaimError as error:
            raise _refused(f"its {error.claim} is wrong or missing") from None
        except (JoseError, ValueError, TypeError, KeyError) as error:
            # Names what is wrong, never the token.
            raise _refused(type(error).__name__) from None
        return decoded.claims

    def actor_of(self, claims: Mapping[str, Any]) -> Actor:
        """Raises Unauthenticated and Forbidden."""
        subject = str(claims["sub"])
        if not 0 < len(subject) <= _MAX_CHARS or not subject.isprintable():
            raise _refused("its sub names nobody")
        role = self._claims.roles.role_of(_texts(_at(claims, self._claims.role)))
        if role is None:
            raise Forbidden("Nothing in your sign-on has a role here. Ask an owner for one.")
        return Actor(
            id=f"oidc:{subject}", name=_name_of(claims), role=role, accounts=self._accounts(claims)
        )

    def _accounts(self, claims: Mapping[str, Any]) -> tuple[str, ...] | None:
        if self._claims.accounts is None:
            return None
        accounts = tuple(_texts(_at(claims, self._claims.accounts)))
        if not 0 < len(accounts) <= _MAX_ACCOUNTS:
            raise Forbidden("Your sign-on names no accounts for you. Ask an owner for them.")
        return accounts


def is_token(credential: str) -> bool:
    """Whether it has the form of a signed JSON Web Token."""
    return _TOKEN.fullmatch(credential) is not None


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"The token was rejected: {why}. Sign on again for another one.")


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """A name with dots that is a claim itself, such as a URL, comes first."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _texts(found: Any) -> Sequence[str]:
    """A list of names, or one text of them with spaces between, as `scope` is."""
    if isinstance(found, str):
        return found.split()
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def _name_of(claims: Mapping[str, Any]) -> str:
    for name in ("email", "preferred_username", "name", "sub"):
        text = claims.get(name)
        if isinstance(text, str) and text.isprintable() and 0 < len(text) <= _MAX_CHARS:
            return text
    return ""
