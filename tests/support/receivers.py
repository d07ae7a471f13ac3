"""A receiver of alerts: a real HTTP server that checks each signature with the library."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
from standardwebhooks import Webhook

from libs.common.schemas.alert import AlertKind, Delivery, Receiver
from libs.common.storage.mongo.alerts import AlertFilter, AlertStore
from libs.common.storage.mongo.slices import Slice
from tests.servers import HOST
from tests.service.ledger_worker.worker_stage import NOW
from tests.support.sockets import accepting

# Of 24 bytes.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Message(msgspec.Struct, frozen=True):
    id: str
    type: str
    data: dict[str, Any]


class HttpReceiver:
    """Answers with the statuses in turn, the last one for good; `answers` holds answers back."""

    def __init__(self, *statuses: int, secret: str = SECRET, port: int = 0) -> None:
        self.messages: list[Message] = []
        self.url = ""
        self.answers = asyncio.Event()
        self.answers.set()
        self._port = port
        self.secret = secret
        self._statuses = list(statuses or (204,))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["HttpReceiver"]:
        async with accepting(self._serve, port=self._port) as port:
            self.url = f"http://{HOST}:{port}/alerts?of=gateway"
            yield self

    def of(self, kind: AlertKind) -> list[dict[str, Any]]:
        return [message.data for message in self.messages if message.type == kind]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("POST /alerts?of=gateway HTTP/1.1\r\n")
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(fields["content-length"]))
        Webhook(self.secret).verify(body, fields)
        message = json.loads(body, parse_float=Decimal)
        assert set(message) == {"type", "timestamp", "data"}
        self.messages.append(Message(fields["webhook-id"], message["type"], message["data"]))
        await self.answers.wait()
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        elsewhere = f"location: {self.url}\r\n" if status == 307 else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{elsewhere}content-length: 0\r\n\r\n".encode())
        await writer.drain()


def receiver(receiver_id: str, url: str, **changes: Any) -> Receiver:
    fields: dict[str, Any] = {
        "receiver_id": receiver_id,
        "name": receiver_id,
        "url": url,
        "secret": SECRET,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Receiver(**(fields | changes))


async def list_deliveries(alerts: AlertStore, **filters: Any) -> list[Delivery]:
    """All messages that the filter wants, the oldest first."""
    part = Slice(limit=1000, field="created_at")
    return (await alerts.slice(AlertFilter(**filters), part)).rows
