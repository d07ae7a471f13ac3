"""Finds the client's API key in a request, whichever header its SDK uses."""

from libs.common.errors import Unauthenticated
from services.gateway.calls.headers import CREDENTIAL_HEADERS, Headers

_BEARER = b"bearer "


def secret_of(headers: Headers) -> str:
    """From `Authorization: Bearer`, `x-api-key` or `api-key`. Raises Unauthenticated."""
    credentials: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in CREDENTIAL_HEADERS and credentials.setdefault(name, value) != value:
            # A proxy in front of the gateway may have checked one, and the gateway the other.
            header = name.decode()
            raise Unauthenticated(f"The header {header} names two different API keys. Send one.")
    authorization = credentials.get(b"authorization", b"")
    is_bearer = authorization[: len(_BEARER)].lower() == _BEARER
    secret = (
        (authorization[len(_BEARER) :].strip() if is_bearer else b"")
        or credentials.get(b"x-api-key", b"").strip()
        or credentials.get(b"api-key", b"").strip()
    )
    if secret:
        return secret.decode("latin-1")
    raise Unauthenticated(
        "No API key. Send it as 'Authorization: Bearer <key>', 'x-api-key' or 'api-key'."
    )
