"""What is done to the processes of a stack, by chance: killed, paused, their spools filled up."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Protocol

import msgspec

from deploy.local.errors import StackError
from deploy.local.stack import LocalStack

GATEWAYS = ("gateway", "gateway-2")
SERVICES = (*GATEWAYS, "ledger_worker", "ledger_worker-2")
SPOOL_MAX_BYTES = 2 * 1024 * 1024
# A process that starts while a database is paused is not ready before that goes on.
_STARTS = 3


class Harms(msgspec.Struct, frozen=True, kw_only=True):
    """How often a harm is a pause and no kill, and how long those may be, in seconds.

    Most pauses are short; the longest exceed leases, jobs' timeouts and clients' patience.
    """

    pauses: float = 0.4
    longest_pause_s: float = 40.0


class Victim(Protocol):
    @property
    def name(self) -> str: ...

    def kill(self) -> None:
        """kill -9; returns once it has ended."""

    def start(self) -> None:
        """Returns once it is ready; raises StackError if it is not in time."""

    def signal(self, signum: signal.Signals) -> None:
        """SIGSTOP or SIGCONT."""


class StackProcess(msgspec.Struct, frozen=True):
    """A process of the stack."""

    stack: LocalStack
    name: str

    def kill(self) -> None:
        self.stack.kill(self.name)

    def start(self) -> None:
        self.stack.start_process(self.name)

    def signal(self, signum: signal.Signals) -> None:
        self.stack.signal(self.name, signum)


class Harmful:
    """Until `until` each victim is harmed on its own, so that any may be away at the same time."""

    def __init__(
        self,
        stack: LocalStack,
        victims: Sequence[Victim],
        seed: int,
        until: float,
        harms: Harms,
        say: Callable[[str], None],
    ) -> None:
        self._stack = stack
        self._victims = victims
        self._seed = seed
        self._until = until
        self._harms = harms
        self._say = say

    def start(self, tasks: asyncio.TaskGroup) -> None:
        for victim in self._victims:
            tasks.create_task(self._keep_harming(victim))
        for gateway in GATEWAYS:
            tasks.create_task(self._keep_filling(gateway))

    async def _keep_harming(self, victim: Victim) -> None:
        chance = random.Random(f"{self._seed} {victim.name}")
        while monotonic() < self._until:
            await asyncio.sleep(chance.uniform(1.0, 10.0))
            if chance.random() < self._harms.pauses:
                await self._pause(victim, self._harms.longest_pause_s * chance.random() ** 3)
            else:
                await self._kill(victim, chance.uniform(0.0, 2.0))

    async def _kill(self, victim: Victim, down_s: float) -> None:
        self._say(f"kill -9 {victim.name}, down for {down_s:.1f} s")
        await asyncio.to_thread(victim.kill)
        await asyncio.sleep(down_s)
        for start in range(_STARTS):
            try:
                await asyncio.to_thread(victim.start)
            except StackError:
                if start == _STARTS - 1:
                    raise
            else:
                return

    async def _pause(self, victim: Victim, seconds: float) -> None:
        self._say(f"pause {victim.name} for {seconds:.1f} s")
        victim.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            victim.signal(signal.SIGCONT)

    async def _keep_filling(self, gateway: str) -> None:
        """What lies in the spool's directory counts, whoever put it there."""
        chance = random.Random(f"{self._seed} spool of {gateway}")
        directory = self._stack.directory / "data" / "spool" / gateway
        while monotonic() < self._until:
            await asyncio.sleep(chance.uniform(1.0, 10.0))
            full_s = chance.uniform(1.0, 8.0)
            self._say(f"fill the spool of {gateway} for {full_s:.1f} s")
            async with _filled(directory):
                await asyncio.sleep(full_s)


@asynccontextmanager
async def _filled(directory: Path) -> AsyncIterator[None]:
    ballast = directory / "ballast"
    with ballast.open("wb") as file:
        file.truncate(SPOOL_MAX_BYTES)
    try:
        yield
    finally:
        ballast.unlink()
