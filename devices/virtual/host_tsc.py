"""How fast this computer's time stamp counter runs: an emulated x86_64 has the same, and measures it badly at boot."""

from __future__ import annotations

import ctypes
import mmap
import platform
import time
from collections.abc import Callable

# rdtsc; shl rdx, 32; or rax, rdx; ret
_READ = bytes.fromhex("0f31 48c1e220 4809d0 c3")
_SPAN_S = 0.1
_TRIES = 20


def tsc_khz() -> int | None:
    """Its rate in kHz; None where there is none, or where no code may be run out of memory."""
    if platform.machine() != "x86_64":
        return None
    try:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    code.write(_READ)
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    first, last = _reading(read), None
    time.sleep(_SPAN_S)  # sleep: the span that the counter is compared over
    last = _reading(read)
    return round((last[1] - first[1]) / (last[0] - first[0]) * 1e6)


def _reading(read: Callable[[], int]) -> tuple[float, int]:
    """Nanoseconds and ticks of one moment: of several tries the one that nobody interrupted."""
    tries: list[tuple[int, int, int]] = []
    for _ in range(_TRIES):
        before, ticks, after = time.monotonic_ns(), read(), time.monotonic_ns()
        tries.append((after - before, before, ticks))
    width, before, ticks = min(tries)
    return before + width / 2, ticks
