"""Which headers pass between client and provider. Both ways, what no row names stays here.

Not sent on are credentials, the names of organisations, projects and workspaces (the provider's key
is the operator's, not the client's), what proxies and tracing add on their way (`baggage` too), a
client's sessions, and idempotency keys: under one provider key two accounts could share one.
"""

import re
from collections.abc import Iterable, Mapping

from libs.common.schemas.usage import ClientFormat
from services.gateway.auth import CREDENTIAL_HEADERS, Headers
from services.gateway.upstream.answer import Header

_FROM_EVERY_CLIENT = frozenset({b"accept", b"user-agent", b"traceparent", b"tracestate"})
# How the SDKs of both providers describe themselves, and the try that a request is.
_SDK_PREFIX = b"x-stainless-"
_TO_OPENAI = _FROM_EVERY_CLIENT | {
    b"openai-beta",
    b"originator",
    b"x-client-request-id",
}
_TO_ANTHROPIC = _FROM_EVERY_CLIENT | {
    b"anthropic-version",
    b"anthropic-beta",
    b"anthropic-dangerous-direct-browser-access",
    b"x-app",
}
_SENT: Mapping[ClientFormat, frozenset[bytes]] = {
    "chat": _TO_OPENAI,
    "responses": _TO_OPENAI,
    "embeddings": _TO_OPENAI,
    "messages": _TO_ANTHROPIC,
}
# No setting sends these on: the gateway's own, those of one connection, and what is shared by all
# who use the provider's key.
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
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-request-id",
}
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OURS = (
    (b"content-type", b"application/json"),
    (b"accept-encoding", b"identity"),
)
_ANTHROPIC_VERSION = (b"anthropic-version", b"2023-06-01")
_RETURNED = frozenset(
    {
        b"content-type",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
        b"deprecation",
        b"sunset",
        b"warning",
        b"openai-model",
        b"openai-poll-after-ms",
        b"openai-processing-ms",
        b"openai-version",
        b"x-reasoning-included",
    }
)
# Those that need no look at which headers they name.
_USUAL_CONNECTIONS = frozenset({b"keep-alive", b"close"})

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TOLD_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_MAX_TOLD_NAMES = 32


def sent_headers(further: str = "") -> Mapping[ClientFormat, frozenset[bytes]]:
    """By format, the names that reach its providers. `further` ones, after commas, reach them all.

    Raises ValueError for a name that no header has, or that is never sent on.
    """
    names = {name.strip().lower() for name in further.split(",")} - {""}
    for name in sorted(names):
        if not _NAME.fullmatch(name):
            raise ValueError("it must be names of headers, with commas between them")
        if name.encode() in _NEVER_SENT or name.startswith("x-gateway-"):
            raise ValueError(f"'{name}' is never sent to a provider")
    extra = {name.encode() for name in names}
    return {client_format: sent | extra for client_format, sent in _SENT.items()}


def request_headers(
    sent_names: frozenset[bytes],
    client_format: ClientFormat,
    key: str | None,
    headers: Headers,
    call_id: str,
) -> list[Header]:
    """The client's own that are named, with the deployment's credential where it needs one."""
    names = _without_named_by_connection(sent_names, headers)
    sent = [header for header in headers if header[0] in names or header[0].startswith(_SDK_PREFIX)]
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
    names = _without_named_by_connection(_RETURNED, headers)
    returned = [header for header in headers if header[0] in names]
    if _CONTROL.search(b"".join([value for _, value in returned])):
        # aiohttp lets them in, but nothing can send them on.
        return [header for header in returned if not _CONTROL.search(header[1])]
    return returned


def dropped_headers(names: Iterable[str]) -> list[Header]:
    """What a translation left out. Clients choose these names, so only harmless ones are told."""
    told = [name for name in names if _TOLD_NAME.fullmatch(name)][:_MAX_TOLD_NAMES]
    return [(b"x-gateway-dropped-params", ", ".join(told).encode())] if told else []


def _without_named_by_connection(names: frozenset[bytes], headers: Headers) -> frozenset[bytes]:
    """Without those that `Connection` says end at the next hop; few requests have any."""
    for name, value in headers:
        if name == b"connection" and value not in _USUAL_CONNECTIONS:
            names = names.difference(named.strip().lower() for named in value.split(b","))
    return names
