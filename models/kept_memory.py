"""Memory that a training step frees is kept for the next one, on a CPU with glibc.

glibc gives blocks of more than 32 MiB back to the system when they are freed, and what is given anew has to be cleared page by
page: at paper size 268 MB a step, which took 8 % of a step's time on two cores. Torch has no cache of its own for a CPU.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

VARIABLE = "HARNESS_KEEP_MEMORY"
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # malloc.h
KEPT_AT_MOST = 2**31 - 1
"""Bytes free at the top of the heap beyond which it is trimmed all the same."""
TAKEN_AT_ONCE = 2**26


@cache
def keep() -> bool:
    """Ask glibc, once in a process, to keep what is freed; whoever has set malloc by the environment has the last word.

    Returns:
        Whether it does. HARNESS_KEEP_MEMORY=0 leaves it as it is.
    """
    tuned = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if tuned or os.environ.get(VARIABLE) == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = ((MMAP_MAX, 0), (TRIM_THRESHOLD, KEPT_AT_MOST), (TOP_PAD, TAKEN_AT_ONCE))
    return all(mallopt(parameter, value) == 1 for parameter, value in wanted)
