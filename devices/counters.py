"""What zram counts of itself in sysfs, with the names that the kernel's documentation gives the numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class BdStat:
    """``bd_stat``: blocks on the backing device, reads from it, writes to it; in 4 KiB whatever the page size."""

    count_4k: int
    reads_4k: int
    writes_4k: int

    @classmethod
    def parse(cls, text: str) -> BdStat:
        """Read the attribute's text."""
        count, reads, writes = (int(word) for word in text.split()[:3])
        return cls(count, reads, writes)


@dataclass(frozen=True, slots=True)
class MmStat:
    """``mm_stat``: sizes in bytes, then pages. ``orig_data_size`` still counts pages that were written back.

    The last two came to the kernel later than the others; None on a kernel without them.
    """

    orig_data_size: int
    compr_data_size: int
    mem_used_total: int
    mem_limit: int
    mem_used_max: int
    same_pages: int
    pages_compacted: int
    huge_pages: int | None = None
    huge_pages_since: int | None = None

    def facts(self) -> dict[str, int]:
        """Return the numbers that this kernel has, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}
