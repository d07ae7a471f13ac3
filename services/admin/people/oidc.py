"""Sign-on of a browser by OpenID Connect's code flow with PKCE.

`begin` gives the address to send the browser to, and what is to be kept until it comes back;
`finish` takes that, and says who signed on. Whoever keeps it must tie it to the browser, by a
cookie, and give it to `finish` once.
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import msgspec
from authlib.common.security import generate_token
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from libs.common.errors import Unauthenticated, Unavailable
from libs.common.settings import Secret
from libs.common.web.http_client import HttpClient, HttpUnreachable
from services.admin.people.actor import Actor
from services.admin.people.issuer import Issuer, is_secure_url
from services.admin.people.tokens import Tokens

_SCOPES = "openid profile email groups"
_RANDOM_CHARS = 48
_TIMEOUT_S = 10.0
_MAX_CODE_CHARS = 4096
_MAX_FIELDS = 20
_OK = 200
_FORM = b"application/x-www-form-urlencoded"
_ANSWER = msgspec.json.Decoder(dict[str, Any])


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-on that was begun: all of it is secret but the `redirect_uri`."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str


class CodeFlow:
    """The confidential client, or a public one without a secret, of one issuer."""

    def __init__(
        self, issuer: Issuer, tokens: Tokens, *, client_id: str, client_secret: Secret | None
    ) -> None:
        self._issuer = issuer
        self._tokens = tokens
        self._client_id = client_id
        self._client_secret = client_secret

    async def begin(self, redirect_uri: str) -> tuple[str, Pending]:
        """The address at the issuer, and what `finish` needs. Raises Unavailable."""
        endpoint = _usable((await self._issuer.known()).metadata.authorization_endpoint)
        pending = Pending(
            state=generate_token(_RANDOM_CHARS),
            nonce=generate_token(_RANDOM_CHARS),
            verifier=generate_token(_RANDOM_CHARS),
            redirect_uri=redirect_uri,
        )
        fields = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": _SCOPES,
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": create_s256_code_challenge(pending.verifier),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(fields)}", pending

    async def finish(self, pending: Pending, query: str) -> Actor:
        """`query` is what the browser came back with.

        Raises Unauthenticated, Forbidden and Unavailable.
        """
        try:
            fields = parse_qs(query, max_num_fields=_MAX_FIELDS)
        except ValueError:
            raise _failed("the answer has too many fields") from None
        if not hmac.compare_digest(_one(fields, "state").encode(), pending.state.encode()):
            raise _failed("it was not begun in this browser, or a while ago")
        issuer = fields.get("iss", [self._issuer.url])
        if issuer != [self._issuer.url]:
            raise _failed("it comes from another issuer")
        code = _one(fields, "code")
        if not 0 < len(code) <= _MAX_CODE_CHARS:
            raise _failed(f"the issuer refused it ({_one(fields, 'error')[:64] or 'no code'})")
        token = (await self._exchange(pending, code)).get("id_token")
        if not isinstance(token, str):
            raise _failed("the issuer gave no ID token")
        claims = await self._tokens.verified(token, self._client_id)
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(
            nonce.encode(), pending.nonce.encode()
        ):
            raise _failed("its token was made for another sign-on")
        if claims.get("azp", self._client_id) != self._client_id:
            raise _failed("its token was made for another client")
        return self._tokens.actor_of(claims)

    async def _exchange(self, pending: Pending, code: str) -> Mapping[str, Any]:
        """The token endpoint's answer. Raises Unauthenticated and Unavailable."""
        endpoint = _usable((await self._issuer.known()).metadata.token_endpoint)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": pending.redirect_uri,
            "client_id": self._client_id,
            "code_verifier": pending.verifier,
        }
        client = HttpClient(
            endpoint, name="The issuer", setting="OIDC_ISSUER", timeout_s=_TIMEOUT_S
        )
        body = urlencode(form).encode()
        try:
            answer = await client.post("", self._authorization(), body, content_type=_FORM)
        except HttpUnreachable as error:
            raise Unavailable(str(error), retry_after_s=5) from error
        if answer.status != _OK:
            raise _failed(f"the issuer refused its code ({answer.status})")
        try:
            return _ANSWER.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise _failed("the issuer's answer cannot be read") from None

    def _authorization(self) -> list[tuple[bytes, bytes]]:
        if self._client_secret is None:
            return []
        # RFC 6749, 2.3.1: both are encoded as in a form first.
        pair = f"{quote(self._client_id, '')}:{quote(self._client_secret.reveal(), '')}"
        return [(b"authorization", b"Basic " + b64encode(pair.encode()))]


def _usable(endpoint: str) -> str:
    if not is_secure_url(endpoint):
        raise Unavailable("The issuer of sign-ons names no address with TLS for them.")
    return endpoint


def _one(fields: Mapping[str, list[str]], name: str) -> str:
    values = fields.get(name, [])
    return values[0] if len(values) == 1 else ""


def _failed(why: str) -> Unauthenticated:
    return Unauthenticated(f"The sign-on failed: {why}. Begin it again.")
