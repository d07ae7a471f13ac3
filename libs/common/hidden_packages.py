"""Hides packages from libraries that would import them only because they are installed.

LiteLLM and the admin service bring rich and cryptography along. structlog would load the one for
tracebacks that we print ourselves, and redis-py the other, through PyJWT, for logins that we do not
have: 13 MB and a quarter of a second for each process.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(package: str, *, half_made: str | None = None) -> Iterator[None]:
    """Imports within the block do not find the package, unless it is loaded already.

    `half_made` is a library that works without it and keeps so: whoever imports that library later
    gets another copy, with all it can do.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
        for name in [name for name in sys.modules if name.partition(".")[0] == half_made]:
            del sys.modules[name]
