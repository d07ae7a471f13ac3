"""Lua scripts over the keys of one account, which share a hash slot. Each is one round trip.

At `maxmemory`, Redis rejects commands that may need memory, and scripts unless their first line has
`allow-oom`. The scripts that release memory or post money have it; those that take memory do not.
"""

import hashlib
from collections.abc import Awaitable, Sequence
from importlib.resources import files
from typing import Any

import msgspec

from libs.common.storage.redis.client import NoScriptError, Redis
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.shards import Shards

encode_ask = msgspec.json.Encoder().encode
# The first line of a script that a full Redis runs too. Such a script may add only a little.
ALLOW_OOM = "#!lua flags=allow-oom\n"
# A full Redis rejects a script without the flag before its first command.
_FIRST_LINES = {
    "admit": "#!lua\n",
    "retake": "#!lua\n",
    "look": "#!lua flags=no-writes\n",
    "finish": ALLOW_OOM,
    "renew": ALLOW_OOM,
    "settle": ALLOW_OOM,
    "sweep": ALLOW_OOM,
}


class Script:
    """A script of `lua/`, behind the text of `common.lua`."""

    def __init__(self, name: str) -> None:
        folder = files(__package__) / "lua"
        parts = (folder / "common.lua", folder / f"{name}.lua")
        self.text = _FIRST_LINES[name] + "\n".join(part.read_text() for part in parts)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Runs the named scripts, and loads those that Redis lacks."""

    def __init__(self, pipelined: Pipelined, shards: Shards, *names: str) -> None:
        self._pipelined = pipelined
        self._root_of = shards.root_of
        self._scripts = {name: Script(name) for name in names}

    def sha(self, name: str) -> str:
        """For EVALSHA in a transaction."""
        return self._scripts[name].sha

    async def load(self) -> None:
        texts = [script.text for script in self._scripts.values()]
        await self._pipelined.run_all(*(("SCRIPT", "LOAD", text) for text in texts))

    async def run(
        self,
        name: str,
        user_id: str,
        ask: dict[str, Any],
        *more: bytes,
        other_keys: tuple[str, ...] = (),
    ) -> Any:
        """`other_keys` are of the account's shard."""
        keys = (self._root_of(user_id), *other_keys)
        arguments = (len(keys), *keys, encode_ask(ask), *more)
        try:
            return await self._pipelined.run("EVALSHA", self.sha(name), *arguments)
        except NoScriptError:
            await self.load()
            return await self._pipelined.run("EVALSHA", self.sha(name), *arguments)

    def command(self, *command: Any) -> Awaitable[Any]:
        """Runs any other command over the same connection."""
        return self._pipelined.run(*command)


class TextScript:
    """A script of its own, over keys that are always the same."""

    def __init__(self, pipelined: Pipelined, text: str, keys: Sequence[str]) -> None:
        self._pipelined = pipelined
        self._text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._keys = (len(keys), *keys)

    async def run(self, *arguments: Any) -> Any:
        try:
            return await self._pipelined.run("EVALSHA", self._sha, *self._keys, *arguments)
        except NoScriptError:
            # Which Redis then keeps.
            return await self._pipelined.run("EVAL", self._text, *self._keys, *arguments)


async def run_once(redis: Redis, script: str, keys: Sequence[str], *arguments: Any) -> Any:
    """Runs a script by its text; for rare ones."""
    return await redis.execute_command(  # type: ignore[no-untyped-call]
        "EVAL", script, len(keys), *keys, *arguments
    )
