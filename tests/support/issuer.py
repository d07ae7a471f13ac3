"""An issuer of OpenID Connect, small but real: it signs tokens and exchanges codes over HTTP."""

import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.admin.errors import refuse
from tests.support.sockets import serving

CLIENT_ID, CLIENT_SECRET = "gateway-admin", "s3cret of:the/client"
AUDIENCE = "gateway-api"
# A secret that an issuer should not publish.
OCT: dict[str, str | list[str]] = {"kty": "oct", "k": "YS1zZWNyZXQtb2YtMTI4LWJpdHM", "kid": "oct-1"}


class TestIssuer:
    """`request_counts` counts requests by path; `is_away` answers them with a 503."""

    __test__ = False

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[RSAKey | ECKey] = [
            RSAKey.generate_key(2048, {"kid": "rsa-1"}),
            ECKey.generate_key("P-256", {"kid": "ec-1"}),
        ]
        self.request_counts: dict[str, int] = {}
        self.is_away = False
        self.metadata_overrides: dict[str, Any] = {}
        self.codes: dict[str, dict[str, Any]] = {}
        routes = [
            Route("/.well-known/openid-configuration", self._metadata),
            Route("/jwks", self._jwks),
            Route("/token", self._exchange, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    def token(
        self, *, key: int = 0, alg: str | None = None, typ: str = "JWT", **claims: Any
    ) -> str:
        """Signed by one of its keys, which need not be published. None removes a claim."""
        now = int(time.time())
        fields = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now,
            "exp": now + 300,
            **claims,
        }
        signer = self.keys[key]
        name = alg or ("ES256" if isinstance(signer, ECKey) else "RS256")
        payload = {name: claim for name, claim in fields.items() if claim is not None}
        return jwt.encode(
            {"alg": name, "typ": typ, "kid": signer.kid}, payload, signer, algorithms=[name]
        )

    def grant(self, address: str, **claims: Any) -> str:
        """The browser's answer after somebody signed on at the address: a query."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = f"code-{len(self.codes)}"
        self.codes[code] = {**query, "claims": claims}
        return f"code={code}&state={query['state']}"

    def _count(self, request: Request) -> Response | None:
        self.request_counts[request.url.path] = self.request_counts.get(request.url.path, 0) + 1
        return Response(status_code=503) if self.is_away else None

    async def _metadata(self, request: Request) -> Response:
        document = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/authorize?tenant=1",
            "token_endpoint": f"{self.url}/token",
        }
        return self._count(request) or JSONResponse(document | self.metadata_overrides)

    async def _jwks(self, request: Request) -> Response:
        keys = KeySet(list(self.keys)).as_dict(private=False)["keys"]
        unusable = [{"kty": "AKP", "kid": "later"}, {"kty": "RSA"}, OCT]
        return self._count(request) or JSONResponse({"keys": [*unusable, *keys]})

    async def _exchange(self, request: Request) -> Response:
        away = self._count(request)
        if away is not None:
            return away
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        grant = self.codes.pop(form.get("code", ""), None)
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        user, _, password = b64decode(encoded).decode().partition(":")
        challenge = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if (
            grant is None
            or (scheme, unquote(user), unquote(password)) != ("Basic", CLIENT_ID, CLIENT_SECRET)
            or grant["code_challenge"] != challenge.decode()
            or grant["code_challenge_method"] != "S256"
            or grant["redirect_uri"] != form["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        claims = {"aud": CLIENT_ID, "nonce": grant["nonce"], **grant["claims"]}
        return JSONResponse({"id_token": self.token(**claims), "token_type": "Bearer"})


@asynccontextmanager
async def issuing() -> AsyncIterator[TestIssuer]:
    issuer = TestIssuer()
    async with serving(issuer.app, refuse=refuse) as url:
        issuer.url = url
        yield issuer
