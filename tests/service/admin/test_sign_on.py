"""Sign-on by tokens of an OpenID Connect issuer and by an authenticating proxy."""

import asyncio
import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from libs.common.errors import Forbidden, Unauthenticated, Unavailable
from libs.common.settings import Secret, SettingsError
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.clock import utc_now
from services.admin.people.issuer import Issuer
from services.admin.people.sign_on import SignOn, SignOnSettings, sign_on
from services.admin.settings import Settings
from tests.service.admin.conftest import ADMIN_KEY, app_with, client_of
from tests.service.admin.problems import problem
from tests.support.clock import Clock
from tests.support.issuer import AUDIENCE, CLIENT_ID, CLIENT_SECRET, OCT, TestIssuer, issuing

ROLES = "admins=owner,ops=operator,all=viewer"
REDIRECT = "https://console.example/console/signed-on"
PROXY_SECRET = "a-secret-of-the-proxy"


@pytest.fixture
async def issuer() -> AsyncIterator[TestIssuer]:
    async with issuing() as issuer:
        yield issuer


@pytest.fixture
def clock() -> Clock:
    return Clock()


def oidc(issuer: TestIssuer, **fields: Any) -> SignOnSettings:
    defaults = {
        "oidc_issuer": issuer.url,
        "oidc_audience": AUDIENCE,
        "oidc_roles": ROLES,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": Secret(CLIENT_SECRET),
    }
    return SignOnSettings(**{**defaults, **fields})


@pytest.fixture
def signing(issuer: TestIssuer, clock: Clock) -> SignOn:
    return sign_on(oidc(issuer), utc_now, clock)


async def actor_of(signing: SignOn, token: str) -> Any:
    assert signing.tokens is not None
    return await signing.tokens.actor(token)


@pytest.mark.parametrize("key", [0, 1])
async def test_a_token_says_who_calls(issuer: TestIssuer, signing: SignOn, key: int) -> None:
    token = issuer.token(key=key, groups=["all", "ops"], email="ada@example.com")
    actor = await actor_of(signing, token)
    assert (actor.id, actor.name, actor.role) == ("oidc:ada", "ada@example.com", "operator")
    assert actor.accounts is None
    assert issuer.request_counts == {"/.well-known/openid-configuration": 1, "/jwks": 1}


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://other.example"}, "its iss is"),
        ({"iss": None}, "its iss is"),
        ({"aud": "another-api"}, "its aud is"),
        ({"aud": None}, "its aud is"),
        ({"aud": []}, "its aud is"),
        ({"exp": NOW - 3600}, "expired"),
        ({"exp": None}, "its exp is"),
        ({"exp": "never"}, "its exp is"),
        ({"nbf": NOW + 3600}, "its nbf is"),
        ({"iat": NOW + 3600}, "its iat is"),
        ({"sub": None}, "its sub is"),
        ({"sub": "a\nb"}, "sub"),
        ({"sub": "x" * 201}, "sub"),
        ({"typ": "logout+jwt"}, "not a sign-on token"),
    ],
)
async def test_a_token_with_wrong_claims_is_refused(
    issuer: TestIssuer, signing: SignOn, claims: dict[str, Any], why: str
) -> None:
    token = issuer.token(groups=["ops"], **claims)
    with pytest.raises(Unauthenticated, match=why):
        await actor_of(signing, token)


async def test_a_token_that_the_issuer_did_not_sign_is_refused(
    issuer: TestIssuer, signing: SignOn
) -> None:
    right = issuer.token(groups=["admins"])
    head, claims, signature = right.split(".")
    now = int(time.time())
    payload = {
        "iss": issuer.url,
        "aud": AUDIENCE,
        "sub": "eve",
        "exp": now + 60,
        "groups": ["admins"],
    }
    stranger = RSAKey.generate_key(2048, {"kid": "rsa-1"})
    # The public key as a secret, which a verifier that takes any algorithm would fall for.
    public = issuer.keys[0].as_pem(private=False)
    shared = "eyJhbGciOiJIUzI1NiIsImtpZCI6InJzYS0xIn0." + claims
    mac = hmac.digest(public, shared.encode(), "sha256")
    forged = [
        jwt.encode({"alg": "RS256", "kid": "rsa-1"}, payload, stranger),
        jwt.encode({"alg": "RS256"}, payload, stranger),
        f"{shared}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        jwt.encode({"alg": "HS256", "kid": "oct-1"}, payload, OctKey.import_key(OCT)),
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"{head}.{claims[:-2]}AA.{signature}",
        f"eyJhbGciOiJub25lIn0.{claims}.{signature}",
        "eyJhbGciOiJub25lIn0.e30.AA",
        "aaaa.bbbb.cccc",
    ]
    for token in forged:
        with pytest.raises(Unauthenticated):
            await actor_of(signing, token)
    assert (await actor_of(signing, right)).role == "owner"


async def test_a_new_key_is_fetched_and_unknown_ones_not_all_the_time(
    issuer: TestIssuer, signing: SignOn, clock: Clock
) -> None:
    await actor_of(signing, issuer.token(groups=["all"]))
    issuer.keys[0] = RSAKey.generate_key(2048, {"kid": "rsa-2"})
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await actor_of(signing, issuer.token(groups=["all"]))
    assert issuer.request_counts["/jwks"] == 1
    clock.now += 31
    assert (await actor_of(signing, issuer.token(groups=["all"]))).id == "oidc:ada"
    assert issuer.request_counts["/jwks"] == 2


async def test_while_the_issuer_is_away_its_last_keys_serve_for_a_day(
    issuer: TestIssuer, signing: SignOn, clock: Clock
) -> None:
    token = issuer.token(groups=["all"])
    issuer.is_away = True
    with pytest.raises(Unavailable):
        await actor_of(signing, token)
    issuer.is_away = False
    clock.now += 31
    await actor_of(signing, token)
    issuer.is_away = True
    clock.now += 3600
    assert (await actor_of(signing, token)).role == "viewer"
    clock.now += 86_400
    with pytest.raises(Unavailable):
        await actor_of(signing, token)


@pytest.mark.parametrize(
    "told",
    [
        {"issuer": "https://other.example"},
        {"jwks_uri": "http://keys.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://[::1"},
        {"jwks_uri": 1},
    ],
)
async def test_an_issuer_that_is_not_what_it_says_is_not_believed(
    issuer: TestIssuer, signing: SignOn, told: dict[str, Any]
) -> None:
    issuer.metadata_overrides = told
    with pytest.raises(Unavailable):
        await actor_of(signing, issuer.token(groups=["all"]))


async def test_roles_and_accounts_come_from_the_named_claims(
    issuer: TestIssuer, clock: Clock
) -> None:
    nested = {
        "oidc_role_claim": "realm_access.roles",
        "oidc_accounts_claim": "https://x.y/accounts",
    }
    signing = sign_on(oidc(issuer, **nested), utc_now, clock)
    accounts: dict[str, Any] = {"https://x.y/accounts": ["a", "b"]}
    token = issuer.token(realm_access={"roles": ["ops"]}, **accounts)
    actor = await actor_of(signing, token)
    assert (actor.role, actor.accounts) == ("operator", ("a", "b"))
    for claims in (
        {"realm_access": {"roles": ["nothing"]}, **accounts},
        {"realm_access": "ops", **accounts},
        {"realm_access.roles": 1, **accounts},
        {"realm_access": {"roles": ["ops"]}},
        {"realm_access": {"roles": ["ops"]}, "https://x.y/accounts": []},
    ):
        with pytest.raises(Forbidden):
            await actor_of(signing, issuer.token(**claims))


async def test_a_browser_signs_on_by_a_code(issuer: TestIssuer, signing: SignOn) -> None:
    flow = signing.code_flow
    assert flow is not None
    address, pending = await flow.begin(REDIRECT)
    assert address.startswith(f"{issuer.url}/authorize?tenant=1&response_type=code&")
    assert pending.verifier not in address
    actor = await flow.finish(pending, issuer.grant(address, groups=["admins"], name="Ada"))
    assert (actor.id, actor.name, actor.role) == ("oidc:ada", "Ada", "owner")


async def test_a_sign_on_that_was_not_begun_here_fails(issuer: TestIssuer, signing: SignOn) -> None:
    flow = signing.code_flow
    assert flow is not None
    address, pending = await flow.begin(REDIRECT)
    _, other = await flow.begin(REDIRECT)
    grant = issuer.grant(address, groups=["admins"])
    for flow_state, query, why in (
        (other, grant, "not begun"),
        (pending, grant + "&state=x", "not begun"),
        (pending, f"state={pending.state}&error=access_denied", "access_denied"),
        (pending, grant + "&iss=https%3A%2F%2Fother.example", "another issuer"),
        (msgspec.structs.replace(pending, nonce="x"), grant, "another sign-on"),
        (pending, "&".join(f"a{n}=1" for n in range(50)), "too many"),
        (pending, f"code=unknown&state={pending.state}", "refused its code"),
        (pending, grant, "refused its code"),
    ):
        with pytest.raises(Unauthenticated, match=why):
            await flow.finish(flow_state, query)
    for changes in ({"verifier": "x" * 48}, {"redirect_uri": "https://other.example"}):
        address, pending = await flow.begin(REDIRECT)
        grant = issuer.grant(address, groups=["admins"])
        with pytest.raises(Unauthenticated, match="refused its code"):
            await flow.finish(msgspec.structs.replace(pending, **changes), grant)
    address, pending = await flow.begin(REDIRECT)
    with pytest.raises(Unauthenticated, match="its aud is"):
        await flow.finish(pending, issuer.grant(address, groups=["admins"], aud=AUDIENCE))


@pytest.fixture
async def both(
    settings: Settings, database: Database, redis: Redis, issuer: TestIssuer
) -> AsyncIterator[httpx2.AsyncClient]:
    """A service with an issuer and a proxy."""
    sign_on_settings = msgspec.structs.replace(
        settings,
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
        oidc_roles=ROLES,
        trusted_proxy_user_header="X-Auth-Request-User",
        trusted_proxy_groups_header="X-Auth-Request-Groups",
        trusted_proxy_roles=ROLES,
        trusted_proxy_secret=Secret(PROXY_SECRET),
        trusted_proxy_addresses="127.0.0.0/8",
    )
    async with client_of(app_with(sign_on_settings, database, redis, now=utc_now)) as client:
        del client.headers["authorization"]
        yield client


async def test_requests_come_in_by_token_by_proxy_or_by_key(
    both: httpx2.AsyncClient, issuer: TestIssuer
) -> None:
    token = issuer.token(groups=["ops"])
    by_proxy = {
        "x-auth-request-user": "grace",
        "x-auth-request-groups": "staff, ops",
        "x-proxy-secret": PROXY_SECRET,
    }
    for headers, who in (
        ({"authorization": f"Bearer {token}"}, "oidc:ada"),
        (by_proxy, "proxy:grace"),
        ({"authorization": f"Bearer {ADMIN_KEY}"}, "root"),
    ):
        answer = await both.get("/admin/people/me", headers=headers)
        assert answer.json()["id"] == who, answer.text
        created = await both.post(
            "/admin/accounts", json={"user_id": who[:5].strip(":")}, headers=headers
        )
        assert created.status_code == 201
    root = {"authorization": f"Bearer {ADMIN_KEY}"}
    rows = (await both.get("/admin/audit", headers=root)).json()["data"]
    assert [row["actor"] for row in rows] == ["root", "proxy:grace", "oidc:ada"]
    assert token not in str(rows)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-auth-request-user": "grace", "x-auth-request-groups": "admins"}, 401),
        ({"x-auth-request-user": "grace", "x-proxy-secret": "guess"}, 401),
        ({"x-auth-request-user": "grace", "x-proxy-secret": ""}, 401),
        # Forged headers spoil a request that is right by itself: a proxy that lets them through
        # is to be mended.
        ({"x-auth-request-user": "grace", "authorization": f"Bearer {ADMIN_KEY}"}, 401),
        ({"x-auth-request-user": "", "x-proxy-secret": PROXY_SECRET}, 401),
        ({"x-auth-request-user": "x" * 300, "x-proxy-secret": PROXY_SECRET}, 401),
        (
            {
                "x-auth-request-user": "grace",
                "x-auth-request-groups": "staff",
                "x-proxy-secret": PROXY_SECRET,
            },
            403,
        ),
        ({"x-proxy-secret": PROXY_SECRET, "x-auth-request-groups": "admins"}, 401),
    ],
)
async def test_forged_headers_are_refused(
    both: httpx2.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await both.get("/admin/people/me", headers=headers)
    assert answer.status_code == status
    assert PROXY_SECRET not in answer.text
    problem(answer)


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("", 201)])
async def test_a_request_of_another_site_through_the_proxy_is_rejected(
    both: httpx2.AsyncClient, site: str, status: int
) -> None:
    headers = {
        "x-auth-request-user": "grace",
        "x-auth-request-groups": "admins",
        "x-proxy-secret": PROXY_SECRET,
    } | ({"sec-fetch-site": site} if site else {})
    assert (await both.get("/admin/people/me", headers=headers)).status_code == 200
    answer = await both.post("/admin/accounts", json={"user_id": "a"}, headers=headers)
    assert answer.status_code == status


async def test_the_proxy_s_address_counts_too(
    settings: Settings, database: Database, redis: Redis
) -> None:
    proxy_settings = msgspec.structs.replace(
        settings,
        trusted_proxy_user_header="x-user",
        trusted_proxy_groups_header="x-groups",
        trusted_proxy_roles=ROLES,
        trusted_proxy_addresses="10.0.0.7, 2001:db8::/64",
    )
    headers = {"x-user": "grace", "x-groups": "all"}
    async with client_of(app_with(proxy_settings, database, redis)) as client:
        assert (await client.get("/admin/people/me", headers=headers)).status_code == 401
    near = msgspec.structs.replace(proxy_settings, trusted_proxy_addresses="127.0.0.1")
    async with client_of(app_with(near, database, redis)) as client:
        answer = await client.get("/admin/people/me", headers=headers)
    assert answer.json()["id"] == "proxy:grace"


PROXY = {
    "trusted_proxy_user_header": "x-user",
    "trusted_proxy_groups_header": "x-groups",
    "trusted_proxy_roles": ROLES,
    "trusted_proxy_secret": Secret(PROXY_SECRET),
}
OIDC = {"oidc_issuer": "https://x.example", "oidc_audience": "a", "oidc_roles": ROLES}


@pytest.mark.parametrize(
    ("fields", "variable"),
    [
        (OIDC | {"oidc_issuer": "http://x.example"}, "OIDC_ISSUER"),
        (OIDC | {"oidc_issuer": "x.example"}, "OIDC_ISSUER"),
        (OIDC | {"oidc_audience": ""}, "OIDC_AUDIENCE"),
        (OIDC | {"oidc_roles": ""}, "OIDC_ROLES"),
        (OIDC | {"oidc_roles": "ops"}, "OIDC_ROLES"),
        (OIDC | {"oidc_roles": "ops=root"}, "OIDC_ROLES"),
        (OIDC | {"oidc_roles": "=owner"}, "OIDC_ROLES"),
        (PROXY | {"trusted_proxy_secret": None}, "TRUSTED_PROXY_SECRET"),
        (PROXY | {"trusted_proxy_secret": Secret("short")}, "TRUSTED_PROXY_SECRET"),
        (PROXY | {"trusted_proxy_addresses": "10.0.0.0/99"}, "TRUSTED_PROXY_ADDRESSES"),
        (PROXY | {"trusted_proxy_groups_header": ""}, "TRUSTED_PROXY_GROUPS_HEADER"),
        (PROXY | {"trusted_proxy_user_header": "x user"}, "TRUSTED_PROXY_USER_HEADER"),
        (PROXY | {"trusted_proxy_roles": "a=b"}, "TRUSTED_PROXY_ROLES"),
    ],
)
def test_a_wrong_setting_is_named(fields: dict[str, Any], variable: str, clock: Clock) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} "):
        sign_on(SignOnSettings(**fields), utc_now, clock)


async def test_concurrent_tokens_share_one_fetch(issuer: TestIssuer, clock: Clock) -> None:
    client = Issuer(issuer.url, clock)
    await asyncio.gather(*(client.known() for _ in range(10)))
    assert issuer.request_counts["/jwks"] == 1


def test_sign_on_without_settings_is_disabled(clock: Clock) -> None:
    assert sign_on(SignOnSettings(), utc_now, clock) == SignOn()
