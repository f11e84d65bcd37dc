# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Memory of the CPU: keep what is freed, for the next tensor."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Let the C library keep freed memory of up to 1 GiB per tensor instead of returning it to the system.

    By default glibc maps every large tensor anew, and the system fills it with zeros page by page: for
    networks with large maps on a CPU that can take longer than the network. The price is memory that
    stays with the process, up to its highest use so far. Does nothing where there is no glibc.

    Returns:
        Whether both settings were accepted.
    """
    if not sys.platform.startswith('linux'):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and all(
        [mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES), mallopt(_M_TRIM_THRESHOLD, _LARGEST_BYTES)]
    )
