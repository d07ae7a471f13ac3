"""Settings of Python's collector of reference cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (20_000, 20, 20)


@contextmanager
def uncollected() -> Iterator[None]:
    """What is made in the block, such as modules, lives as long as the process.

    Imports make hundreds of thousands of objects, and next to no garbage. The collector would look
    at them two hundred times, which takes an eighth of a service's start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def collect_rarely() -> None:
    """Call this once all objects that live as long as the process exist.

    Collections then need not visit modules and tables. A request or a posting makes thousands of
    objects but hardly a cycle, so the default threshold of 700 collects too often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
