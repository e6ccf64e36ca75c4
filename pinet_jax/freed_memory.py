"""Freed memory stays with the process: a step on a CPU asks for the same again and again."""

from __future__ import annotations

import ctypes
import sys

import jax

# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Tells the C library to hand no memory back to the system before the process ends.

    XLA's CPU client frees its temporary memory after every call. The system would clear it again,
    page by page, in the next one: a quarter of a step of a small network. Called by commands before
    anything is computed, never on import. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, -1)  # never shrink the heap
    mallopt(_MMAP_MAX, 0)  # large pieces come from the heap, too
    # Programs run in the thread that calls them: heaps of XLA's own thread are too small for large
    # pieces. Sending every thread to the one heap (M_ARENA_MAX) would do as well, but XLA then
    # compiles for half as long again, and what it has compiled runs at 60 % of its speed.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
