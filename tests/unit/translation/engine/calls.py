"""Calls through the engine: to a target of the bundled map, and back."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import msgspec

from libs.common.errors import AppError
from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.base import decode_fields
from services.gateway.upstream.answer import Stream, WholeAnswer
from services.gateway.upstream.translation.engine import (
    ClientCall,
    Translation,
    closest,
    translate,
)
from services.gateway.upstream.translation.way_back import translated_answer, translated_stream
from tests.support.translated_streams import served
from tests.unit.translation.mender.calls import profile_of

CREATED = 1_700_000_000
CALL_ID = "call-1"


def translation(
    client: ClientFormat,
    body: Any,
    name: str,
    *formats: ClientFormat,
    drops: bool = False,
    **changes: Any,
) -> Translation:
    """To the target of that name, in the first of `formats` that carries it; none: all it speaks.

    `changes` are of its profile. Raises InvalidRequest as the gateway does.
    """
    model, profile = profile_of(name)
    profile = msgspec.structs.replace(profile, **changes)
    request = ClientCall(
        client=client,
        fields=decode_fields(json.dumps(body).encode()),
        model=name,
        created=CREATED,
        call_id=CALL_ID,
    )
    return translate(
        request, model, profile, formats or closest(client, profile.formats), drops=drops
    )


def body_of(sent: Translation) -> dict[str, Any]:
    """As it goes over the wire."""
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(sent.fields))
    return decoded


def answer_of(body: Any, status: int = 200) -> WholeAnswer:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WholeAnswer(status=status, headers=[], body=encoded)


def answered(sent: Translation, body: Any, status: int = 200) -> WholeAnswer:
    return translated_answer(sent, answer_of(body, status))


class Streamed(msgspec.Struct, frozen=True):
    """All bytes that the client gets, and the error that broke the stream off, if one did."""

    written: bytes
    error: AppError | None
    stream: Stream


def streamed(sent: Translation, reads: Iterable[bytes], first_bytes: bytes = b"") -> Streamed:
    """As the gateway serves it: a stream that breaks off ends with its error's frame.

    `first_bytes` is what of it has come before the gateway answers.
    """
    return asyncio.run(_streamed(sent, reads, first_bytes))


async def _streamed(sent: Translation, reads: Iterable[bytes], first_bytes: bytes) -> Streamed:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for chunk in reads:
            yield chunk

    async def close() -> None:
        pass

    source = Stream(headers=[], chunks=chunks(), close=close, first_bytes=first_bytes)
    stream = await translated_stream(sent, source)
    body, error = await served(stream)
    return Streamed(body, error, stream)
