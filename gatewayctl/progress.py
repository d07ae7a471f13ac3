"""Shows progress on stderr, on a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from gatewayctl.terminal import Terminal


class ProgressBar(Protocol):
    def __call__(self, done: int, text: str = "") -> None: ...


@contextmanager
def progress(terminal: Terminal, title: str, total: int | None = None) -> Iterator[ProgressBar]:
    """Yields a function to call with the amount done. `total` may be a guess, or unknown."""
    if not terminal.stderr.isatty():
        yield lambda done, text="": None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from gatewayctl.tables import console

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with Progress(
        *columns, TimeElapsedColumn(), console=console(terminal, stderr=True), transient=True
    ) as bar:
        task = bar.add_task(title, total=total, text="")

        def move(done: int, text: str = "") -> None:
            known_total = None if total is None else max(total, done)
            bar.update(task, completed=done, total=known_total, text=text)

        yield move
