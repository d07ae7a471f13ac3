"""Estimates tokens with LiteLLM's bundled tokenisers.

They are slow for an event loop and fast for a thread, which is where all of this runs.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.adapters import messages, responses
from services.gateway.upstream.adapters.library import Library
from services.gateway.upstream.adapters.target import TranslationTarget
from services.gateway.upstream.adapters.tokens import MAX_TEXT_BYTES
from services.gateway.usage.estimator import by_bytes

_encode = msgspec.json.Encoder().encode


def counted_input(
    library: Library,
    client_format: ClientFormat,
    target: TranslationTarget,
    fields: Mapping[str, Any],
) -> int:
    """Tokens of the prompt and the tools, as near as one gets without the provider."""
    size = len(_encode(fields))
    if size > MAX_TEXT_BYTES:
        return by_bytes(size)
    if client_format == "messages":
        request = messages.chat_request(library, target, fields).fields
    else:
        request = responses.chat_request(library, target, fields)
    try:
        # Images would otherwise be fetched to be measured.
        return int(
            library.token_counter(
                model=target.model,
                messages=request["messages"],
                tools=request.get("tools"),
                tool_choice=request.get("tool_choice"),
                use_default_image_token_count=True,
            )
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        # It knows neither every kind of content nor every tool.
        return by_bytes(size)
