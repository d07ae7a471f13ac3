"""What the process sends to MongoDB, as the driver tells it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import monitoring


class _Listener(monitoring.CommandListener):
    def __init__(self) -> None:
        self.watchers: list[list[dict[str, Any]]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        # The driver shows nothing of those that sign in.
        for watcher in self.watchers if event.command else ():
            watcher.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


# Of each client that is opened from here on, which the fixtures' are.
_listener = _Listener()
monitoring.register(_listener)


@contextmanager
def sent_commands() -> Iterator[list[dict[str, Any]]]:
    """Fills the list with the commands, in the order in which they are sent."""
    commands: list[dict[str, Any]] = []
    _listener.watchers.append(commands)
    try:
        yield commands
    finally:
        _listener.watchers.remove(commands)


def collection_of(command: dict[str, Any]) -> str | None:
    """The first member names the command, and has the collection where there is one."""
    value = next(iter(command.values()))
    return value if isinstance(value, str) else None
