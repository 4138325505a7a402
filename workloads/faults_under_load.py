"""Latency of page faults on a busy phone (Q7), and how much of it is the loop driver's worker.

On each backing device the conditions take turns in shuffled order: each load, and what settings change. Block events
split a read from storage: the time at the disk, and the rest at the loop device, where its worker has to be woken, gets
a CPU and hands the request on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from base.deadline import Deadline
from base.kernel import SECTOR
from devices.backing import BackingDevice, loop_backing, partition_backing
from devices.device import Changes
from devices.probe.replies import Touched
from devices.probe.session import PROBE_FOLDER, ProbeFailed, ProbeSession
from devices.profiles.profile import BackingKind, Load
from devices.profiles.sections import PageKind
from devices.storage import Disk, disk_below
from devices.tracing import BlockTrace, TracingRefused, block_trace
from workloads.background import Background, LoadDone, load_file, workers_first
from workloads.blockevents import parse_events, requests, served_by
from workloads.faults import RAM, WRITTEN_BACK, swap_out, touch_all, write_back_half
from workloads.progress import Progress, silent
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured

TURNS = 2
DEFAULT, IO_REALTIME, WORKER_NICE = "default", "io_realtime", "worker_nice"
_AREA = "under-load"
# Fewer matches than this, and the layers between file and disk are not what we take them for.
_ENOUGH_MATCHED = 0.9

Latencies = npt.NDArray[np.uint64]


@dataclass(slots=True)
class LoadCondition:
    """One load with one setting on one backing device. Latencies in ns, one array a turn.

    ``disk`` and ``worker`` are of the reads whose request at the disk was found: its time there, and the rest of the
    time that it took at the loop device.
    """

    backing: str
    load: Load | None
    setting: str = DEFAULT
    ram: list[Latencies] = field(default_factory=list)
    written_back: list[Latencies] = field(default_factory=list)
    disk: list[Latencies] = field(default_factory=list)
    worker: list[Latencies] = field(default_factory=list)
    done: LoadDone = field(default_factory=LoadDone)
    majflt: int = 0
    bd_reads: int = 0
    unmatched: int = 0
    reniced: int = 0

    @property
    def split(self) -> tuple[Latencies, Latencies] | None:
        """``disk`` and ``worker`` as one array each; None where too few reads were found at both."""
        if not self.disk:
            return None
        disk, worker = np.concatenate(self.disk), np.concatenate(self.worker)
        return (disk, worker) if disk.size > _ENOUGH_MATCHED * (disk.size + self.unmatched) else None


@dataclass(slots=True)
class UnderLoad:
    """All conditions, and why there is no split of the reads where there is none."""

    conditions: list[LoadCondition]
    no_events_because: str = ""
    other_tracer: str = ""
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a backing device is attached; ``attach`` None is the run's own. ``file`` is what its loads work on."""

    name: str
    attach: Callable[[Changes], BackingDevice] | None
    path: str
    file: str


def steps_of(stage: Stage) -> int:
    """How many times ``progress`` is called."""
    return TURNS * sum(len(_conditions(stage, place.name)) for place in _places(stage))


def measure_faults_under_load(
    stage: Stage, probe: ProbeSession, *, seed: int, folder: Path, progress: Progress = silent
) -> UnderLoad:
    """Each backing device in turn. Raises NothingMeasured when the kernel's books disagree."""
    result = UnderLoad([])
    places = _places(stage)
    by_place = {place.name: _conditions(stage, place.name) for place in places}
    if stage.profile.variants.partition is None:
        result.skipped["partition"] = "the profile names no partition (variants.partition)"
    result.conditions = [condition for conditions in by_place.values() for condition in conditions]
    shuffler = random.Random(seed)
    for turn in range(TURNS):
        for place in shuffler.sample(places, len(places)):
            with _attached(stage, place) as there:
                conditions = by_place[place.name]
                order = shuffler.sample(conditions, len(conditions))
                _Turn(there, probe, place, folder, result, progress).measure(order, seed + turn)
    return result


def _places(stage: Stage) -> list[_Place]:
    """The run's own backing device, the buffered variant of it, and a raw partition where the profile names one."""
    backing, variants, page = stage.profile.backing, stage.profile.variants, 4 * stage.page_bytes
    if backing.kind is BackingKind.raw_partition:
        return [_Place("partition", None, backing.path, f"{PROBE_FOLDER}/load")]
    buffered, load = f"{backing.path}.buffered", f"{backing.path}.load"
    size = -(-page * stage.profile.faults.samples // (1 << 20) << 20)
    own = "loop_direct" if backing.direct_io else "loop_buffered"
    attach: Callable[[Changes], BackingDevice]
    places = [_Place(own, None, backing.path, load)]
    if backing.direct_io:
        attach = partial(loop_backing, path=buffered, size_bytes=size, direct_io=False)
        places.append(_Place("loop_buffered", attach, buffered, load))
    if (node := variants.partition) is not None:
        places.append(_Place("partition", lambda changes: partition_backing(changes, node), node, load))
    return places


def _conditions(stage: Stage, place: str) -> list[LoadCondition]:
    loads = [None, *stage.profile.faults.loads]
    conditions = [LoadCondition(place, load) for load in loads]
    if place == "loop_direct":
        against = [load for load in loads if load in (Load.cpu, Load.random_read)]
        conditions += [
            LoadCondition(place, load, setting) for load in against for setting in (IO_REALTIME, WORKER_NICE)
        ]
    return conditions


@contextmanager
def _attached(stage: Stage, place: _Place) -> Iterator[Stage]:
    if place.attach is None:
        yield stage
        return
    with stage.on_backing(place.attach, disk_below(stage.device, place.path)) as there:
        yield there


@dataclass(frozen=True, slots=True)
class _Split:
    """Splits reads from storage into the time at the disk and what the loop device took beyond it."""

    trace: BlockTrace
    loop: str
    disk: str
    where: Mapping[int, int]

    def add(self, condition: LoadCondition, folder: Path) -> None:
        """What was recorded last, as far as a read is found at both."""
        events = parse_events(self.trace.fetch(folder / "trace.txt"))
        at_loop, at_disk = requests(events, self.loop, reads=True), requests(events, self.disk, reads=True)
        pairs = served_by(at_loop, at_disk, self.where.get)
        condition.unmatched += len(at_loop) - len(pairs)
        took = [(below.completed_ns - below.issued_ns, above.completed_ns - above.issued_ns) for above, below in pairs]
        condition.disk.append(np.array([disk for disk, _ in took], dtype=np.uint64))
        condition.worker.append(np.array([loop - disk for disk, loop in took], dtype=np.uint64))


@dataclass(frozen=True, slots=True)
class _Turn:
    """All conditions of one backing device, once each."""

    stage: Stage
    probe: ProbeSession
    place: _Place
    folder: Path
    result: UnderLoad
    progress: Progress

    def measure(self, conditions: list[LoadCondition], seed: int) -> None:
        stage, half = self.stage, -(-self.stage.profile.faults.samples // TURNS)
        pages = 2 * half
        stage.as_swap(2 * pages)
        with ExitStack() as stack:
            changes = stack.enter_context(stage.device.changes())
            background = Background(stage, self.probe, load_file(changes, self.place.file))
            split = self._open_trace(stack, pages)
            self.probe.fill_area(_AREA, pages * stage.page_bytes, mix=PageKind.compressible.mix, seed=seed)
            stack.callback(self.probe.drop, _AREA)
            for condition in conditions:
                self.progress(f"faults on {condition.backing} under load {condition.load or 'none'}")
                swap_out(stage, self.probe, _AREA, pages)
                write_back_half(stage, self.probe, _AREA, half, seed)
                self._touch(condition, background, split, seed)

    def _touch(self, condition: LoadCondition, background: Background, split: _Split | None, seed: int) -> None:
        io = "realtime" if condition.setting == IO_REALTIME else "default"
        with ExitStack() as stack:
            if condition.setting == WORKER_NICE:
                condition.reniced = stack.enter_context(workers_first(self.stage, self.probe))
            if split:
                stack.enter_context(split.trace.record(self.probe))
            stack.enter_context(background.running(condition.load, condition.done))
            records, reply = touch_all(self.stage, self.probe, _AREA, seed, self.folder, io=io)
        self._keep(condition, records, reply)
        if split:
            split.add(condition, self.folder)

    def _keep(self, condition: LoadCondition, records: npt.NDArray[np.void], reply: Touched) -> None:
        ns, label = records["ns"].astype(np.uint64), records["label"]
        condition.ram.append(ns[label == RAM])
        condition.written_back.append(ns[label == WRITTEN_BACK])
        condition.majflt += reply.majflt
        reads = self.stage.pages_4k(reply.read_4k)
        condition.bd_reads += reads
        if reads != condition.written_back[-1].size:
            raise NothingMeasured(
                f"{self.stage.device.serial}: {condition.written_back[-1].size} faults on written-back pages, but "
                f"bd_stat counts {reads} reads",
                hint="another program reads this zram's written-back pages; stop it and run again",
            )

    def _open_trace(self, stack: ExitStack, pages: int) -> _Split | None:
        """Reads at the backing device and at the disk below; None with the reason in the result."""
        stage = self.stage
        if stage.backing.file is None or stage.disk is None:
            return None
        own = stage.device.read(f"/sys/class/block/{stage.backing.name}/dev").strip()
        try:
            where = self._places_on_disk(stage.backing.file, stage.disk)
            # I/O loads on the same disk read too, several times as often.
            numbers = sorted({own, stage.disk.number})
            trace = stack.enter_context(block_trace(stage.device, numbers, events=32 * pages, only_reads=True))
        except (TracingRefused, ProbeFailed) as error:
            self.result.no_events_because = str(error)
            return None
        self.result.other_tracer = trace.other_tracer
        return _Split(trace, own, stage.disk.number, where)

    def _places_on_disk(self, file: str, disk: Disk) -> dict[int, int]:
        """Sector of each page of the backing file on its disk, by its sector at the loop device."""
        remote, local = f"{PROBE_FOLDER}/extents.bin", self.folder / "extents.bin"
        self.probe.extents(file, remote)
        self.stage.device.transport.pull(remote, local, deadline=Deadline.after(60))
        extents = np.fromfile(local, dtype="<u8").reshape(-1, 3) // SECTOR
        local.unlink()
        page = self.stage.page_bytes // SECTOR
        return {
            int(logical) + at: int(physical) + at + disk.start_sector
            for logical, physical, sectors in extents
            for at in range(0, int(sectors), page)
        }
