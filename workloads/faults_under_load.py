"""Latency of page faults on a busy phone, and how much of it is the loop driver's worker.

The conditions of all backing devices are visited in rounds: each load, and each setting that may help. Block events
split a read from storage into its time at the disk and the rest. In the rest the loop device's worker is woken, gets a
CPU and hands the request on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from base.units import MIB
from devices.backing import BackingDevice, loop_backing, partition_backing
from devices.device import Changes
from devices.mapped import MAPPED
from devices.probe.session import PROBE_FOLDER, ProbeFailed
from devices.profiles.profile import BackingKind, Load
from devices.profiles.sections import PageKind
from devices.storage import disk_below
from devices.tracing import TracingRefused
from records import courses as c
from records import metrics as m
from records import tests as t
from records.model import Caveat, Metric, RunResult
from workloads.background import Background, LoadDone, load_file, workers_first
from workloads.bench import Bench
from workloads.budget import RoundsPlan
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
from workloads.read_parts import ReadSplitter, splitting_reads
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.turns import (
    NO_SAMPLES,
    Samples,
    faults_by_turn,
    median_of,
    share_of_faults,
    turn_numbers,
    with_rounds_of_faults,
)

DEFAULT, IO_REALTIME, WORKER_NICE = "default", "io_realtime", "worker_nice"
_AREA = "under-load"
# Fewer matches than this, and the layers between file and disk are not what we take them for.
_ENOUGH_MATCHED = 0.9


@dataclass(frozen=True, slots=True)
class LoadCondition:
    """One load with one setting on one backing device."""

    backing: str
    load: Load | None
    setting: str = DEFAULT

    def __str__(self) -> str:
        return f"{self.backing}-{self.load or 'none'}-{self.setting}"


@dataclass(slots=True)
class LoadTurn:
    """What one turn of a condition measured; latencies in ns.

    A read whose request at the disk was found is split: ``disk`` is its time there, and ``worker`` the rest of its time
    at the loop device. ``unmatched`` counts the reads that were not found.
    """

    ram: Samples
    written_back: Samples
    bd_reads: int
    done: LoadDone = field(default_factory=LoadDone)
    disk: Samples = field(default_factory=NO_SAMPLES.copy)
    worker: Samples = field(default_factory=NO_SAMPLES.copy)
    unmatched: int = 0
    reniced: int = 0

    def latencies(self, slot: str) -> Samples:
        """Return the samples of a slot."""
        return self.ram if slot == "ram" else self.written_back


@dataclass(slots=True)
class UnderLoad:
    """All turns of all conditions, filled on the way, and the reason where reads could not be split."""

    conditions: Sequence[LoadCondition] = ()
    rounds: Rounds[LoadCondition, LoadTurn] = field(default_factory=Rounds)
    overhead: Mapping[str, int] = field(default_factory=dict)
    algorithm: str = ""
    no_events_because: str = ""
    other_tracer: str = ""

    def turns(self, condition: LoadCondition) -> list[LoadTurn]:
        """Return what a condition's turns measured, in order of time."""
        return self.rounds.values(condition)

    def latencies(self, condition: LoadCondition, slot: str) -> Samples:
        """Return a slot's samples of all turns."""
        return np.concatenate([turn.latencies(slot) for turn in self.turns(condition)])

    def split(self, condition: LoadCondition) -> tuple[Samples, Samples] | None:
        """Return ``disk`` and ``worker`` of all turns; None where too few reads were found at both."""
        turns = self.turns(condition)
        disk, worker = (np.concatenate([getattr(turn, part) for turn in turns]) for part in ("disk", "worker"))
        return (disk, worker) if disk.size > _ENOUGH_MATCHED * (disk.size + self.unmatched(condition)) else None

    def unmatched(self, condition: LoadCondition) -> int:
        """Return how many reads were not found at the disk."""
        return sum(turn.unmatched for turn in self.turns(condition))

    def load(self, condition: LoadCondition) -> LoadDone:
        """Return what the load did, over all turns."""
        done = [turn.done for turn in self.turns(condition)]
        return LoadDone(
            sum(one.bytes for one in done), sum(one.cpu_s for one in done), any(one.ended_early for one in done)
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """A backing device to measure on. Loads work on ``file``.

    ``attach`` takes the size in bytes that a file needs; None is the run's own device.
    """

    name: str
    attach: Callable[[Changes, int], BackingDevice] | None
    path: str
    file: str


def steps_of(stage: Stage) -> int:
    """Return how many steps ``measure_faults_under_load`` reports at least."""
    return RoundsPlan().fewest * len(_all_conditions(stage))


def measure_faults_under_load(bench: Bench, into: UnderLoad) -> None:
    """Measure each load and setting on each backing device, in rounds.

    ``into`` is filled on the way, so it keeps what it has if the phone is lost. Raises NothingMeasured when the kernel
    counted other reads than were measured.
    """
    bench = with_rounds_of_faults(bench)
    stage = bench.stage
    into.conditions, into.overhead = _all_conditions(stage), probe_overhead(bench)
    into.algorithm = algorithm_of(stage)
    places = {place.name: place for place in _places(stage)}
    with ExitStack() as stack:
        changes = stack.enter_context(stage.device.changes())
        for file in sorted({place.file for place in places.values()}):
            load_file(changes, file)
        visits = stack.enter_context(_Visits(bench, places, into))
        measure_in_rounds(
            bench, into.conditions, visits.turn, into=into.rounds, told=lambda point: f"faults, {point}",
            primary=lambda turn: median_of(turn.written_back), ratios=_ratios(into.conditions),
        )  # fmt: skip


def _ratios(conditions: Sequence[LoadCondition]) -> list[tuple[LoadCondition, LoadCondition]]:
    """Return each load with no load, and each setting with the same load without it."""
    return [
        (one, replace(one, setting=DEFAULT) if one.setting != DEFAULT else replace(one, load=None))
        for one in conditions
        if (one.load, one.setting) != (None, DEFAULT)
    ]


def under_load_results(bench: Bench, found: UnderLoad) -> list[RunResult]:
    """Make the records: one for each condition and slot."""
    return [
        _result(bench, found, condition, slot)
        for condition in found.conditions
        for slot in ("ram", "written_back")
        if found.turns(condition)
    ]


def _result(bench: Bench, found: UnderLoad, condition: LoadCondition, slot: str) -> RunResult:
    raw = faults_by_turn(bench, f"fault-{condition}-{slot}", [turn.latencies(slot) for turn in found.turns(condition)])
    metrics: dict[str, Metric] = {}
    facts: dict[str, object] = {"probe_overhead_ns": found.overhead, **found.rounds.facts()}
    caveats, done = found.rounds.caveats(condition), found.load(condition)
    if condition.load is not None:
        metrics = m.LOAD_CPU_BUSY.of([done.cpu_s]) | m.LOAD_BYTES.of([done.bytes])
    if done.ended_early:
        caveats.append(Caveat.load_ended_early)
    if found.other_tracer:
        caveats.append(Caveat.other_tracer)
    if slot == "written_back":
        raw |= _parts(bench, found, condition)
        facts |= _about_parts(found, condition)
    if reniced := max((turn.reniced for turn in found.turns(condition)), default=0):
        facts["workers_reniced"] = reniced
    return RunResult(
        test=t.FAULTS_LOAD.name,
        title=bench.title,
        params={
            "backing": condition.backing, "load": str(condition.load or "none"), "setting": condition.setting,
            "slot": slot, "comp_algorithm": found.algorithm,
        },
        metrics=metrics,
        raw=raw,
        checks=_reads(found, condition) if slot == "written_back" else {},
        caveats=caveats,
        facts=facts,
        turns=found.rounds.turns(condition),
    )  # fmt: skip


def _parts(bench: Bench, found: UnderLoad, condition: LoadCondition) -> dict[str, str]:
    """Save the parts of the reads and the turn of each; return the files as ``RunResult.raw`` takes them."""
    if (split := found.split(condition)) is None:
        return {}
    disk, worker = split
    return {
        m.FAULT_DISK.name: bench.save_raw(f"fault-{condition}-disk", disk),
        m.FAULT_WORKER.name: bench.save_raw(f"fault-{condition}-worker", worker),
        c.SPLIT_TURN.name: bench.save_raw(
            f"fault-{condition}-split-turn", turn_numbers([turn.disk for turn in found.turns(condition)])
        ),
    }


def _about_parts(found: UnderLoad, condition: LoadCondition) -> dict[str, object]:
    if found.split(condition) is not None:
        return {"reads_not_found_at_the_disk": found.unmatched(condition)}
    if not condition.backing.startswith("loop"):
        return {}
    because = found.no_events_because or f"{found.unmatched(condition)} reads were not found at the disk"
    return {"no_split_because": because}


def _reads(found: UnderLoad, condition: LoadCondition) -> dict[str, dict[str, float]]:
    turns = found.turns(condition)
    touched, reads = sum(turn.written_back.size for turn in turns), sum(turn.bd_reads for turn in turns)
    return {READS_CHECK: {"expected": touched, "seen": reads}}


def _places(stage: Stage) -> list[_Place]:
    """Return the run's own backing device, its buffered variant, and a raw partition where the profile names one."""
    backing, variants = stage.profile.backing, stage.profile.variants
    if backing.kind is BackingKind.raw_partition:
        return [_Place("partition", None, backing.path, f"{PROBE_FOLDER}/load")]
    buffered, load = f"{backing.path}.buffered", f"{backing.path}.load"
    through_loop = "loop_direct" if backing.direct_io else "loop_buffered"
    own = MAPPED if backing.kind is BackingKind.mapped else through_loop
    places = [_Place(own, None, backing.path, load)]
    if own == "loop_direct":
        attach = partial(loop_backing, path=buffered, direct_io=False)
        places.append(_Place("loop_buffered", lambda changes, size: attach(changes, size_bytes=size), buffered, load))
    if (node := variants.partition) is not None:
        places.append(_Place("partition", lambda changes, size: partition_backing(changes, node), node, load))
    return places


def _conditions_on(stage: Stage, place: str) -> list[LoadCondition]:
    loads = [None, *stage.profile.faults.loads]
    conditions = [LoadCondition(place, load) for load in loads]
    if place == "loop_direct":
        against = [load for load in loads if load in (Load.cpu, Load.random_read)]
        conditions += [
            LoadCondition(place, load, setting) for load in against for setting in (IO_REALTIME, WORKER_NICE)
        ]
    return conditions


def _all_conditions(stage: Stage) -> list[LoadCondition]:
    return [condition for place in _places(stage) for condition in _conditions_on(stage, place.name)]


@contextmanager
def _attached(stage: Stage, place: _Place, pages: int) -> Iterator[Stage]:
    """Yield a stage on this backing device, with room for so many pages."""
    if (attach := place.attach) is None:
        yield stage
        return
    size = -(-pages * stage.page_bytes // MIB) * MIB
    with stage.on_backing(lambda changes: attach(changes, size), disk_below(stage.device, place.path)) as there:
        yield there


class _Visits:
    """Measures turns; a backing device stays attached until a condition of another one has its turn."""

    def __init__(self, bench: Bench, places: Mapping[str, _Place], result: UnderLoad) -> None:
        self.bench = bench
        self.places = places
        self.result = result
        self.half = share_of_faults(bench)
        self._there: _Attached | None = None
        self._stack = ExitStack()

    def __enter__(self) -> _Visits:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def turn(self, condition: LoadCondition, number: int) -> LoadTurn:
        """Measure one turn of a condition."""
        there, seed = self._at(self.places[condition.backing]), self.bench.seed + number
        swap_out(there.bench, _AREA, 2 * self.half)
        write_back_half(there.bench, _AREA, self.half, seed)
        return self._touch(there, condition, seed)

    def _at(self, place: _Place) -> _Attached:
        """Attach this backing device, unless it is attached, with zram as swap and an area to be touched."""
        if self._there is not None and self._there.place is place:
            return self._there
        self._there = None
        self._stack.close()
        pages = 2 * self.half
        with ExitStack() as stack:
            bench = self.bench.on(stack.enter_context(_attached(self.bench.stage, place, 2 * pages)))
            bench.stage.as_swap(2 * pages)
            splitter = self._splitter(bench, stack, pages)
            size = pages * bench.stage.page_bytes
            bench.probe.fill_area(_AREA, size, mix=PageKind.compressible.mix, seed=bench.seed)
            stack.callback(bench.probe.drop, _AREA)
            self._stack = stack.pop_all()
        self._there = _Attached(place, bench, splitter)
        return self._there

    def _touch(self, there: _Attached, condition: LoadCondition, seed: int) -> LoadTurn:
        io = "realtime" if condition.setting == IO_REALTIME else "default"
        done, reniced = LoadDone(), 0
        with ExitStack() as stack:
            if condition.setting == WORKER_NICE:
                reniced = stack.enter_context(workers_first(there.bench))
            if there.splitter:
                stack.enter_context(there.splitter.recording())
            stack.enter_context(Background(there.bench, there.place.file).running(condition.load, done))
            records, reply = touch_all(there.bench, _AREA, seed, io=io)
        ns, label = records["ns"].astype(np.uint64), records["label"]
        reads = there.bench.stage.pages_4k(reply.read_4k)
        turn = LoadTurn(ns[label == RAM], ns[label == WRITTEN_BACK], reads, done, reniced=reniced)
        check_reads(there.bench.stage, turn.written_back.size, reads)
        if there.splitter:
            turn.disk, turn.worker, turn.unmatched = there.splitter.split()
        return turn

    def _splitter(self, bench: Bench, stack: ExitStack, pages: int) -> ReadSplitter | None:
        """Trace the backing device and its disk; return None, and note the reason, where that fails."""
        try:
            # I/O loads on the same disk read too, several times as often.
            splitter = stack.enter_context(splitting_reads(bench, events=32 * pages))
        except (TracingRefused, ProbeFailed) as error:
            self.result.no_events_because = str(error)
            return None
        if splitter is not None:
            self.result.other_tracer = splitter.trace.other_tracer
        return splitter


@dataclass(frozen=True, slots=True)
class _Attached:
    """A backing device that zram is on now, and how reads from it are split."""

    place: _Place
    bench: Bench
    splitter: ReadSplitter | None
