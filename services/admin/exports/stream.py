"""An export as it is sent: a piece at a time, as fast as its client reads.

Invariants: it ends as a whole or its connection is cut before the end, so that half of it never
passes for all; few are sent at a time, each for a bounded time; memory does not grow with it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from libs.common.errors import RateLimited
from libs.common.slots import Slots
from services.admin.exports.columns import Cell
from services.admin.exports.encoders import Encoder
from services.admin.exports.formats import ExportFormat

# Each keeps a page of rows in memory and, while its client reads, a connection to MongoDB.
MAX_EXPORTS = 4
# A million rows take a minute or two; a client that reads slowly has this long for all of them.
_MAX_S = 3600.0
_RETRY_AFTER_S = 30

CellRows = Sequence[Sequence[Cell]]


class ExportResponse(StreamingResponse):
    """An error before the first piece has an answer of its own; a later one cuts the connection."""

    def __init__(
        self,
        pages: AsyncIterator[CellRows],
        encoder: Encoder,
        kind: ExportFormat,
        name: str,
        slots: Slots,
    ) -> None:
        self._pieces = _pieces(pages, encoder)
        self._slots = slots
        super().__init__(
            self._pieces,
            headers={
                "content-type": kind.content_type,
                "content-disposition": f'attachment; filename="{name}.{kind.name}"',
                "cache-control": "no-store",
                "x-content-type-options": "nosniff",
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._slots.take_free():
            raise RateLimited(
                f"{MAX_EXPORTS} exports are being sent; retry when one of them is done.",
                retry_after_s=_RETRY_AFTER_S,
            )
        try:
            async with asyncio.timeout(_MAX_S), aclosing(self._pieces):
                first = await anext(self._pieces)
                if scope["method"] == "HEAD":
                    await Response(headers=self.headers)(scope, receive, send)
                    return
                self.body_iterator = _chain(first, self._pieces)
                await super().__call__(scope, receive, send)
        finally:
            self._slots.release()


async def _pieces(pages: AsyncIterator[CellRows], encoder: Encoder) -> AsyncGenerator[bytes, None]:
    """The first one is there only when the first page is."""
    piece = encoder.begin()
    async for page in pages:
        yield piece + encoder.rows(page)
        piece = b""
    yield piece + encoder.end()


async def _chain(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """An empty piece is not sent."""
    if first:
        yield first
    async for piece in others:
        if piece:
            yield piece
