"""What the kernel's own counters and attributes are made of, the same on every phone."""

from __future__ import annotations

PAGE_4K = 4096
"""unit of zram's counters (``bd_stat``, the writeback limit), in bytes, whatever the page size"""

SECTOR = 512
"""unit of a disk's counters and of block events, in bytes, whatever its block size"""

SECTORS_PER_4K = PAGE_4K // SECTOR

DEFAULT_BATCH_SIZE = 32
"""what ``writeback_batch_size`` is after boot, in pages"""

MAX_BATCH_SIZE = 4096
"""the largest ``writeback_batch_size`` that is ever written: a huge one makes zram allocate until the phone panics"""
