"""Finds the client's API key in a request, whichever header its SDK uses."""

from libs.common.errors import Unauthenticated

Headers = list[tuple[bytes, bytes]]
# The headers that carry a client's credentials: read here, and never sent on.
CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})
_BEARER = b"bearer "


def secret_of(headers: Headers) -> str:
    """From `Authorization: Bearer`, `x-api-key` or `api-key`. Raises Unauthenticated."""
    found = {name: value for name, value in headers if name in CREDENTIAL_HEADERS}
    authorization = found.get(b"authorization", b"")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        secret = authorization[len(_BEARER) :]
    else:
        secret = found.get(b"x-api-key") or found.get(b"api-key") or b""
    if not secret.strip():
        raise Unauthenticated(
            "No API key. Send it as 'Authorization: Bearer <key>', 'x-api-key' or 'api-key'."
        )
    return secret.strip().decode("latin-1")
