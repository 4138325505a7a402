"""Latency of page faults on a busy phone, and how much of it is the loop driver's worker.

On each backing device the conditions take turns in shuffled order: each load, and each setting that may help. Block
events split a read from storage into its time at the disk and the rest. In the rest the loop device's worker is woken,
gets a CPU and hands the request on.
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

from base.kernel import SECTOR
from base.units import MIB
from devices.backing import BackingDevice, loop_backing, partition_backing
from devices.device import Changes
from devices.probe.replies import Touched
from devices.probe.session import PROBE_FOLDER, ProbeFailed
from devices.profiles.profile import BackingKind, Load
from devices.profiles.sections import PageKind
from devices.storage import Disk, disk_below
from devices.tracing import BlockTrace, TracingRefused, block_trace
from records import metrics as m
from records import tests as t
from records.model import Caveat, Metric, RunResult
from workloads.background import Background, LoadDone, load_file, workers_first
from workloads.bench import Bench
from workloads.blockevents import parse_events, requests, served_by
from workloads.faults import (
    RAM,
    READS_CHECK,
    WRITTEN_BACK,
    algorithm_of,
    check_reads,
    probe_overhead,
    swap_out,
    touch_all,
    write_back_half,
)
from workloads.stage import Stage

TURNS = 2
DEFAULT, IO_REALTIME, WORKER_NICE = "default", "io_realtime", "worker_nice"
_AREA = "under-load"
_EXTENTS_FILE = f"{PROBE_FOLDER}/extents.bin"
# What `extents` writes, 24 bytes a piece, in bytes (probe/README.md).
EXTENT = np.dtype([(name, "<u8") for name in ("logical", "physical", "bytes")])
# Fewer matches than this, and the layers between file and disk are not what we take them for.
_ENOUGH_MATCHED = 0.9

Latencies = npt.NDArray[np.uint64]


@dataclass(slots=True)
class LoadCondition:
    """One load with one setting on one backing device. Latencies in ns, one array a turn.

    A read whose request at the disk was found is split: ``disk`` is its time there, and ``worker`` the rest of its time
    at the loop device. ``unmatched`` counts the reads that were not found.
    """

    backing: str
    load: Load | None
    setting: str = DEFAULT
    ram: list[Latencies] = field(default_factory=list)
    written_back: list[Latencies] = field(default_factory=list)
    disk: list[Latencies] = field(default_factory=list)
    worker: list[Latencies] = field(default_factory=list)
    done: LoadDone = field(default_factory=LoadDone)
    bd_reads: int = 0
    unmatched: int = 0
    reniced: int = 0

    @property
    def name(self) -> str:
        """Return the name that its sample files begin with."""
        return f"{self.backing}-{self.load or 'none'}-{self.setting}"

    @property
    def split(self) -> tuple[Latencies, Latencies] | None:
        """Return ``disk`` and ``worker`` as one array each; None where too few reads were found at both."""
        if not self.disk:
            return None
        disk, worker = np.concatenate(self.disk), np.concatenate(self.worker)
        return (disk, worker) if disk.size > _ENOUGH_MATCHED * (disk.size + self.unmatched) else None


@dataclass(slots=True)
class UnderLoad:
    """All conditions, and the reason where reads could not be split."""

    conditions: list[LoadCondition]
    no_events_because: str = ""
    other_tracer: str = ""
    overhead: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Place:
    """A backing device to measure on; ``attach`` None is the run's own. Loads work on ``file``."""

    name: str
    attach: Callable[[Changes], BackingDevice] | None
    path: str
    file: str


def steps_of(stage: Stage) -> int:
    """Return how many steps ``measure_faults_under_load`` reports."""
    return TURNS * sum(len(_conditions(stage, place.name)) for place in _places(stage))


def measure_faults_under_load(bench: Bench) -> UnderLoad:
    """Measure each load and setting on each backing device, in turns.

    Raises NothingMeasured when the kernel counted other reads than were measured.
    """
    stage, result = bench.stage, UnderLoad([], overhead=probe_overhead(bench))
    places = _places(stage)
    by_place = {place.name: _conditions(stage, place.name) for place in places}
    result.conditions = [condition for conditions in by_place.values() for condition in conditions]
    shuffler = random.Random(bench.seed)
    for turn in range(TURNS):
        for place in shuffler.sample(places, len(places)):
            with _attached(stage, place) as there:
                conditions = by_place[place.name]
                order = shuffler.sample(conditions, len(conditions))
                _Turn(bench.on(there), place, result).measure(order, bench.seed + turn)
    return result


def under_load_results(bench: Bench, found: UnderLoad) -> list[RunResult]:
    """Make the records: one for each condition and slot."""
    algorithm = algorithm_of(bench.stage)
    return [
        _result(bench, found, condition, slot, algorithm)
        for condition in found.conditions
        for slot in ("ram", "written_back")
    ]


def _result(bench: Bench, found: UnderLoad, condition: LoadCondition, slot: str, algorithm: str) -> RunResult:
    latencies = np.concatenate(condition.ram if slot == "ram" else condition.written_back)
    raw = {m.FAULT_LATENCY.name: bench.save_raw(f"fault-{condition.name}-{slot}", latencies)}
    metrics: dict[str, Metric] = {}
    facts: dict[str, object] = {"probe_overhead_ns": found.overhead}
    caveats = []
    if condition.load is not None:
        metrics = m.LOAD_CPU_BUSY.of([condition.done.cpu_s]) | m.LOAD_BYTES.of([condition.done.bytes])
    if condition.done.ended_early:
        caveats.append(Caveat.load_ended_early)
    if found.other_tracer:
        caveats.append(Caveat.other_tracer)
    if slot == "written_back" and (split := condition.split) is not None:
        raw[m.FAULT_DISK.name] = bench.save_raw(f"fault-{condition.name}-disk", split[0])
        raw[m.FAULT_WORKER.name] = bench.save_raw(f"fault-{condition.name}-worker", split[1])
        facts["reads_not_found_at_the_disk"] = condition.unmatched
    elif slot == "written_back" and condition.backing.startswith("loop"):
        facts["no_split_because"] = found.no_events_because or f"{condition.unmatched} reads were not found at the disk"
    if condition.reniced:
        facts["workers_reniced"] = condition.reniced
    return RunResult(
        test=t.FAULTS_LOAD.name,
        title=bench.title,
        params={
            "backing": condition.backing, "load": str(condition.load or "none"), "setting": condition.setting,
            "slot": slot, "comp_algorithm": algorithm,
        },
        metrics=metrics,
        raw=raw,
        checks=_reads(condition) if slot == "written_back" else {},
        caveats=caveats,
        facts=facts,
    )  # fmt: skip


def _reads(condition: LoadCondition) -> dict[str, dict[str, float]]:
    touched = sum(part.size for part in condition.written_back)
    return {READS_CHECK: {"expected": touched, "seen": condition.bd_reads}}


def _places(stage: Stage) -> list[_Place]:
    """Return the run's own backing device, its buffered variant, and a raw partition where the profile names one."""
    backing, variants, page = stage.profile.backing, stage.profile.variants, 4 * stage.page_bytes
    if backing.kind is BackingKind.raw_partition:
        return [_Place("partition", None, backing.path, f"{PROBE_FOLDER}/load")]
    buffered, load = f"{backing.path}.buffered", f"{backing.path}.load"
    size = -(-page * stage.profile.faults.samples // MIB * MIB)
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
    """Splits a read from storage into its time at the disk and the rest of its time at the loop device."""

    trace: BlockTrace
    loop: str
    disk: str
    where: Mapping[int, int]

    def add(self, condition: LoadCondition, folder: Path) -> None:
        """Add the reads that were recorded last and are found at both devices."""
        events = parse_events(self.trace.fetch(folder / "trace.txt"))
        at_loop, at_disk = requests(events, self.loop, reads=True), requests(events, self.disk, reads=True)
        pairs = served_by(at_loop, at_disk, self.where.get)
        condition.unmatched += len(at_loop) - len(pairs)
        took = [(below.completed_ns - below.issued_ns, above.completed_ns - above.issued_ns) for above, below in pairs]
        condition.disk.append(np.array([disk for disk, _ in took], dtype=np.uint64))
        condition.worker.append(np.array([loop - disk for disk, loop in took], dtype=np.uint64))


@dataclass(frozen=True, slots=True)
class _Turn:
    """One measurement of each condition of one backing device."""

    bench: Bench
    place: _Place
    result: UnderLoad

    def measure(self, conditions: list[LoadCondition], seed: int) -> None:
        """Measure these conditions in this order and add to each what was measured."""
        bench, stage = self.bench, self.bench.stage
        half = -(-stage.profile.faults.samples // TURNS)
        pages = 2 * half
        stage.as_swap(2 * pages)
        with ExitStack() as stack:
            changes = stack.enter_context(stage.device.changes())
            background = Background(bench, load_file(changes, self.place.file))
            split = self._open_trace(stack, pages)
            bench.probe.fill_area(_AREA, pages * stage.page_bytes, mix=PageKind.compressible.mix, seed=seed)
            stack.callback(bench.probe.drop, _AREA)
            for condition in conditions:
                bench.progress(f"faults on {condition.backing} under load {condition.load or 'none'}")
                swap_out(bench, _AREA, pages)
                write_back_half(bench, _AREA, half, seed)
                self._touch(condition, background, split, seed)

    def _touch(self, condition: LoadCondition, background: Background, split: _Split | None, seed: int) -> None:
        io = "realtime" if condition.setting == IO_REALTIME else "default"
        with ExitStack() as stack:
            if condition.setting == WORKER_NICE:
                condition.reniced = stack.enter_context(workers_first(self.bench))
            if split:
                stack.enter_context(split.trace.record(self.bench.probe))
            stack.enter_context(background.running(condition.load, condition.done))
            records, reply = touch_all(self.bench, _AREA, seed, io=io)
        self._keep(condition, records, reply)
        if split:
            split.add(condition, self.bench.folder)

    def _keep(self, condition: LoadCondition, records: npt.NDArray[np.void], reply: Touched) -> None:
        ns, label = records["ns"].astype(np.uint64), records["label"]
        condition.ram.append(ns[label == RAM])
        condition.written_back.append(ns[label == WRITTEN_BACK])
        reads = self.bench.stage.pages_4k(reply.read_4k)
        condition.bd_reads += reads
        check_reads(self.bench.stage, condition.written_back[-1].size, reads)

    def _open_trace(self, stack: ExitStack, pages: int) -> _Split | None:
        """Trace reads at the backing device and the disk below; return None and note the reason where that fails."""
        stage = self.bench.stage
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
        """Return the sector on its disk of each page of the backing file, by its sector at the loop device."""
        found = self.bench.probe.extents(file, _EXTENTS_FILE)
        pieces = self.bench.fetch(_EXTENTS_FILE, EXTENT, found.extents)
        columns = (pieces[name] // SECTOR for name in ("logical", "physical", "bytes"))
        page = self.bench.stage.page_bytes // SECTOR
        return {
            int(logical) + at: int(physical) + at + disk.start_sector
            for logical, physical, sectors in zip(*columns, strict=True)
            for at in range(0, int(sectors), page)
        }
