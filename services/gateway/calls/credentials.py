"""Finds the client's API key in a request, whichever header its SDK uses."""

from libs.common.errors import Unauthenticated
from services.gateway.calls.headers import CREDENTIAL_HEADERS, Headers

_BEARER = b"bearer "


def secret_of(headers: Headers) -> str:
    """From `Authorization: Bearer`, `x-api-key` or `api-key`. Raises Unauthenticated."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in CREDENTIAL_HEADERS and found.setdefault(name, value) != value:
            # A proxy in front of the gateway may have checked one, and the gateway the other.
            shown = name.decode()
            raise Unauthenticated(f"The header {shown} names two different API keys. Send one.")
    authorization = found.get(b"authorization", b"")
    is_bearer = authorization[: len(_BEARER)].lower() == _BEARER
    secret = (
        (authorization[len(_BEARER) :].strip() if is_bearer else b"")
        or found.get(b"x-api-key", b"").strip()
        or found.get(b"api-key", b"").strip()
    )
    if secret:
        return secret.decode("latin-1")
    raise Unauthenticated(
        "No API key. Send it as 'Authorization: Bearer <key>', 'x-api-key' or 'api-key'."
    )
