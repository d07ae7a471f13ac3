"""Limits the memory that a process of many threads keeps.

glibc gives threads arenas of their own, up to eight for each core, and what was freed in one serves
no other. Threads that read answers of some megabytes in turn then keep that much each.
"""

import ctypes

# Of mallopt, in malloc.h.
_M_ARENA_MAX = -8


def share_arena() -> None:
    """Lets all threads that start from here on allocate from one arena: Python runs one at a time.

    Another C library has its own ways, and is left to them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
