"""Freed memory stays with the process on a CPU: a step asks for the same sizes again, and page faults cost time.

glibc gives large blocks back to the system as soon as they are freed. Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


@cache
def keep_freed_memory() -> bool:
    """Tell glibc so, once a process; whether it took it."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 1 << 26}
    taken = [mallopt(which, size) == 1 for which, size in settings.items()]
    return all(taken)
