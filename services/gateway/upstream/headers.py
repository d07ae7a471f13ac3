"""Which headers pass between client and provider, and which are replaced on the way."""

import re
from collections.abc import Iterable

from libs.common.schemas.usage import ClientFormat
from services.gateway.auth import CREDENTIAL_HEADERS, Headers
from services.gateway.upstream.answer import Header

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Ours to set, or nobody's business upstream.
_NOT_SENT = (
    _HOP_BY_HOP
    | CREDENTIAL_HEADERS
    | {
        b"host",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"accept-encoding",
        b"expect",
        b"cookie",
        b"forwarded",
        b"via",
        b"x-request-id",
        b"request-id",
        b"x-real-ip",
    }
)
_OURS = (
    (b"content-type", b"application/json"),
    (b"accept-encoding", b"identity"),
)
_ANTHROPIC_VERSION = (b"anthropic-version", b"2023-06-01")
_NOT_SENT_PREFIXES = (b"x-forwarded-", b"x-gateway-")
_NOT_RETURNED = _HOP_BY_HOP | {
    b"content-length",
    b"content-encoding",
    b"set-cookie",
    b"server",
    b"date",
    b"alt-svc",
    b"cache-control",
    b"strict-transport-security",
    b"x-request-id",
    b"request-id",
    # They describe the shared provider key, not the client's own.
    b"openai-organization",
    b"openai-project",
    b"anthropic-organization-id",
}
_NOT_RETURNED_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-", b"cf-", b"x-gateway-")

_TOLD_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_MAX_TOLD_NAMES = 32


def request_headers(
    client_format: ClientFormat, key: str | None, headers: Headers, call_id: str
) -> list[Header]:
    """The client's own, with the deployment's credential where it needs one."""
    dropped = _with_named_by_connection(_NOT_SENT, headers)
    sent = [
        header
        for header in headers
        if header[0] not in dropped and not header[0].startswith(_NOT_SENT_PREFIXES)
    ]
    if client_format == "messages":
        if all(name != b"anthropic-version" for name, _ in sent):
            sent.append(_ANTHROPIC_VERSION)
        if key is not None:
            sent.append((b"x-api-key", key.encode()))
    elif key is not None:
        sent.append((b"authorization", b"Bearer " + key.encode()))
    sent += _OURS
    sent.append((b"x-request-id", call_id.encode()))
    return sent


def response_headers(raw: Iterable[Header]) -> list[Header]:
    """What of the provider's headers the client gets, by their names in lower case."""
    headers = [(name.lower(), value) for name, value in raw]
    dropped = _with_named_by_connection(_NOT_RETURNED, headers)
    return [
        (name, value)
        for name, value in headers
        if name not in dropped and not name.startswith(_NOT_RETURNED_PREFIXES)
    ]


def dropped_headers(names: Iterable[str]) -> list[Header]:
    """What a translation left out. Clients choose these names, so only harmless ones are told."""
    told = [name for name in names if _TOLD_NAME.fullmatch(name)][:_MAX_TOLD_NAMES]
    return [(b"x-gateway-dropped-params", ", ".join(told).encode())] if told else []


def _with_named_by_connection(dropped: frozenset[bytes], headers: Headers) -> frozenset[bytes]:
    """Also those that `Connection` says end at the next hop; few requests have any."""
    for name, value in headers:
        if name == b"connection":
            dropped = dropped.union(named.strip().lower() for named in value.split(b","))
    return dropped
