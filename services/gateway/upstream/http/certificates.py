"""The authorities' certificates, of which OpenSSL reads 140 in 30 ms and keeps them in 2 MB."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def read_to_verify() -> Iterator[None]:
    """In the block, a context that verifies nothing reads no certificates.

    aiohttp makes a context of each kind when it is imported.
    """
    inherited = ssl.SSLContext.set_default_verify_paths

    def read(context: ssl.SSLContext) -> None:
        if context.verify_mode != ssl.CERT_NONE:
            inherited(context)

    ssl.SSLContext.set_default_verify_paths = read  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        ssl.SSLContext.set_default_verify_paths = inherited  # type: ignore[method-assign]
