"""Selects the headers that pass between client and provider.

`calls.sent_headers` names the client's headers that pass; this module names the provider's.
"""

import re
from collections.abc import Iterable

from services.gateway.calls.headers import Header, Headers
from services.gateway.formats.headers import FormatHeaders

# The SDKs of both providers describe themselves and the retry count in these.
_SDK_PREFIX = b"x-stainless-"
_OURS = (
    (b"content-type", b"application/json"),
    (b"accept-encoding", b"identity"),
)
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
_LOOKED_AT = _RETURNED | {b"connection"}
# These values name no header.
_USUAL_CONNECTIONS = frozenset({b"keep-alive", b"close"})

# A stream has it as a comment, for what comes after its head.
DROPPED_CONTENT = b"x-gateway-dropped-content"
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TOLD_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_MAX_TOLD_NAMES = 32


def request_headers(
    sent_names: frozenset[bytes],
    format_headers: FormatHeaders,
    key: str | None,
    headers: Headers,
    call_id: str,
) -> list[Header]:
    """The client's headers that pass, and the deployment's credential."""
    names = _without_named_by_connection(sent_names, headers)
    sent = [header for header in headers if header[0] in names or header[0].startswith(_SDK_PREFIX)]
    for header in format_headers.required:
        if all(name != header[0] for name, _ in sent):
            sent.append(header)
    if key is not None:
        sent.append(format_headers.credential(key))
    sent += _OURS
    sent.append((b"x-request-id", call_id.encode()))
    return sent


def response_headers(raw: Iterable[Header]) -> list[Header]:
    """The provider's headers that pass, with names in lower case."""
    headers = [(name, value) for spelt, value in raw if (name := spelt.lower()) in _LOOKED_AT]
    names = _without_named_by_connection(_RETURNED, headers)
    returned = [header for header in headers if header[0] in names]
    if _CONTROL.search(b"".join([value for _, value in returned])):
        # aiohttp accepts control characters, but no server can send them.
        return [header for header in returned if not _CONTROL.search(header[1])]
    return returned


def changed_headers(
    dropped: Iterable[str], adapted: Iterable[str] = (), omitted: Iterable[str] = ()
) -> list[Header]:
    """Names the fields that a translation dropped, those that it adapted, and the answer's parts
    that it omitted.

    Clients choose some of these names, so only harmless ones are shown.
    """
    headers: list[Header] = []
    for header, names in (
        (b"x-gateway-dropped-params", dropped),
        (b"x-gateway-adapted-params", adapted),
        (DROPPED_CONTENT, omitted),
    ):
        shown_names = [name for name in names if _TOLD_NAME.fullmatch(name)][:_MAX_TOLD_NAMES]
        if shown_names:
            headers.append((header, ", ".join(shown_names).encode()))
    return headers


def _without_named_by_connection(names: frozenset[bytes], headers: Headers) -> frozenset[bytes]:
    """Without the headers that `Connection` names, which end at the next hop."""
    for name, value in headers:
        if name == b"connection" and value not in _USUAL_CONNECTIONS:
            names = names.difference(named.strip().lower() for named in value.split(b","))
    return names
