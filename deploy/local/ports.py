"""Ports of this machine: free ones for the stack's servers, and a clear word on taken ones."""

import random
import socket
from contextlib import closing

# Below the range from which kernels take the ports of outgoing connections (32768 on Linux, 49152
# elsewhere), so that a port found free is still free when the server binds it.
LOWEST, HIGHEST = 20_000, 32_000
ATTEMPTS = 200
HOST = "127.0.0.1"


def is_free(port: int, host: str = HOST) -> bool:
    with closing(socket.socket()) as probe:
        # As the servers do: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return not answers(port)


def answers(port: int, host: str = HOST) -> bool:
    """Whether something accepts connections, also where the kernel would let us bind beside it."""
    with closing(socket.socket()) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


def pick_free(*, avoid: frozenset[int] = frozenset()) -> int:
    chance = random.SystemRandom()
    for _ in range(ATTEMPTS):
        port = chance.randint(LOWEST, HIGHEST)
        if port not in avoid and is_free(port):
            return port
    raise OSError(f"no free port found between {LOWEST} and {HIGHEST}")
