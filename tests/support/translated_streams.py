"""Reads a translated stream as its relay does."""

from libs.common.errors import AppError
from services.gateway.upstream.answer import Stream


async def written(stream: Stream) -> tuple[bytes, AppError | None]:
    """All that is written of it, and the error that broke it off, if one did."""
    translation = stream.translation
    assert translation is not None
    output = b""
    try:
        async for chunk in stream.chunks:
            output += translation.feed(chunk)
            if translation.error is not None:
                return output, translation.error
            if translation.is_over():
                break
        return output + translation.end(), None
    except AppError as error:
        return output, error


async def served(stream: Stream) -> tuple[bytes, AppError | None]:
    """All that the client gets: what is broken off ends with its error's frame."""
    output, error = await written(stream)
    if error is not None and stream.translation is not None:
        output += stream.translation.error_frame(error)
    return output, error
