"""The mix of pages that a phone holds, as its zram's counters tell it and as the probe takes it."""

from __future__ import annotations

from dataclasses import dataclass

from base.deadline import Deadline
from base.errors import DeviceError
from base.kernel import PAGE_4K
from devices.counters import BdStat, MmStat
from devices.transport import Read, Transport
from devices.zram import selected

HEAP_RATIOS = {"lzo": 2.6, "lzo-rle": 2.6, "lz4": 2.7, "lz4hc": 3.0, "zstd": 3.6, "deflate": 3.7}
"""bytes of the probe's pages like a heap's for each byte that a compressor leaves of them"""
# A vendor's compressor, in hardware for the most part, is no fast and weak one.
_RATIO_OF_OTHERS = HEAP_RATIOS["zstd"]
# What is mixed into pages like a heap's for a phone's own ratio: nearly empty pages, or pages full of noise.
_EMPTY, _NOISY = 20.0, 1.5
_FEWEST_PAGES = 1000
_WHOLE = 1000


@dataclass(frozen=True, slots=True)
class PageMix:
    """Pages in zram's memory, of which so many repeat one word and so many did not shrink.

    ``ratio``, 1 at least, is of the rest, ``together`` of all.
    """

    pages: int
    same: int
    incompressible: int
    ratio: float
    together: float
    algorithm: str

    @property
    def mix(self) -> str:
        """Return what the probe calls pages like these: shares in per cent, to a tenth, which add up to 100."""
        same, huge = (round(_WHOLE * count / self.pages) for count in (self.same, self.incompressible))
        rest = max(0, _WHOLE - same - huge)
        heap, other = HEAP_RATIOS.get(self.algorithm, _RATIO_OF_OTHERS), _EMPTY
        if self.ratio < heap:
            other = _NOISY
        mixed_in = (1 / heap - 1 / self.ratio) / (1 / heap - 1 / other)
        others = round(rest * min(1.0, max(0.0, mixed_in)))
        shares = {"s": same, "i": huge, "h": rest - others, "c": others}
        words = [f"{kind}{share / 10:g}" for kind, share in shares.items() if share]
        return ",".join(words) + (f"@{other:g}" if others else "")

    def facts(self) -> dict[str, object]:
        """Return what is printed of it."""
        return {
            "own_pages": self.mix,
            "pages": self.pages,
            "same_filled_percent": round(100 * self.same / self.pages, 1),
            "incompressible_percent": round(100 * self.incompressible / self.pages, 1),
            "ratio_of_the_rest": round(self.ratio, 2),
            "ratio_of_all": round(self.together, 2),
            "comp_algorithm": self.algorithm,
        }


def read_mix(transport: Transport, number: int, *, page_bytes: int, deadline: Deadline) -> PageMix:
    """Read the counters of a zram device; nothing is changed.

    Raises DeviceError where it holds too little to tell.
    """
    folder = f"/sys/block/zram{number}"
    mm, bd, algorithms = transport.execute(
        [Read(f"{folder}/{name}") for name in ("mm_stat", "bd_stat", "comp_algorithm")],
        deadline=deadline, keep_going=True,
    )  # fmt: skip
    # Kernels without writeback have no bd_stat.
    away = BdStat.parse(bd.stdout).count_4k if bd.ok else 0
    found = mix_of(
        MmStat.parse(mm.check().stdout), away, page_bytes=page_bytes, algorithm=selected(algorithms.check().stdout)
    )
    if found is None:
        raise DeviceError(
            f"zram{number} holds fewer than {_FEWEST_PAGES} pages in memory: too few to tell what they are like",
            hint="use the phone for a while, so that it swaps, and ask again",
        )
    return found


def mix_of(mm: MmStat, written_back_4k: int, *, page_bytes: int, algorithm: str) -> PageMix | None:
    """Tell the mix of the pages that are in memory; None where they are too few, or the counters do not agree.

    A kernel that does not count incompressible pages has them in the ratio of the rest.
    """
    # Pages that were written back count among the data still, and among nothing else.
    stored_bytes = mm.orig_data_size - written_back_4k * PAGE_4K
    pages, huge = stored_bytes // page_bytes, mm.huge_pages or 0
    rest = pages - mm.same_pages - huge
    left = mm.compr_data_size - huge * page_bytes
    if pages < _FEWEST_PAGES or rest <= 0 or left <= 0:
        return None
    return PageMix(
        pages, mm.same_pages, huge, max(1.0, rest * page_bytes / left), stored_bytes / mm.compr_data_size, algorithm
    )
