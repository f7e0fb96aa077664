"""What the C library's allocator keeps for itself: a mapper runs for days and has to stay of one size."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8
"""Parameter of mallopt(3) in glibc's malloc.h."""
ARENAS = 2
"""Heaps that threads share. By default every thread may come to one of its own, whose gaps no other can fill."""


def share_arenas() -> None:
    """Let all threads share `ARENAS` heaps; before the first thread starts. Nothing where the allocator is another."""
    setting = getattr(ctypes.CDLL(None), "mallopt", None)
    if setting is not None:
        setting(M_ARENA_MAX, ARENAS)


def give_back_memory() -> None:
    """What a new map needed for a moment goes back to the system; glibc would keep it, a little more each time."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
