"""Headers as ASGI has them: pairs of bytes, names in lower case."""

Header = tuple[bytes, bytes]
Headers = list[Header]
# The headers that carry a client's credentials: read here, and never sent on.
CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})
