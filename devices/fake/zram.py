"""A zram device of FakePhone: its slots, its books, and what the driver refuses.

Settings are the texts in the phone's files, so that a test can set them as it likes; slots and books are kept here.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from base.kernel import DEFAULT_BATCH_SIZE, PAGE_4K
from base.units import NS_PER_S, NS_PER_US
from devices.fake.android import Refused
from devices.fake.content import CONTENT, FILE, HEAP, INCOMPRESSIBLE, SAME, Contents, Numbers, has_object
from devices.fake.storage import FakeClock, FakeDisk, Writes
from devices.page_mix import HEAP_RATIOS

BUSY, INVALID, NO_FILE, IO_ERROR = (
    "Device or resource busy", "Invalid argument", "No such file or directory", "I/O error"
)  # fmt: skip
OUT_OF_RANGE, NO_SPACE, NO_DEVICE = "Numerical result out of range", "No space left on device", "No such device"
DEFAULTS = {
    "disksize": "0", "initstate": "0", "comp_algorithm": "[lzo-rle] lzo lz4 zstd", "backing_dev": "none",
    "writeback_limit": "0", "writeback_limit_enable": "0", "writeback_batch_size": str(DEFAULT_BATCH_SIZE),
    "compressed_writeback": "0", "mm_stat": "0 0 0 0 0 0 0 0 0", "bd_stat": "0 0 0", "mem_limit": "0",
}  # fmt: skip
# They can be written and not read.
DOORS = ("idle", "writeback", "reset")
_KEPT_BY_RESET = ("writeback_limit", "writeback_limit_enable", "writeback_batch_size", "compressed_writeback")
_FROZEN = ("disksize", "comp_algorithm", "backing_dev", "compressed_writeback")
EMPTY, RAM, BACKED = range(3)
# Of what lzo-rle leaves of a compressible page.
_SIZE_BY = {"lzo-rle": 1.0, "lzo": 1.0, "lz4": 1.05, "zstd": 0.8}
# Bytes of a page like a heap's, and of one of a system file, for each one that is left of it.
_RATIOS_BY: Mapping[int, Mapping[str, float]] = {
    HEAP: HEAP_RATIOS,
    FILE: {"lzo-rle": 1.9, "lzo": 1.9, "lz4": 1.9, "lz4hc": 2.1, "zstd": 2.4, "deflate": 2.5},
}
# What it takes to make a page whole again.
_READ_US_BY = {"lzo-rle": 4.0, "lzo": 4.0, "lz4": 3.0, "zstd": 9.0}
_PAGE = re.compile(r"page_index=(\d+)|page_indexes=(\d+)-(\d+)")


@dataclass
class FakeZram:
    """One device. Slots and blocks are of 4 KiB.

    What goes wrong in it is set by tests: ``forgets`` slots of each writeback stay where they are although it succeeds;
    ``spoils`` are slots whose content changes on the way to the backing device; ``other_reads`` pages are read by
    another program whenever slots are read; without ``names_pages`` it is a kernel before 5.12, and without
    ``holds_up`` one before 7.0, whose files do not wait for a writeback.
    """

    number: int
    files: Callable[[], dict[str, str]]
    in_swap: Callable[[], bool]
    backing: Callable[[str], FakeDisk | None]
    clock: FakeClock
    forgets: int = 0
    spoils: set[int] = field(default_factory=set)
    jitter: random.Random = field(default_factory=lambda: random.Random(42))
    other_reads: int = 0
    names_pages: bool = True
    holds_up: bool = True
    reads_4k: int = 0
    writes_4k: int = 0
    _most_used: int = 0
    _new_blocks: int = 0
    _top: int = 0
    _free_blocks: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._resize(0)

    @property
    def folder(self) -> str:
        return f"/sys/block/zram{self.number}/"

    def setting(self, name: str) -> str:
        """Return the text of an attribute; "0" for one that this kernel does not have."""
        return self.files().get(self.folder + name, "0")

    @property
    def size(self) -> int:
        """Slots that its disksize makes."""
        slots = int(self.setting("disksize")) // PAGE_4K
        if slots != len(self.place):
            self._resize(slots)
        return slots

    @property
    def algorithm(self) -> str:
        found = re.search(r"\[([^\]]+)\]", self.setting("comp_algorithm"))
        return found[1] if found else ""

    def _resize(self, slots: int) -> None:
        self.place: npt.NDArray[np.uint8] = np.zeros(slots, np.uint8)
        self.idle: npt.NDArray[np.bool_] = np.zeros(slots, np.bool_)
        self.accessed_ns: npt.NDArray[np.int64] = np.zeros(slots, np.int64)
        self.content: Contents = np.zeros(slots, CONTENT)
        self.block: npt.NDArray[np.int64] = np.zeros(slots, np.int64)
        self.reads_4k = self.writes_4k = self._most_used = self._new_blocks = self._top = 0
        self._free_blocks = []

    def store(self, slots: Numbers, contents: Contents) -> None:
        """Write pages to slots; what was there before is gone."""
        self.discard(slots)
        self._top = max(self._top, int(slots.max(initial=-1)) + 1)
        self.place[slots] = RAM
        self.content[slots] = contents
        self.accessed_ns[slots] = self.clock.now_ns

    def discard(self, slots: Numbers) -> None:
        """Free slots and their blocks on the backing device."""
        if not self.size:
            return
        for block in self.block[slots[self.place[slots] == BACKED]].tolist():
            heappush(self._free_blocks, block)
        self.place[slots], self.idle[slots] = EMPTY, False
        self.content[slots] = np.zeros(1, CONTENT)[0]

    def load(self, slot: int) -> int:
        """Read a slot; return how long that takes in ns."""
        self.accessed_ns[slot], self.idle[slot] = self.clock.now_ns, False
        cpu_ns = int(self._decompress_ns() * self.jitter.uniform(0.9, 1.2))
        self.clock.busy_ns += cpu_ns
        if self.place[slot] != BACKED:
            return cpu_ns if self.place[slot] == RAM else NS_PER_US
        device = self._device()
        self.reads_4k += 1 + self.other_reads
        back = device.serve(self.clock.now_ns, int(self.block[slot]), write=False) - self.clock.now_ns
        return back + cpu_ns * (self.setting("compressed_writeback") == "1") + 5 * NS_PER_US

    def caught(self, slot: int) -> None:
        """A slot is read while its write is in flight: it is still in memory, and nobody needs its block."""
        heappush(self._free_blocks, int(self.block[slot]))
        self.place[slot] = RAM

    def _device(self) -> FakeDisk:
        device = self.backing(self.setting("backing_dev"))
        if device is None:
            raise Refused(NO_DEVICE)
        return device

    def write(self, name: str, value: str) -> None:
        """Write an attribute. Raises Refused as the driver refuses."""
        known = self.files()
        if self.folder + "disksize" not in known or (self.folder + name not in known and name not in DOORS):
            raise Refused(NO_FILE)
        if name == "reset":
            self._reset()
        elif name == "idle":
            self._mark(value)
        elif name == "writeback":
            self._write_back(value)
        elif name in _FROZEN and self.setting("disksize") != "0":
            raise Refused(BUSY)
        else:
            known[self.folder + name] = self._stored(name, value)

    def _reset(self) -> None:
        if self.in_swap():
            raise Refused(BUSY)
        known = self.files()
        for attribute, default in DEFAULTS.items():
            if attribute not in _KEPT_BY_RESET:
                known[self.folder + attribute] = default
        self._resize(0)

    def _stored(self, name: str, value: str) -> str:
        """What the attribute reads after ``value`` was written; Refused for what the driver refuses."""
        if name == "comp_algorithm":
            known = self.setting(name).replace("[", "").replace("]", "").split()
            if value not in known:
                raise Refused(INVALID)
            return " ".join(f"[{word}]" if word == value else word for word in known)
        if name == "backing_dev":
            if self.backing(value) is None:
                raise Refused(NO_FILE)
            return value
        if not value.isdigit() or (name in ("disksize", "writeback_batch_size") and int(value) == 0):
            raise Refused(INVALID)
        return str(int(value != "0")) if name == "writeback_limit_enable" else value

    def _mark(self, value: str) -> None:
        if not self.size:
            raise Refused(INVALID)
        if value != "all" and not value.isdigit():
            raise Refused(INVALID)
        old = self.clock.now_ns - (0 if value == "all" else int(value) * NS_PER_S)
        self.idle |= (self.place == RAM) & (self.accessed_ns <= old)

    def _write_back(self, value: str) -> None:
        if not self.size:
            raise Refused(INVALID)
        self._device()
        slots = self._chosen(value)
        slots = slots[(self.place[slots] == RAM) & has_object(self.content[slots])]
        # zram takes the largest objects first, and of one size class the last one first.
        slots = slots[::-1]
        slots = slots[np.argsort(-self.stored_bytes(slots), kind="stable")]
        work = self.begin()
        try:
            for slot in slots[: len(slots) - self.forgets].tolist():
                self.write_slot(work, slot)
        finally:
            work.end()

    def begin(self) -> Writes:
        """Return the writes of one writeback, of which none is issued yet."""
        most = min(int(self.setting("writeback_batch_size")) or 1, 128)
        convert_ns = 0 if self.setting("compressed_writeback") == "1" else self._decompress_ns()
        return Writes(self._device(), self.clock, most, convert_ns)

    def write_slot(self, work: Writes, slot: int) -> int:
        """Write one slot back; return when that is done. Refused: the limit is spent, no block is free."""
        limited = self.setting("writeback_limit_enable") == "1"
        left = int(self.setting("writeback_limit")) if limited else 0
        if limited and left == 0:
            raise Refused(IO_ERROR)
        if self._free_blocks:
            block = heappop(self._free_blocks)
        elif self._new_blocks < work.device.size_bytes // PAGE_4K:
            block, self._new_blocks = self._new_blocks, self._new_blocks + 1
        else:
            raise Refused(NO_SPACE)
        if limited:
            self.files()[self.folder + "writeback_limit"] = str(left - 1)
        self.writes_4k += 1
        self.place[slot], self.block[slot], self.idle[slot] = BACKED, block, False
        self.content["damaged"][slot] ^= slot in self.spoils
        return work.issue(block, 0 if self.content["kind"][slot] == INCOMPRESSIBLE else work.convert_ns)

    def _decompress_ns(self) -> int:
        return int(_READ_US_BY.get(self.algorithm, 4.0) * NS_PER_US)

    def _chosen(self, value: str) -> Numbers:
        """The slots that a write to ``writeback`` names."""
        kinds = self.content["kind"]
        huge = kinds == INCOMPRESSIBLE
        modes = {"idle": self.idle, "huge": huge, "huge_idle": self.idle & huge, "incompressible": huge}
        if (chosen := modes.get(value.removeprefix("type="))) is not None:
            return np.flatnonzero(chosen)
        slots: list[int] = []
        # What came with 6.16 is there where batches are.
        if " " in value and self.folder + "writeback_batch_size" not in self.files():
            raise Refused(INVALID)
        for word in value.split():
            match = _PAGE.fullmatch(word)
            if match is None or not self.names_pages:
                raise Refused(INVALID)
            lo, hi = (int(match[1]), int(match[1])) if match[1] else (int(match[2]), int(match[3]))
            if lo > hi or hi >= self.size:
                raise Refused(OUT_OF_RANGE)
            slots += range(lo, hi + 1)
        return np.array(slots, dtype=np.int64)

    def stored_bytes(self, slots: Numbers) -> npt.NDArray[np.int64]:
        """What each slot's object takes in memory, wherever it is now."""
        content = self.content[slots]
        size = PAGE_4K * 100 * _SIZE_BY.get(self.algorithm, 1.0) / np.maximum(content["ratio"], 1)
        size = np.where(content["kind"] == INCOMPRESSIBLE, PAGE_4K, size)
        for kind, ratio_by in _RATIOS_BY.items():
            size = np.where(content["kind"] == kind, PAGE_4K / ratio_by.get(self.algorithm, ratio_by["lzo"]), size)
        return np.where(has_object(content), size, 0).astype(np.int64)

    def books(self, name: str) -> str:
        """Return what mm_stat or bd_stat says."""
        place = self.place[: self._top if self.size else 0]
        if name == "bd_stat":
            return f"{np.count_nonzero(place == BACKED)} {self.reads_4k} {self.writes_4k}"
        in_ram = np.flatnonzero(place == RAM)
        stored, compressed, used = np.count_nonzero(place), *self._used(in_ram)
        kinds = self.content["kind"][in_ram]
        same, huge = int((kinds <= SAME).sum()), int((kinds == INCOMPRESSIBLE).sum())
        books = (stored * PAGE_4K, compressed, used, self.setting("mem_limit"), self._most_used, same, 0, huge, huge)
        return " ".join(map(str, books))

    def _used(self, in_ram: Numbers) -> tuple[int, int]:
        """Bytes of all objects in memory, and of the pages that they take."""
        compressed = int(self.stored_bytes(in_ram).sum())
        used = -(-compressed // PAGE_4K) * PAGE_4K
        self._most_used = max(self._most_used, used)
        return compressed, used
