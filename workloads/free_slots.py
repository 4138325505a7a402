"""Makes zram hold pages on its backing device and frees some of their slots: that is where measured pages go.

So each writeback meets the same slots and the same free blocks, all of which were written before. Blocks are handed out
from the first free one on, so a writeback always walks upwards; how far apart its blocks lie is what differs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from base.units import MIB
from devices.probe.commands import DevicePages
from devices.profiles.sections import PageKind, SlotOrder
from workloads.bench import Bench
from workloads.timed_writeback import fill_and_write_back

# What zram holds in memory at once while a whole backing device is filled.
_AT_ONCE = 64 * MIB


@dataclass(frozen=True, slots=True)
class FreeSlots:
    """Slots that are free, among others whose pages lie on the backing device.

    ``among`` are all of them; ``allocating_mib_s`` is the rate of the writebacks that allocated the blocks.
    """

    pages: DevicePages
    among: DevicePages
    order: SlotOrder
    allocating_mib_s: float

    def part(self, divisor: int) -> DevicePages:
        """Return a part of them, at least one page."""
        pages = self.pages
        if pages.pick is not None:
            return replace(pages, pick=max(1, pages.pick // divisor))
        return replace(pages, hi=pages.lo + max(1, (pages.hi - pages.lo + 1) // divisor) - 1)


def make_free_slots(bench: Bench, data_bytes: int, *, pages: PageKind, order: SlotOrder) -> FreeSlots:
    """Fill zram, write it all back, and free the slots for so much data.

    ``scattered`` fills the whole backing device, the others twice as much as the data. Raises NothingMeasured as
    ``fill_and_write_back``.
    """
    stage = bench.stage
    count = stage.pages(data_bytes)
    whole = min(stage.backing_pages, stage.pages(stage.profile.zram.disksize))
    span = whole if order is SlotOrder.scattered else min(2 * count, stage.backing_pages)
    stage.as_block_device(span)
    among = stage.all_pages(span)
    at_once = stage.pages(_AT_ONCE) if order is SlotOrder.scattered else span
    parts = [replace(among, lo=lo, hi=min(lo + at_once, span) - 1) for lo in range(0, span, at_once)]
    runs = [fill_and_write_back(bench, part, pages=pages, batch_size=None) for part in parts]
    rate = sum(run.mib for run in runs) / sum(run.timed.wall_ns for run in runs) * 1e9
    return _freed(bench, FreeSlots(among, among, order, rate), count)


def free_more(bench: Bench, slots: FreeSlots, data_bytes: int, *, pages: PageKind) -> FreeSlots:
    """Return free slots for more data than before: of a whole device more are freed, another one is filled anew."""
    if slots.order is SlotOrder.scattered:
        return _freed(bench, slots, bench.stage.pages(data_bytes))
    return make_free_slots(bench, data_bytes, pages=pages, order=slots.order)


def _freed(bench: Bench, slots: FreeSlots, count: int) -> FreeSlots:
    among = slots.among
    drawn, first = replace(among, pick=count, pick_seed=bench.seed), replace(among, hi=count - 1)
    pages = first if slots.order is SlotOrder.sequential else drawn
    bench.probe.free(pages)
    return replace(slots, pages=pages)
