"""Makes LiteLLM's embedding call of an OpenAI request, and OpenAI's answer of LiteLLM's."""

import base64
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from services.gateway.upstream.adapters.library import Library
from services.gateway.upstream.adapters.target import TranslationRefused, TranslationTarget

_encode = msgspec.json.Encoder().encode
_FORMATS = ("float", "base64")


def embedding_request(
    library: Library, target: TranslationTarget, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Always asks for numbers, since few providers know base64; the gateway writes base64 itself.

    Raises TranslationRefused for what the provider cannot do.
    """
    encoding = fields.get("encoding_format", "float")
    if encoding not in _FORMATS:
        raise _refusal(f"encoding_format: one of {', '.join(_FORMATS)}", "invalid_request")
    request = {"input": fields["input"]}
    if "dimensions" in fields and not target.drop_params:
        supported = library.supported_params(
            target.model, custom_llm_provider=target.provider, request_type="embeddings"
        )
        if "dimensions" not in (supported or ()):
            raise _refusal(
                f"dimensions: {target.provider} does not know this field", "unsupported_field"
            )
    if "dimensions" in fields:
        request["dimensions"] = fields["dimensions"]
    return request


def embedding_list(answer: Any, fields: Mapping[str, Any], target: TranslationTarget) -> bytes:
    as_base64 = fields.get("encoding_format") == "base64"
    usage = getattr(answer, "usage", None)
    tokens = getattr(usage, "prompt_tokens", None)
    # LiteLLM writes zeros where the provider reported nothing.
    reported_usage = {"prompt_tokens": tokens, "total_tokens": tokens} if tokens else None
    return _encode(
        {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": _vector(row["embedding"], as_base64=as_base64),
                }
                for index, row in enumerate(answer.data)
            ],
            "model": getattr(answer, "model", None) or target.model,
            **({} if reported_usage is None else {"usage": reported_usage}),
        }
    )


def _vector(vector: Any, *, as_base64: bool) -> Any:
    """OpenAI's base64 holds 32-bit floats, the low byte first."""
    if not as_base64 or isinstance(vector, str):
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _refusal(message: str, code: str) -> TranslationRefused:
    return TranslationRefused(400, message, code=code)
