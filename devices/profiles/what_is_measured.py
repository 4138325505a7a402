"""Sections of a profile that say what is measured beside the sweep, and how a plan changes it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, Tag

from base.units import GIB, KIB, MIB
from devices.profiles.quantities import Bytes, DurationRange, Seconds, Share, SizeRange
from devices.profiles.sections import (
    AUTO_OR_LIST,
    AlgorithmName,
    Auto,
    BatchSize,
    BatchSizes,
    DataSize,
    DevicePath,
    Distinct,
    Model,
    PageKind,
    Spelled,
    Sweep,
    Text,
)

Repeats = Annotated[int, Field(ge=1, le=1000)]
_package = Spelled(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", "a package's name, for example com.android.settings")
PackageName = Annotated[str, AfterValidator(_package)]


class Load(StrEnum):
    """What else the phone does while faults are timed. The probe makes it, bounded in time and bytes."""

    cpu = "cpu"
    random_read = "random_read"
    sequential_write = "sequential_write"


class AppsKind(StrEnum):
    """Stand-ins that hold memory, or installed apps."""

    synthetic = "synthetic"
    packages = "packages"


class SwitchPattern(StrEnum):
    """The order in which apps come to the front."""

    round_robin = "round_robin"
    zipf = "zipf"
    least_recent = "least_recent"
    trace = "trace"


class PressureGoal(StrEnum):
    """Until when apps are started; without it until all of them were."""

    none = "none"
    first_kill = "first_kill"
    swap_used = "swap_used"
    psi = "psi"


class TouchOrder(StrEnum):
    """The order in which an app's pages are touched."""

    random = "random"
    sequential = "sequential"


class Trigger(StrEnum):
    """When pages are written back while apps are used, as Android's own daemons do it."""

    off = "off"
    idle = "idle"
    background = "background"
    periodic = "periodic"


class SuiteName(StrEnum):
    """What can be measured: a module of ``suites/`` each, in the order in which a short budget answers them."""

    writeback_throughput = "writeback_throughput"
    inflight_depth = "inflight_depth"
    fault_latency = "fault_latency"
    faults_during_writeback = "faults_during_writeback"
    data_integrity = "data_integrity"
    app_switch = "app_switch"
    batch_size_attribute = "batch_size_attribute"
    writeback_limit = "writeback_limit"
    backing_variants = "backing_variants"
    compressors = "compressors"
    faults_under_load = "faults_under_load"
    reads_during_writeback = "reads_during_writeback"


class Plan(StrEnum):
    """How much of everything is measured."""

    quick = "quick"
    standard = "standard"
    nightly = "nightly"


_PackageList = Annotated[tuple[PackageName, ...], Field(min_length=1), Distinct]
_AlgorithmList = Annotated[tuple[AlgorithmName, ...], Field(min_length=1), Distinct]
Packages = Annotated[Auto | Annotated[_PackageList, Tag("list")], AUTO_OR_LIST]
Algorithms = Annotated[Auto | Annotated[_AlgorithmList, Tag("list")], AUTO_OR_LIST]


Tests = Annotated[tuple[SuiteName, ...], Field(min_length=1), Distinct]
RunBudget = Annotated[Seconds, AfterValidator(DurationRange(10, 24 * 3600))]


class Inflight(Model):
    """How many requests are really in flight while zram writes back."""

    batch_sizes: BatchSizes = (1, 8, 32, 128)
    """values of `writeback_batch_size`, rising"""
    data: DataSize = 16 * MIB
    """how much is written back per repeat"""
    pages: Annotated[tuple[PageKind, ...], Field(min_length=1), Distinct] = (PageKind.incompressible, PageKind.memory)
    """what the pages hold; the first at all batch sizes, the others, which are decompressed first, at `others_at`"""
    algorithms: Annotated[tuple[AlgorithmName, ...], Distinct] = ()
    """compressors of those others; empty: zram's own; one that the kernel lacks is left out"""
    compressed_writeback: Annotated[tuple[bool, ...], Field(min_length=1), Distinct] = (False, True)
    """whether those others are written back as zram keeps them, where the kernel can"""
    others_at: BatchSizes = (32,)
    """batch sizes for those others"""
    repeats: Repeats = 8
    """most rounds, each with tracing and without, to see what tracing costs"""

    @property
    def most_points(self) -> int:
        """Return how many points this makes at most."""
        ways = max(1, len(self.algorithms)) * len(self.compressed_writeback)
        others = sum(1 if pages is PageKind.incompressible else ways for pages in self.pages)
        return len(self.batch_sizes) + others * len(self.others_at)


class Faults(Model):
    """Page-fault latency: quiet, while a writeback runs, and under load."""

    samples: Annotated[int, Field(ge=100, le=10_000_000)] = 20_000
    """faults timed per kind of slot and condition (a page each); p99.9 needs some thousands"""
    batch_sizes: BatchSizes = (1, 8, 32, 128)
    """batch sizes of the writeback that runs meanwhile"""
    loads: Annotated[tuple[Load, ...], Distinct] = (Load.cpu, Load.random_read, Load.sequential_write)
    """what else the phone does meanwhile"""


class Variants(Model):
    """Other backing devices, compared with `backing`: pinned, sparse, fresh, on ext4, raw."""

    data: DataSize = 16 * MIB
    """how much is written back per repeat"""
    batch_size: BatchSize = 32
    """batch size at which they are compared"""
    repeats: Repeats = 8
    """most rounds, each of which measures every variant once"""
    ext4: DevicePath | None = None
    """a file to be made on a file system ext4; without it that variant is skipped"""
    partition: DevicePath | None = None
    """a raw block device, which is overwritten; without it that variant is skipped"""
    erase: bool = False
    """must be true with `partition`, to say that what is on it may be lost"""


class Compressors(Model):
    """Compression algorithms, and writeback of compressed pages where the kernel has it."""

    algorithms: Algorithms = "auto"
    """their names, a vendor's too, or `auto` for every one that the kernel offers"""
    data: DataSize = 16 * MIB
    """how much is written back per repeat"""
    batch_size: BatchSize = 32
    """batch size at which they are compared"""
    repeats: Repeats = 8
    """most rounds, each of which measures every algorithm once"""
    pages: PageKind = PageKind.memory
    """what the pages hold; algorithms rank as in a phone only on `memory`, `mixed` and `system_files`"""


_Span = Annotated[Seconds, AfterValidator(DurationRange(0, 3600))]
_AppMemory = Annotated[Bytes, AfterValidator(SizeRange(1 * MIB, 16 * GIB))]


class Apps(Model):
    """The apps that put the phone under memory pressure by being switched between."""

    kind: AppsKind = AppsKind.synthetic
    """`synthetic`: stand-ins that hold memory; `packages`: installed apps"""
    count: Annotated[int, Field(ge=1, le=60)] = 12
    """how many are switched between"""
    anonymous: _AppMemory = 180 * MIB
    """synthetic only: memory that each one holds"""
    file_backed: Annotated[Bytes, AfterValidator(SizeRange(0, 16 * GIB))] = 16 * MIB
    """synthetic only: part of a file that each one maps and reads, as apps do with their code"""
    working_set: Annotated[Bytes, AfterValidator(SizeRange(64 * KIB, 16 * GIB))] = 40 * MIB
    """synthetic only: what each one touches when it comes to the front; not more than `anonymous`"""
    pages: PageKind = PageKind.mixed
    """synthetic only: what the pages hold"""
    touch: TouchOrder = TouchOrder.random
    """synthetic only: the order in which the working set is touched"""
    packages: Packages = "auto"
    """packages only: their names, or `auto` for those that the user installed and that can be launched"""
    pattern: SwitchPattern = SwitchPattern.zipf
    """order of the switches; `trace` reads it from a file"""
    trace: Text | None = None
    """pattern trace only: a file on the host with one app's name or number (from 1) per line"""
    rounds: Annotated[int, Field(ge=1, le=1000)] = 4
    """switches per app, on the average"""
    dwell: _Span = 1
    """how long an app stays at the front"""
    goal: PressureGoal = PressureGoal.none
    """start apps until the first kill, until half of the swap is used, or until PSI some reaches 10 %; else all"""
    writeback: Annotated[tuple[Trigger, ...], Field(min_length=1), Distinct] = (Trigger.off, Trigger.idle)
    """`off`: never, the baseline; `idle`: slots older than `idle_age` whenever the user pauses; `background`: an app's
    pages `delay` after it left the front; `periodic`: all idle slots every `period`"""
    batch_sizes: BatchSizes = (1, 32)
    """batch sizes of those writebacks"""
    idle_age: _Span = 10
    """age from which a slot counts as idle (Android: 20 to 25 hours)"""
    delay: _Span = 5
    """trigger background only: how long after an app left the front (Android: 10 minutes)"""
    period: _Span = 10
    """trigger periodic only: time between two writebacks (Android: an hour)"""
    written_per_round: _AppMemory = 300 * MIB
    """most that one such writeback may write, by `writeback_limit` (Android: 300 MiB)"""


_attribute = Spelled(r"(queue|zram)\.[a-z][a-z0-9_]{0,63}", "queue.NAME or zram.NAME, for example queue.scheduler")
AttributeName = Annotated[str, AfterValidator(_attribute)]


class Alternated(Model):
    """What `./lab ab` may set on a side beside its own settings."""

    attributes: Annotated[tuple[AttributeName, ...], Distinct] = (
        "queue.scheduler", "queue.nr_requests", "queue.wbt_lat_usec", "queue.rq_affinity", "queue.max_sectors_kb",
    )  # fmt: skip
    """attributes of the backing device's queue, and of zram where they outlive a reset; each is put back"""


class PlanChanges(Model):
    """What a plan measures differently; keys that it does not give stay as they are."""

    precision: Share | None = None
    """another `precision`"""
    budget: RunBudget | None = None
    """another `budget`"""
    tests: Tests | None = None
    """other `tests`"""
    sweep: Sweep | None = None
    """keys of `sweep` that differ"""
    inflight: Inflight | None = None
    """keys of `inflight` that differ"""
    faults: Faults | None = None
    """keys of `faults` that differ"""
    variants: Variants | None = None
    """keys of `variants` that differ"""
    compressors: Compressors | None = None
    """keys of `compressors` that differ"""
    apps: Apps | None = None
    """keys of `apps` that differ"""


class Plans(Model):
    """Partial changes by plan."""

    quick: PlanChanges | None = None
    """for a first look"""
    standard: PlanChanges | None = None
    """without it: the profile as it is"""
    nightly: PlanChanges | None = None
    """for a job that runs every night"""
