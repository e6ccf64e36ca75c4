"""Freed memory stays with the process: a step on a CPU asks for the same again and again."""

from __future__ import annotations

import ctypes
import sys

# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Tells the C library to hand no memory back to the system before the process ends.

    XLA's CPU client frees its temporary memory after every call. The system would clear it again,
    page by page, in the next one: a quarter of a step of a small network. Called by commands, never
    on import. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, -1)  # never shrink the heap
    mallopt(_MMAP_MAX, 0)  # large pieces come from the heap, too
    mallopt(_ARENA_MAX, 1)  # heaps of further threads are too small for them
