"""Clients that keep their connections: short calls, long streams, an administrator's requests."""

import asyncio
import itertools
import random
from collections.abc import Mapping
from time import monotonic
from typing import Any

import aiohttp
import msgspec

from deploy.local.state import StackInfo
from tests.e2e import mixed_load

_SHORT, _LONG, _ADMIN = 8, 12, 2
_LAST_FRAMES = {
    mixed_load.CHAT: b"data: [DONE]",
    mixed_load.RESPONSES: b"event: response.completed",
    mixed_load.MESSAGES: b"event: message_stop",
}
# Longer than a preStop and the shorter part of a grace.
_STREAM_S = (10, 30)
_CHUNK_S = 0.25
# Of the load itself: a client is quiet between two calls, and its connection stays open.
_PAUSE_S = 0.25
# More than any grace, which a call at a hanging pod lasts.
_LIMIT_S = 240.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`pod` is `host:port`, where the answer said so; `fault` is None for one that is whole."""

    kind: str
    pod: str | None
    call_id: str | None
    fault: str | None
    began_s: float
    ended_s: float


class Load:
    """`until` ends it: calls under way are finished."""

    def __init__(self, info: StackInfo, *, long: int = _LONG) -> None:
        self._info = info
        self._streams = long
        self._began = monotonic()
        self.until = asyncio.Event()
        # Kinds of calls and the pods that have begun to answer one.
        self.begun: set[tuple[str, str | None]] = set()
        self.outcomes: list[Outcome] = []

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_LIMIT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(
                *(self._short(session, number) for number in range(_SHORT)),
                *(self._long(session, number) for number in range(self._streams)),
                *(self._admin(session) for _ in range(_ADMIN)),
            )

    @property
    def whole_ids(self) -> set[str]:
        """Ids of the calls whose answers came to their last byte."""
        ids = (each.call_id for each in self.outcomes if each.fault is None)
        return {call_id for call_id in ids if call_id is not None}

    async def _short(self, session: aiohttp.ClientSession, seed: int) -> None:
        for path, body in itertools.cycle(mixed_load.requests(200, seed)):
            if self.until.is_set():
                return
            last = _LAST_FRAMES[path] if body["stream"] else b""
            await self._call(session, "short", path, body, last)
            await asyncio.sleep(_PAUSE_S)

    async def _long(self, session: aiohttp.ClientSession, seed: int) -> None:
        chance = random.Random(seed)
        while not self.until.is_set():
            chunks = int(chance.uniform(*_STREAM_S) / _CHUNK_S)
            script = (
                f"input_tokens=100 output_tokens=50 chunks={chunks} "
                f"chunk_delay_ms={_CHUNK_S * 1000:.0f}"
            )
            body = {
                "model": "gpt-4o-mini",
                "stream": True,
                "max_tokens": 1000,
                "messages": [{"role": "user", "content": f"[[stand-in {script}]]"}],
            }
            await self._call(session, "long", mixed_load.CHAT, body, b"data: [DONE]")

    async def _admin(self, session: aiohttp.ClientSession) -> None:
        path = f"{self._info.admin_url}/admin/accounts/{self._info.demo_user_id}"
        key = {"authorization": f"Bearer {self._info.admin_api_key}"}
        for number in itertools.count():
            if self.until.is_set():
                return
            body = {"name": f"demo {number}"} if number % 4 == 0 else None
            method = "GET" if body is None else "PATCH"
            await self._send(session, "admin", method, path, key, body, b"")
            await asyncio.sleep(_PAUSE_S)

    async def _call(
        self,
        session: aiohttp.ClientSession,
        kind: str,
        path: str,
        body: Mapping[str, Any],
        last: bytes,
    ) -> None:
        key = {"authorization": f"Bearer {self._info.demo_api_key}"}
        await self._send(session, kind, "POST", self._info.gateway_url + path, key, body, last)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        kind: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
        last: bytes,
    ) -> None:
        """`last` is what a whole answer has near its end."""
        began = self._now()
        pod = call_id = fault = None
        try:
            async with session.request(method, url, headers=headers, json=body) as response:
                pod = response.headers.get("x-upstream")
                self.begun.add((kind, pod))
                call_id = response.headers.get("x-request-id") if kind != "admin" else None
                answer = await response.read()
                if response.status != 200:
                    fault = f"{response.status} {answer[:200]!r}"
                elif last not in answer:
                    fault = f"the stream has no end: {answer[-200:]!r}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            fault = f"{type(error).__name__}: {error}"
        self.outcomes.append(
            Outcome(
                kind=kind, pod=pod, call_id=call_id, fault=fault, began_s=began, ended_s=self._now()
            )
        )

    def _now(self) -> float:
        return monotonic() - self._began
