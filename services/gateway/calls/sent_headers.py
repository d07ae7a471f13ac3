"""Which of a client's headers reach a provider: those of its format; all others are dropped.

Dropped are credentials; the names of organisations, projects and workspaces, since the provider's
key is the operator's; what proxies and tracing add (`baggage` too; `calls.tracing` writes the
trace context anew); a client's sessions; and idempotency keys, which two accounts under one
provider key could share.
"""

import re
from collections.abc import Mapping

from libs.common.schemas.usage import ClientFormat
from services.gateway.calls.headers import CREDENTIAL_HEADERS
from services.gateway.formats import FORMATS

# No setting may add these: headers that the gateway sets itself, headers of one connection, and
# headers that would be shared by all who use the provider's key.
_NEVER_SENT = CREDENTIAL_HEADERS | {
    b"accept-encoding",
    b"baggage",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"cookie",
    b"expect",
    b"host",
    b"idempotency-key",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"request-id",
    b"te",
    b"traceparent",
    b"tracestate",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-request-id",
}
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")


def sent_headers(further: str = "") -> Mapping[ClientFormat, frozenset[bytes]]:
    """By format, the names that reach its providers. `further` is a list with commas, for all.

    Raises ValueError for an invalid header name, or one that is never sent to a provider.
    """
    names = {name.strip().lower() for name in further.split(",")} - {""}
    for name in sorted(names):
        if not _NAME.fullmatch(name):
            raise ValueError("it must be header names separated by commas")
        if name.encode() in _NEVER_SENT or name.startswith("x-gateway-"):
            raise ValueError(f"'{name}' is never sent to a provider")
    extra = {name.encode() for name in names}
    return {name: row.headers.sent | extra for name, row in FORMATS.items()}
