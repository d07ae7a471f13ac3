"""Finds the client's API key in a request, whichever header its SDK uses."""

from libs.common.errors import Unauthenticated

Headers = list[tuple[bytes, bytes]]
# The headers that carry a client's credentials: read here, and never sent on.
CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})
_BEARER = b"bearer "


def secret_of(headers: Headers) -> str:
    """From `Authorization: Bearer`, `x-api-key` or `api-key`. Raises Unauthenticated."""
    sent_headers = {header for header in headers if header[0] in CREDENTIAL_HEADERS}
    found = dict(sent_headers)
    if len(found) < len(sent_headers):
        # A proxy in front of the gateway may have read another one of them than it would.
        names = ", ".join(sorted(name.decode() for name in found))
        raise Unauthenticated(f"A header names two different API keys ({names}). Send one.")
    authorization = found.get(b"authorization", b"")
    is_bearer = authorization[: len(_BEARER)].lower() == _BEARER
    for sent in (
        authorization[len(_BEARER) :] if is_bearer else b"",
        found.get(b"x-api-key", b""),
        found.get(b"api-key", b""),
    ):
        secret = sent.strip()
        if secret:
            return secret.decode("latin-1")
    raise Unauthenticated(
        "No API key. Send it as 'Authorization: Bearer <key>', 'x-api-key' or 'api-key'."
    )
