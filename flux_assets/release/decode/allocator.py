"""How the C library keeps large pieces of memory: not at all, so that a record of megabytes is not kept by each thread.

glibc maps a large piece of its own and gives it back once it is freed, until the first has been freed: from then on
pieces of that size come from the heap of a thread, which keeps them: reading a record of 15 MB took up to 513 MB.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE_BYTES = 4 << 20  # above the blocks of a usual file, whose memory is used again at once


@cache
def return_large_memory() -> None:
    """Have freed pieces of more than 4 MB returned to the system, in this process; nothing on another C library."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
