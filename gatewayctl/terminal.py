"""A command's surroundings: streams, environment, network."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from gatewayctl.errors import Misused

if TYPE_CHECKING:
    import httpx

_WIDTH = 80
_ESCAPE_BELOW = 0x20
# A body, a map of prices: more is not an input of a command.
_MAX_INPUT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """Tests replace all of it. `transport` None is the network."""

    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    transport: "httpx.BaseTransport | None" = None
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def is_table(self) -> bool:
        """Whether a person reads the output; otherwise a program does."""
        return self.stdout.isatty()

    @property
    def can_ask(self) -> bool:
        return self.stdin.isatty() and self.stderr.isatty()

    @property
    def width(self) -> int:
        """In characters; COLUMNS wins, as everywhere."""
        columns = self.environ.get("COLUMNS", "")
        if columns.isdecimal() and int(columns) > 0:
            return int(columns)
        try:
            return os.get_terminal_size(self.stdout.fileno()).columns or _WIDTH
        except (OSError, ValueError):
            return _WIDTH

    @property
    def has_color(self) -> bool:
        """https://no-color.org: any value that is not empty."""
        return not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"

    def say(self, text: str) -> None:
        """Prints to stderr, for the person who runs the command."""
        self.stderr.write(printable(text) + "\n")
        self.stderr.flush()

    def read(self) -> str:
        """All of stdin. Raises Misused."""
        try:
            text = self.stdin.read(_MAX_INPUT_BYTES + 1)
            # Some locales let other bytes through as surrogates.
            text.encode()
        except UnicodeError:
            raise Misused("The input on stdin is not UTF-8.") from None
        if len(text) > _MAX_INPUT_BYTES:
            raise Misused(f"More than {_MAX_INPUT_BYTES // 2**20} MiB came on stdin.")
        return text

    def confirm(self, question: str, *, yes: bool) -> None:
        """Raises Misused if there is no terminal, or the answer is no."""
        if yes:
            return
        if not self.can_ask:
            raise Misused(
                f"{question} There is no terminal to ask on.",
                way_out="add --yes to go on without a question",
            )
        self.stderr.write(printable(question) + " [y/N] ")
        self.stderr.flush()
        if self.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Misused("Nothing was done.")

    def secret(self, prompt: str) -> str:
        """Typed without an echo, or the first line of stdin where that is not a terminal."""
        if self.can_ask:
            from getpass import getpass

            answer = getpass(prompt, stream=self.stderr)
        else:
            answer = self.read().partition("\n")[0]
        if not answer.strip():
            raise Misused("No secret was given.", way_out="type it, or send it on stdin")
        return answer.strip()


def printable(text: str) -> str:
    """Removes control characters, which names that others chose may hold."""
    return "".join(
        c if c in "\n\t" or (ord(c) >= _ESCAPE_BELOW and not 0x7F <= ord(c) <= 0x9F) else "\ufffd"
        for c in text
    )
