"""JSON over msgspec: amounts are exact numbers, times are RFC 3339 in UTC."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

encode_json = msgspec.json.Encoder(decimal_format="number").encode


def json_response(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A response from anything that msgspec encodes."""
    return Response(
        encode_json(content), status_code=status, headers=headers, media_type="application/json"
    )
