"""What zram counts of itself in sysfs, with the names that the kernel's documentation gives the numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from base.parsing import whole_numbers

# Columns of mm_stat on every kernel.
_ALWAYS = 7


@dataclass(frozen=True, slots=True)
class BdStat:
    """``bd_stat``: blocks on the backing device, reads from it, writes to it; in 4 KiB whatever the page size."""

    count_4k: int
    reads_4k: int
    writes_4k: int

    @classmethod
    def parse(cls, text: str) -> BdStat:
        """Read the attribute's text; some kernels have more columns behind these. Raises UnreadableAnswer."""
        return cls(*whole_numbers(text.split(), 3, "bd_stat"))


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

    @classmethod
    def parse(cls, text: str) -> MmStat:
        """Read the attribute's text. Raises UnreadableAnswer."""
        words = text.split()[: len(fields(cls))]
        return cls(*whole_numbers(words, max(len(words), _ALWAYS), "mm_stat"))

    def facts(self) -> dict[str, int]:
        """Return the numbers that this kernel has, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}
