"""What the probe answers, a dataclass for each command: names and units are those of probe/README.md.

Pages are the phone's own pages unless a name ends in ``_4k``. Durations and times are in ns, times by the phone's
monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from devices.counters import BdStat, MmStat
from devices.probe.decode import AsArray, Signed

Books = Annotated[BdStat, AsArray()]


@dataclass(frozen=True, slots=True)
class Done:
    """The command was carried out; there is nothing else to say."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What zram's ``bd_stat`` read before a command and after it."""

    bd_before: Books
    bd_after: Books

    @property
    def written_4k(self) -> int:
        """Return what zram wrote to its backing device meanwhile, in 4 KiB."""
        return self.bd_after.writes_4k - self.bd_before.writes_4k

    @property
    def read_4k(self) -> int:
        """Return what zram read from its backing device meanwhile, in 4 KiB."""
        return self.bd_after.reads_4k - self.bd_before.reads_4k


@dataclass(frozen=True, slots=True)
class Hello:
    """The probe's process, the phone's page size in bytes, and both clocks."""

    protocol: int
    arch: str
    page_size: int
    pid: int
    uid: int
    locked: bool
    oom_score_adj: Signed
    monotonic_ns: int
    realtime_ns: int


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of one duration, in ns."""

    min: int
    p50: int
    p99: int
    max: int


@dataclass(frozen=True, slots=True)
class Overhead:
    """What timing itself costs."""

    samples: int
    timer_ns: Quantiles
    resident_ns: Quantiles
    sample_ns: Quantiles


@dataclass(frozen=True, slots=True)
class LoopAttached:
    """A loop device as it was read back; sizes in bytes. An errno is empty where nothing was refused."""

    loop: str
    number: int
    dio: bool
    dio_errno: str
    block_size: int
    configured_by: str
    file_bytes: int
    allocated_bytes: int
    fs_magic: str
    created: bool
    pinned: bool
    pin_errno: str


@dataclass(frozen=True, slots=True)
class LoopDetached:
    """How many loop devices had the file behind them, and whether there was a file to remove."""

    detached: int
    removed: bool


@dataclass(frozen=True, slots=True)
class Filled:
    """Pages that were filled, by what they hold."""

    pages: int
    zero: int
    same: int
    compressible: int
    incompressible: int
    heap: int
    file: int
    wall_ns: int

    @property
    def stored(self) -> int:
        """Return the pages that zram can write back: zeros and one repeated word never reach the backing device."""
        return self.compressible + self.incompressible + self.heap + self.file


@dataclass(frozen=True, slots=True)
class Verified:
    """Pages that were read and compared. ``first_corrupt`` has the numbers of the first few."""

    pages: int
    corrupt: int
    zeroed: int
    misplaced: int
    damaged: int
    first_corrupt: tuple[int, ...]
    wall_ns: int


@dataclass(frozen=True, slots=True)
class Freed:
    """Pages of a device that were discarded."""

    pages: int


@dataclass(frozen=True, slots=True)
class PagedOut:
    """How many pages of an area are in swap now."""

    pages: int
    swapped: int
    tries: int
    wall_ns: int


@dataclass(frozen=True, slots=True)
class Slots:
    """Where an area is in swap; ``lo`` and ``hi`` are None when none of it is."""

    pages: int
    swapped: int
    swap_types: tuple[int, ...]
    lo: int | None
    hi: int | None


@dataclass(frozen=True, slots=True)
class SlotsWrittenBack(Counted):
    """A writeback of chosen slots; ``user_ns`` and ``sys_ns`` are of the writing thread."""

    requested: int
    accepted: int
    written: int
    calls: int
    grammar: str
    wall_ns: int
    user_ns: int
    sys_ns: int


# Without slots, as WriteTimed: a class cannot have two bases that have slots.
@dataclass(frozen=True)
class AttributeWritten:
    """One write to a file of sysfs; ``rc`` is -1 and ``errno`` says why when the kernel refused it.

    ``user_ns``, ``sys_ns`` and the context switches are of the writing thread, ``cpu_busy_ns`` of all CPUs.
    """

    rc: Signed
    errno: str
    wall_ns: int
    user_ns: int
    sys_ns: int
    cpu_busy_ns: int
    nvcsw: Signed
    nivcsw: Signed


@dataclass(frozen=True, slots=True)
class DiskCounters:
    """What a disk counted during a write; ``deepest`` and ``samples`` only where its depth was sampled."""

    reads: int
    writes: int
    writes_merged: int
    written_bytes: int
    time_in_queue_ms: int
    deepest: int | None = None
    samples: int | None = None


@dataclass(frozen=True)
class WriteTimed(AttributeWritten, Counted):
    """The same with zram's counters, and those of the disks that were named.

    Run times by the scheduler's accounting, None where this kernel has none: of the writing thread, of the kernel's
    unbound workers, of all CPUs.
    """

    mm_before: MmStat
    mm_after: MmStat
    disks: Mapping[str, DiskCounters] = field(default_factory=dict)
    writer_run_ns: int | None = None
    kworkers_run_ns: int | None = None
    cpus_run_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Touched(Counted):
    """Pages that were touched and timed one by one; faults and CPU time are of the touching thread."""

    samples: int
    not_swapped: int
    majflt: Signed
    minflt: Signed
    wall_ns: int
    user_ns: int
    sys_ns: int


@dataclass(frozen=True, slots=True)
class Raced(Counted):
    """Pages that were touched while others were written back; the first counts are by label.

    ``user_ns`` and ``sys_ns`` are of the writing thread, or of the one in its place. ``corrupt`` counts by label the
    pages that did not hold what they should.
    """

    samples: int
    ram: int
    written_back: int
    in_flight: int
    late: int
    victim: int
    victims: int
    device_writes: int
    majflt: Signed
    wall_ns: int
    user_ns: int
    sys_ns: int
    calls: int
    corrupt: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ReadsTimed(Counted):
    """Reads that were timed, ``during`` of them in a writeback; all ``calls`` to zram took ``in_calls_ns``."""

    samples: int
    during: int
    pages: int
    calls: int
    in_calls_ns: int


@dataclass(frozen=True, slots=True)
class LoadStopped:
    """What a load did until it was stopped, or until it reached a bound (``ended_early``)."""

    bytes: int
    operations: int
    cpu_ns: int
    ended_early: bool


@dataclass(frozen=True, slots=True)
class Extents:
    """Pieces of a file on its disk."""

    extents: int


@dataclass(frozen=True, slots=True)
class Kworkers:
    """The kernel's unbound workers of ordinary priority."""

    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reniced:
    """How many workers have another nice value now."""

    changed: int


@dataclass(frozen=True, slots=True)
class SamplerStarted:
    """When the sampler began."""

    t_ns: int


@dataclass(frozen=True, slots=True)
class SamplerStopped(Counted):
    """The sampler's own cost, and what the kernel counted since it began; None for what this kernel does not count."""

    wall_ns: int
    cpu_ns: int
    samples: int
    missed: int
    disk_written_sectors: int
    backing_written_sectors: int
    backing_read_sectors: int
    psi_some_us: int
    psi_full_us: int
    pswpin: int
    pswpout: int
    pgmajfault: int
    refault: int | None = None
    refault_anon: int | None = None
    refault_file: int | None = None
    oom_kill: int | None = None


@dataclass(frozen=True, slots=True)
class DaemonStarted:
    """In which way the daemon chooses slots."""

    marks: str


@dataclass(frozen=True, slots=True)
class DaemonStopped:
    """The daemon's writebacks; ``failure`` is there when some failed, ``spent`` says that no budget is left."""

    rounds: int
    recorded: int
    written_4k: int
    limited: int
    failed: int
    spent: bool
    failure: str | None = None
