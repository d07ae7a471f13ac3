"""Which headers pass between client and provider.

Of the client's, those that `calls.sent_headers` names; of the provider's, those named here.
"""

import re
from collections.abc import Iterable

from services.gateway.calls.headers import Header, Headers
from services.gateway.formats.headers import FormatHeaders

# How the SDKs of both providers describe themselves, and the try that a request is.
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
# Those that need no look at which headers they name.
_USUAL_CONNECTIONS = frozenset({b"keep-alive", b"close"})

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
    """The client's own that are named, with the deployment's credential where it needs one."""
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
    """What of the provider's headers the client gets, by their names in lower case."""
    headers = [(name, value) for spelt, value in raw if (name := spelt.lower()) in _LOOKED_AT]
    names = _without_named_by_connection(_RETURNED, headers)
    returned = [header for header in headers if header[0] in names]
    if _CONTROL.search(b"".join([value for _, value in returned])):
        # aiohttp lets them in, but nothing can send them on.
        return [header for header in returned if not _CONTROL.search(header[1])]
    return returned


def changed_headers(dropped: Iterable[str], adapted: Iterable[str] = ()) -> list[Header]:
    """What a translation left out, and what it weakened or said in other words.

    Clients choose some of these names, so only harmless ones are told.
    """
    headers: list[Header] = []
    for header, names in (
        (b"x-gateway-dropped-params", dropped),
        (b"x-gateway-adapted-params", adapted),
    ):
        told = [name for name in names if _TOLD_NAME.fullmatch(name)][:_MAX_TOLD_NAMES]
        if told:
            headers.append((header, ", ".join(told).encode()))
    return headers


def _without_named_by_connection(names: frozenset[bytes], headers: Headers) -> frozenset[bytes]:
    """Without those that `Connection` says end at the next hop; few requests have any."""
    for name, value in headers:
        if name == b"connection" and value not in _USUAL_CONNECTIONS:
            names = names.difference(named.strip().lower() for named in value.split(b","))
    return names
