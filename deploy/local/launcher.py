"""Prepares a new process, then executes the command: `launcher.py PARENT GATE COMMAND`.

PARENT is the pid of the process to end with, or 0. GATE is 1 to wait for a byte on stdin first: if
the parent dies before it sends the byte, the command is not started. It runs by its path and with
few imports, because every server's start waits for it (see children.py).
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, gate, *command = sys.argv[1:]
    if parent != "0":
        _end_with(int(parent))
    if gate == "1":
        if not os.read(0, 1):
            sys.exit(f"{command[0]}: not started, because its parent ended")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # Python ignores these two signals, and ignored signals stay ignored across an exec.
    for signum in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(signum, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


def _end_with(parent: int) -> None:
    """Makes the kernel kill this process once its parent ends. Only on Linux."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # A parent that ended before the call above sends no signal.
    if os.getppid() != parent:
        sys.exit("not started, because its parent ended")


if __name__ == "__main__":
    main()
