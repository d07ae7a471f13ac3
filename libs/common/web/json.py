"""JSON by msgspec: amounts are exact, plain numbers, times are RFC 3339 in UTC."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from starlette.responses import Response

_encode = msgspec.json.Encoder(decimal_format="number").encode
_EXPONENTS = (b"E-", b"E+")
# Matches strings too, to skip their contents. Never backtracks.
_STRING_OR_EXPONENT = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(?P<number>-?[0-9]++(?:\.[0-9]++)?+E[-+][0-9]++)'
)


def encode_json(content: Any) -> bytes:
    """Encodes numbers without an exponent: `0.0000008`, not `8E-7`."""
    encoded = _encode(content)
    if not any(exponent in encoded for exponent in _EXPONENTS):
        return encoded
    return _STRING_OR_EXPONENT.sub(_plain, encoded)


def json_response(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(
        encode_json(content), status_code=status, headers=headers, media_type="application/json"
    )


def _plain(found: re.Match[bytes]) -> bytes:
    number = found["number"]
    return found[0] if number is None else f"{Decimal(number.decode()):f}".encode()
