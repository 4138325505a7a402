"""Memory of FakePhone's processes, as far as it is swapped out to zram and comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from base.kernel import PAGE_4K
from devices.fake.content import ZERO, Contents, Numbers
from devices.fake.storage import FakeClock
from devices.fake.zram import FakeZram

KIB_PER_PAGE = PAGE_4K // 1024
# A page that is there is read in that time.
RESIDENT_NS = 60


@dataclass(eq=False)
class FakeArea:
    """Pages of one process. ``swap`` names where a page is, "" in memory; ``label`` is what the probe notes of it."""

    filled: Contents
    contents: Contents = field(init=False)
    slot: Numbers = field(init=False)
    label: npt.NDArray[np.uint32] = field(init=False)
    swap: list[str] = field(init=False)

    def __post_init__(self) -> None:
        pages = len(self.filled)
        self.contents, self.swap = self.filled.copy(), [""] * pages
        self.slot, self.label = np.full(pages, -1, np.int64), np.zeros(pages, np.uint32)

    @property
    def swapped(self) -> npt.NDArray[np.bool_]:
        return self.slot >= 0


@dataclass
class FakeMemory:
    """Swap devices by their name with size (KiB) and priority, and all areas that may lie in them.

    ``sticky`` pages of each area stay in memory, whoever asks for them to be swapped out.
    """

    swaps: Callable[[], Mapping[str, tuple[int, int]]]
    zrams: Mapping[int, FakeZram]
    clock: FakeClock
    areas: list[FakeArea] = field(default_factory=list)
    sticky: int = 0
    swapped_in: int = 0
    swapped_out: int = 0
    _used: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def make(self, filled: Contents) -> FakeArea:
        """Return a new area that holds these pages."""
        area = FakeArea(filled)
        self.areas.append(area)
        return area

    def drop(self, area: FakeArea) -> None:
        """Free an area and the slots that it has."""
        self._free(area, np.flatnonzero(area.swapped))
        self.areas.remove(area)

    def size_kib(self, name: str) -> int:
        """Return the size of a swap device; one page is its header."""
        zram = self.zram_of(name)
        slots = int(zram.setting("disksize")) // PAGE_4K if zram else 0
        return (slots - 1) * KIB_PER_PAGE if slots else self.swaps()[name][0]

    def used_kib(self, name: str) -> int:
        return int(self._used[name].sum() - 1) * KIB_PER_PAGE if name in self._used else 0

    def zram_of(self, name: str) -> FakeZram | None:
        number = name.rpartition("/zram")[2]
        return self.zrams.get(int(number)) if number.isdigit() else None

    def swap_out(self, area: FakeArea) -> None:
        """Put all pages of an area that are in memory into swap, as far as there is room."""
        for name in sorted(self.swaps(), key=lambda name: -self.swaps()[name][1]):
            pages = np.flatnonzero(~area.swapped)
            pages = pages[: len(pages) - self.sticky]
            free = np.flatnonzero(~self._map(name))
            count = min(len(pages), len(free))
            pages, slots = pages[:count], free[:count]
            self._used[name][slots] = True
            area.slot[pages] = slots
            for page in pages.tolist():
                area.swap[page] = name
            # Since 6.12 a page of zeros is noted down and never written to the swap device.
            some = area.contents["kind"][pages] != ZERO
            if zram := self.zram_of(name):
                zram.store(slots[some], area.contents[pages[some]])
            self.swapped_out += count

    def _map(self, name: str) -> npt.NDArray[np.bool_]:
        if name not in self._used:
            self._used[name] = np.zeros(self.size_kib(name) // KIB_PER_PAGE + 1, np.bool_)
            self._used[name][0] = True
        return self._used[name]

    def read(self, area: FakeArea, pages: Numbers) -> list[tuple[int, int]]:
        """Read these pages in this order; those in swap come back. Return when each was read and how long that took."""
        took = []
        for page in pages.tolist():
            begin_ns = self.clock.now_ns
            took.append((begin_ns, self._read(area, page)))
            self.clock.now_ns = begin_ns + took[-1][1]
        self._free(area, pages[area.swapped[pages]])
        return took

    def _read(self, area: FakeArea, page: int) -> int:
        if not area.swap[page]:
            return RESIDENT_NS
        self.swapped_in += 1
        zram, slot = self.zram_of(area.swap[page]), int(area.slot[page])
        if zram is None:
            return RESIDENT_NS
        if area.contents["kind"][page] != ZERO:
            area.contents[page] = zram.content[slot]
        return zram.load(slot)

    def _free(self, area: FakeArea, pages: Numbers) -> None:
        for name in {area.swap[page] for page in pages.tolist()}:
            mine = np.array([page for page in pages.tolist() if area.swap[page] == name], np.int64)
            self._used[name][area.slot[mine]] = False
            if zram := self.zram_of(name):
                zram.discard(area.slot[mine])
        area.slot[pages] = -1
        for page in pages.tolist():
            area.swap[page] = ""

    def swap_off(self, name: str) -> None:
        """Bring back all that lies in a swap device that is taken away."""
        for area in self.areas:
            self.read(area, np.array([page for page, there in enumerate(area.swap) if there == name], np.int64))
        self._used.pop(name, None)
