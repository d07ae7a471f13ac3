"""The optional ways to sign on, from the settings."""

import ipaddress
import re
from collections.abc import Callable
from datetime import datetime

import msgspec

from libs.common.settings import Secret, SettingsError
from services.admin.people.issuer import Issuer, is_secure_url
from services.admin.people.oidc import CodeFlow
from services.admin.people.proxy import Network, Proxy
from services.admin.people.role_map import role_map
from services.admin.people.tokens import Claims, Tokens

_HEADER = re.compile(r"[a-z0-9-]{1,64}")
_MIN_SECRET_CHARS = 16


class SignOnSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Without `oidc_issuer` and `trusted_proxy_user_header` there is no sign-on.

    `…_roles` are `GROUP=ROLE,GROUP=ROLE`; of several groups the first in that order counts.
    """

    oidc_issuer: str = ""
    # What tokens must be meant for; the client's id unless it is given.
    oidc_audience: str = ""
    oidc_roles: str = ""
    # Where a token has the groups, as a path such as realm_access.roles.
    oidc_role_claim: str = "groups"
    # Where it has the accounts in scope; unset: all accounts.
    oidc_accounts_claim: str = ""
    # For the console's own sign-on.
    oidc_client_id: str = ""
    oidc_client_secret: Secret | None = None
    trusted_proxy_user_header: str = ""
    trusted_proxy_groups_header: str = ""
    trusted_proxy_roles: str = ""
    trusted_proxy_secret: Secret | None = None
    trusted_proxy_secret_header: str = "x-proxy-secret"
    # Addresses or networks, separated by commas.
    trusted_proxy_addresses: str = ""


class SignOn(msgspec.Struct, frozen=True):
    """`tokens` and `code_flow` are of an OpenID Connect issuer."""

    tokens: Tokens | None = None
    code_flow: CodeFlow | None = None
    proxy: Proxy | None = None


def sign_on(
    settings: SignOnSettings, now: Callable[[], datetime], clock: Callable[[], float]
) -> SignOn:
    """Raises SettingsError. Fetches nothing."""
    tokens, code_flow = None, None
    if settings.oidc_issuer:
        if not is_secure_url(settings.oidc_issuer):
            raise SettingsError("OIDC_ISSUER is wrong: it must be an https URL")
        audience = settings.oidc_audience or settings.oidc_client_id
        if not audience:
            raise SettingsError("OIDC_AUDIENCE is not set: tokens for anything would be taken")
        claims = Claims(
            audience=audience,
            role=settings.oidc_role_claim,
            roles=role_map("OIDC_ROLES", settings.oidc_roles),
            accounts=settings.oidc_accounts_claim or None,
        )
        issuer = Issuer(settings.oidc_issuer, clock)
        tokens = Tokens(issuer, claims, now)
        if settings.oidc_client_id:
            code_flow = CodeFlow(
                issuer,
                tokens,
                client_id=settings.oidc_client_id,
                client_secret=settings.oidc_client_secret,
            )
    return SignOn(tokens, code_flow, _proxy(settings))


def _proxy(settings: SignOnSettings) -> Proxy | None:
    if not settings.trusted_proxy_user_header:
        return None
    secret = settings.trusted_proxy_secret
    networks = _networks(settings.trusted_proxy_addresses)
    if secret is None and not networks:
        raise SettingsError(
            "TRUSTED_PROXY_SECRET or TRUSTED_PROXY_ADDRESSES is needed: without both anybody could "
            "send TRUSTED_PROXY_USER_HEADER"
        )
    if secret is not None and len(secret.reveal()) < _MIN_SECRET_CHARS:
        raise SettingsError(
            f"TRUSTED_PROXY_SECRET is too short: it needs at least {_MIN_SECRET_CHARS} characters"
        )
    return Proxy(
        user_header=_header("TRUSTED_PROXY_USER_HEADER", settings.trusted_proxy_user_header),
        groups_header=_header("TRUSTED_PROXY_GROUPS_HEADER", settings.trusted_proxy_groups_header),
        roles=role_map("TRUSTED_PROXY_ROLES", settings.trusted_proxy_roles),
        secret=secret,
        secret_header=_header("TRUSTED_PROXY_SECRET_HEADER", settings.trusted_proxy_secret_header),
        networks=networks,
    )


def _header(variable: str, name: str) -> str:
    lower = name.lower()
    if not _HEADER.fullmatch(lower):
        raise SettingsError(f"{variable} is wrong: it must be the name of a header")
    return lower


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingsError(
            "TRUSTED_PROXY_ADDRESSES is wrong: it must be addresses or networks, such as "
            "10.0.0.7,10.1.0.0/16"
        ) from None
