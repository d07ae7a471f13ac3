"""Prepares a new process and then becomes the command: `launcher.py PARENT GATE COMMAND`.

PARENT is the pid of the process to end with, or 0 for none. GATE is 1 to wait for a byte on stdin
first; a parent that dies before it sends one has no child. Run by its path and with few imports,
because every server's start waits for it (see children.py).
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
    # Python ignores these two, and what is ignored stays so across an exec.
    for signum in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(signum, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


def _end_with(parent: int) -> None:
    """The kernel kills this process as soon as its parent ends, however that ends. Linux alone."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # One that ended before the line above sends no signal any more.
    if os.getppid() != parent:
        sys.exit("not started, because its parent ended")


if __name__ == "__main__":
    main()
