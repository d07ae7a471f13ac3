"""OpenAI embeddings: vectors that depend on the text alone and mean nothing."""

import base64
import hashlib
import itertools
import struct
from typing import Annotated, Any, Literal

import msgspec

from deploy.local.provider.answers import Ask
from deploy.local.provider.wire import (
    GenerationRoute,
    RequestRefused,
    ScriptedCall,
    ScriptedReply,
    ServedUsage,
    encode,
)

_INPUTS = 2048


class _Request(msgspec.Struct, frozen=True):
    model: str
    input: str | list[Any]
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 16
    encoding_format: Literal["float", "base64"] = "float"


class EmbeddingAsk(Ask, frozen=True, kw_only=True):
    texts: list[str]
    dimensions: int
    as_base64: bool


_decoder = msgspec.json.Decoder(_Request)


def read(body: bytes, headers: dict[bytes, bytes]) -> Ask:
    del headers
    request = _decoder.decode(body)
    texts = _texts(request.input)
    if not 1 <= len(texts) <= _INPUTS:
        raise RequestRefused(400, f"input must hold 1 to {_INPUTS} texts", param="input")
    return EmbeddingAsk(
        model=request.model,
        prompt=texts[-1],
        characters=sum(map(len, texts)),
        texts=texts,
        dimensions=request.dimensions,
        as_base64=request.encoding_format == "base64",
    )


def _texts(value: str | list[Any]) -> list[str]:
    """Strings as they are; token lists as the text of their numbers."""
    if isinstance(value, str):
        return [value]
    if value and isinstance(value[0], int):
        return [str(value)]
    return [item if isinstance(item, str) else str(item) for item in value]


def _vector(text: str, dimensions: int) -> list[float]:
    seed = hashlib.sha256(text.encode()).digest()
    return [byte / 127.5 - 1.0 for byte in itertools.islice(itertools.cycle(seed), dimensions)]


def _embedding(ask: EmbeddingAsk, text: str) -> list[float] | str:
    vector = _vector(text, ask.dimensions)
    if not ask.as_base64:
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def reply(call: ScriptedCall) -> ScriptedReply:
    ask = call.ask
    if not isinstance(ask, EmbeddingAsk):
        raise TypeError("an embedding is asked for by an EmbeddingAsk")
    # An embedding has no output, so its tokens are the input's alone.
    tokens = msgspec.structs.replace(call.tokens, output_text=0, reasoning=0)
    usage = {"prompt_tokens": tokens.input_total, "total_tokens": tokens.input_total}
    served = None if call.script.no_usage else ServedUsage(usage=encode(usage), tokens=tokens)
    body: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _embedding(ask, text)}
            for index, text in enumerate(ask.texts)
        ],
        "model": ask.model,
    }
    if served is not None:
        body["usage"] = msgspec.Raw(served.usage)
    return ScriptedReply(body=encode(body), served=served)


ENDPOINT = GenerationRoute(
    path="/v1/embeddings",
    family="openai",
    id_prefix="embd_",
    read=read,
    reply=reply,
    stream=None,
)
