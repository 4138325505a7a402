"""The storage of FakePhone: disks, loop devices on files of theirs, their counters, and the requests that they serve.

Time is the phone's own and stands still unless something is done. A request waits while its disk serves as many as it
can, so the depth of a queue and the rate of a writeback follow from the same few figures.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from base.kernel import PAGE_4K, SECTOR, SECTORS_PER_4K
from base.units import NS_PER_MS, NS_PER_S, NS_PER_US

# What one request costs on its way through a layer.
_WORKER_NS, _ISSUE_NS, _WAKE_NS, _PAGE_CACHE_NS = (us * NS_PER_US for us in (15, 4, 3, 3))
# A disk takes the next one after it has told of the one before, so that events of a microsecond have their order.
_DISPATCH_NS = NS_PER_US


@dataclass
class FakeClock:
    """The phone's CLOCK_MONOTONIC, the CPU time of all its CPUs, and its context switches."""

    now_ns: int = 100 * NS_PER_S
    busy_ns: int = 0
    switches: int = 0

    def spend(self, ns: int, *, busy: bool = True) -> None:
        """Let time pass, on a CPU or idle."""
        self.now_ns += ns
        self.busy_ns += ns * busy


@dataclass(frozen=True, slots=True, order=True)
class Request:
    """One request at one device, as the block layer's events tell it."""

    disk: str
    flags: str
    sector: int
    issued_ns: int
    done_ns: int


@dataclass
class FakeDisk:
    """A whole disk, or if ``below`` is set a loop device or a mapped file. ``number`` is "8:0".

    ``depth`` is how many requests it really serves at a time, whatever its sysfs says. ``slow`` multiplies its times.
    """

    name: str
    number: str
    size_bytes: int
    depth: int = 32
    read_ns: int = 80 * NS_PER_US
    write_ns: int = 400 * NS_PER_US
    below: FakeDisk | None = None
    file: FakeFile | None = None
    direct: bool = True
    through_loop: bool = True
    slow: float = 1.0
    reads: int = 0
    writes: int = 0
    in_queue_ns: int = 0
    deepest: int = 0
    jitter: random.Random = field(default_factory=lambda: random.Random(4711))
    told: Callable[[Request], None] = field(default=lambda request: None)
    _serving: list[int] = field(default_factory=list)
    _cached: set[int] = field(default_factory=set)

    def stat(self) -> str:
        """Return the text of its ``stat`` file (Documentation/block/stat.rst)."""
        queue_ms = self.in_queue_ns // NS_PER_MS
        read, written = (count * SECTORS_PER_4K for count in (self.reads, self.writes))
        return f"{self.reads} 0 {read} {queue_ms} {self.writes} 0 {written} {queue_ms} 0 {queue_ms} {queue_ms} 0 0 0 0"

    def serve(self, at_ns: int, page: int, *, write: bool) -> int:
        """Read or write 4 KiB that reach it at ``at_ns``; return when that is done."""
        issued = at_ns
        if self.file is not None:
            done = self._through_file(self.file, at_ns, page, write=write)
        else:
            if len(self._serving) >= self.depth:
                issued = max(at_ns, heappop(self._serving) + _DISPATCH_NS)
            base = self.write_ns if write else self.read_ns
            done = issued + int(base * self.slow * self.jitter.uniform(0.9, 1.1))
            heappush(self._serving, done)
        self.reads += not write
        self.writes += write
        self.in_queue_ns += done - at_ns
        flags = "R" if not write else "W" if self.file is not None else "WS"
        self.told(Request(self.number, flags, page * SECTORS_PER_4K, issued, done))
        return done

    def _through_file(self, file: FakeFile, at_ns: int, page: int, *, write: bool) -> int:
        """A loop device hands a request on to its file, unless the page cache takes it; a mapped file is its disk."""
        assert self.below is not None
        if not self.direct:
            known = write or page in self._cached
            self._cached.add(page)
            if known:
                file.dirty |= {page} if write else set()
                return at_ns + _PAGE_CACHE_NS
        worker_ns = _WORKER_NS if self.through_loop else 0
        handed_on = at_ns + int(worker_ns * self.slow)
        if write:
            handed_on += file.write(page)
        return self.below.serve(handed_on, file.place(page), write=write) + worker_ns

    def flush(self, now_ns: int) -> None:
        """What lies in the page cache is written out, as ``sync`` does it."""
        if self.file is not None and self.below is not None:
            for page in sorted(self.file.dirty):
                self.file.write(page)
                self.below.serve(now_ns, self.file.place(page), write=True)
            self.file.dirty = set()


@dataclass
class FakeFile:
    """A file behind a loop device, in two pieces on its disk. Places and sizes in pages of 4 KiB."""

    pages: int
    first: int
    allocated: bool
    written: set[int] = field(default_factory=set)
    dirty: set[int] = field(default_factory=set)

    @property
    def allocated_bytes(self) -> int:
        return PAGE_4K * (self.pages if self.allocated else len(self.written))

    def write(self, page: int) -> int:
        """Take note of a written page; return what it takes longer where nothing was written before."""
        fresh = page not in self.written
        self.written.add(page)
        return fresh * 300 * NS_PER_US

    def place(self, page: int) -> int:
        """Where a page of the file lies on the partition that its file system is on."""
        return self.first + page + (self.pages if page >= self.pages // 2 else 0)

    def extents(self, start_page: int = 0) -> list[tuple[int, int, int]]:
        """Return the pieces in bytes: offset in the file, offset on the partition, length."""
        half = self.pages // 2
        pieces = [(0, half), (half, self.pages)]
        return [
            (lo * PAGE_4K, (self.place(lo) - start_page) * PAGE_4K, (hi - lo) * PAGE_4K)
            for lo, hi in pieces if hi > lo
        ]  # fmt: skip


@dataclass
class Writes:
    """Writes that zram has in flight at its backing device: at most ``most``, the next when one is done."""

    device: FakeDisk
    clock: FakeClock
    most: int
    convert_ns: int
    free_ns: int = 0
    completed: list[int] = field(default_factory=list)
    _flying: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free_ns = self.clock.now_ns

    @property
    def next_ns(self) -> int:
        """When the next write can be issued."""
        if len(self._flying) < self.most:
            return self.free_ns
        return max(self.free_ns, self._flying[0] + _WAKE_NS)

    def issue(self, page: int, work_ns: int) -> int:
        """Issue the next write, which takes so much of a CPU; return when it is done."""
        at = self.next_ns
        if len(self._flying) >= self.most:
            heappop(self._flying)
            self.clock.switches += at > self.free_ns
        self.free_ns = at + _ISSUE_NS + work_ns
        self.clock.busy_ns += _ISSUE_NS + work_ns
        done = self.device.serve(at, page, write=True)
        heappush(self._flying, done)
        self.completed.append(done)
        if len(self._flying) > self.device.deepest:
            self.device.deepest = max(self.device.deepest, sum(flying > at for flying in self._flying))
        if (below := self.device.below) is not None:
            below.deepest = max(below.deepest, min(self.device.deepest, below.depth))
        return done

    def done_by(self, ns: int) -> int:
        """Say how many are done at a time."""
        return sum(done <= ns for done in self.completed)

    def end(self) -> None:
        """Let time pass until all are done."""
        self.clock.now_ns = max([self.free_ns, self.clock.now_ns, *self.completed])


def write_booster_files(controller: str, *, on: bool, left: int = 10) -> dict[str, str]:
    """Return WriteBooster's attributes of a UFS controller: a buffer of 8 MiB, of which so many tenths are free."""
    return {
        f"{controller}/{name}": text
        for name, text in {
            "wb_on": str(int(on)),
            "enable_wb_buf_flush": "1",
            "flags/wb_enable": "true" if on else "false",
            "attributes/wb_avail_buf": f"0x{left:08X}",
            "attributes/wb_flush_status": "0x00000000",
            "attributes/wb_cur_buf": "0x00000002",
            "geometry_descriptor/segment_size": "0x00002000",
            "geometry_descriptor/allocation_unit_size": "0x01",
        }.items()
    }


def sysfs_of(disk: FakeDisk, *, queue_depth: int | None = None) -> dict[str, str]:
    """Return the files below /sys/block of a disk that do not change."""
    folder = f"/sys/block/{disk.name}"
    files = {
        f"{folder}/dev": disk.number, f"{folder}/inflight": "       0        0", f"{folder}/stat": disk.stat(),
        f"{folder}/size": str(disk.size_bytes // SECTOR), f"{folder}/queue/nr_requests": "128",
        f"{folder}/queue/scheduler": "[none]", f"{folder}/queue/logical_block_size": "4096",
        f"{folder}/queue/write_cache": "write back",
    }  # fmt: skip
    return files | ({f"{folder}/device/queue_depth": str(queue_depth)} if queue_depth else {})
