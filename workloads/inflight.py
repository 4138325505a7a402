"""How many writes are in flight while zram writes back, seen from outside the driver.

Depth comes from the block layer's own events at the backing device and at the disk below it. Where there are none, it
comes from the disks' counters: time in queue gives the mean, and a sampler gives the maximum that it happened to see.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from base.units import MIB
from devices.mapped import MAPPED
from devices.probe.commands import DevicePages
from devices.profiles.sections import PageKind, SlotOrder
from devices.storage import Disk
from devices.tracing import BlockTrace, TracingRefused, block_trace
from devices.zram import ValueKept, offered, selected
from records import metrics as m
from records import tests as t
from records.block_events import Event, packed, parse_events
from records.model import Caveat, Metric, RunResult
from workloads.bench import Bench
from workloads.blockevents import STEPS, Depth, write_depth
from workloads.budget import RoundsPlan
from workloads.free_slots import make_free_slots
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured, TimedWriteback, fill_and_write_back
from workloads.turns import NotAvailable

# Pages that do not compress have a block each, whatever zram is set to.
_FILLED_WITH, ORDER = PageKind.incompressible, SlotOrder.sparse
LOOP, DISK = "loop", "disk"
# Of block events that are kept, packed: a few hundred thousand.
MOST_KEPT = 16 * MIB
# Of each page that is written: issued and completed at two layers, twice as many for whatever else is traced.
_EVENTS = 8


Batch = int | None


@dataclass(frozen=True, slots=True)
class DepthCase:
    """A point: a batch size, what the pages hold, and how zram keeps and writes them.

    ``algorithm`` None is zram's own. ``compressed_writeback`` None: this kernel always decompresses what it writes.
    """

    batch_size: Batch
    pages: PageKind
    algorithm: str | None
    compressed_writeback: bool | None

    def __str__(self) -> str:
        """Tell it in a line of progress and in a file's name."""
        how = [self.algorithm, "compressed" if self.compressed_writeback else None]
        return ", ".join(filter(None, [f"batch {self.batch_size or 1}", str(self.pages), *how]))


def depth_cases(stage: Stage) -> list[DepthCase]:
    """Return the points: the profile's first kind of pages at each batch size, the others at some of them.

    Pages that do not compress are written as they are, so compressor and compressed writeback are no matter of theirs.
    """
    wanted = stage.profile.inflight
    plain, *_ = ways = stage.ways_to_write(wanted.compressed_writeback)
    first = [DepthCase(batch, wanted.pages[0], None, plain) for batch in stage.batch_sizes(wanted.batch_sizes)]
    compressed = [(algorithm, way) for algorithm in wanted.algorithms or (None,) for way in ways]
    others = [
        DepthCase(batch, pages, algorithm, way)
        for batch in stage.batch_sizes(wanted.others_at)
        for pages in wanted.pages
        for algorithm, way in ([(None, plain)] if pages is PageKind.incompressible else compressed)
        if (pages, algorithm, way) != (wanted.pages[0], None, plain)
    ]
    return list(dict.fromkeys([*first, *others]))


@dataclass(frozen=True, slots=True)
class DepthTurn:
    """A writeback that was watched and one that was not: depth and counted writes by layer, both rates in MiB/s.

    ``events`` is the file that the block events are kept in, if they are.
    """

    depths: Mapping[str, Depth]
    counted: Mapping[str, int]
    merged: Mapping[str, int]
    traced: float
    untraced: float
    events: str = ""

    @property
    def mean(self) -> float:
        """Return the mean depth at the lowest layer that was watched."""
        return (self.depths.get(DISK) or self.depths[LOOP]).mean


@dataclass(slots=True)
class MeasuredDepth:
    """All turns, and how their depth was seen."""

    rounds: Rounds[DepthCase, DepthTurn] = field(default_factory=Rounds)
    how: DepthSource | None = None
    algorithm: str | None = None
    kept_bytes: int = 0
    left_out: Counter[DepthCase] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class DepthSource:
    """The layers and how their depth was seen: by a trace, or by counters, and then ``why_not`` gives the reason."""

    layers: Mapping[str, Disk]
    trace: BlockTrace | None
    why_not: str


def steps_of(stage: Stage) -> int:
    """Return how many steps ``measure_inflight`` reports at least."""
    return 1 + min(stage.profile.inflight.repeats, RoundsPlan().fewest) * len(depth_cases(stage))


def measure_inflight(bench: Bench, into: MeasuredDepth) -> None:
    """Measure the depth of each case, in rounds.

    A compressor that the kernel does not have is left out. Raises NothingMeasured when a layer has no event although
    pages were written back.
    """
    stage, wanted = bench.stage, bench.stage.profile.inflight
    bench.progress("in-flight depth: allocating the backing file's blocks")
    cases = depth_cases(stage)
    first = cases[0]
    plan = replace(bench.rounds, most=wanted.repeats, fewest=min(bench.rounds.fewest, wanted.repeats))
    with ExitStack() as stack:
        into.how = how = open_source(stack, stage, wanted.data)
        run = WatchedWriteback(bench, into, how)
        run.set_up(first)
        into.algorithm = selected(stage.zram.read("comp_algorithm"))
        measure_in_rounds(
            bench, cases, run.turn, plan=plan, into=into.rounds, primary=lambda turn: turn.mean, leave_out=True,
            ratios=[(case, first) for case in cases[1:]], told=lambda case: f"in-flight depth at {case}",
        )  # fmt: skip
    for error in into.rounds.failed.values():
        if not isinstance(error, NotAvailable):
            raise error


def inflight_results(bench: Bench, found: MeasuredDepth) -> list[RunResult]:
    """Make a record for each case and layer that has a turn."""
    cases = [case for case in depth_cases(bench.stage) if found.rounds.of(case)]
    in_order = sorted(cases, key=lambda case: case.batch_size or 0)
    return [
        _result(bench, found, case, layer, found.how) for case in in_order if found.how for layer in found.how.layers
    ]


def _layers(stage: Stage) -> dict[str, Disk]:
    """Return the backing device and, if it is another, the disk below."""
    number = stage.device.read(f"/sys/class/block/{stage.backing.name}/dev").strip()
    layers = {LOOP: Disk(stage.backing.name, number, 0, True)}
    if stage.disk and stage.disk.name != stage.backing.name:
        layers[DISK] = stage.disk
    return layers


def open_source(stack: ExitStack, stage: Stage, data_bytes: int) -> DepthSource:
    """Open a trace with room for the events of so much data, or note why there is none."""
    events = _EVENTS * stage.pages(data_bytes)
    layers = _layers(stage)
    mapped = [layers[LOOP].number] if stage.backing.kind == MAPPED else []
    disks = [disk.number for disk in layers.values() if disk.number not in mapped]
    try:
        trace = block_trace(stage.device, disks, events=events, mapped=mapped)
        return DepthSource(layers, stack.enter_context(trace), "")
    except TracingRefused as error:
        return DepthSource(layers, None, str(error))


@dataclass(slots=True)
class WatchedWriteback:
    """Turns of all cases on one zram, which is set up anew where a case needs it otherwise."""

    bench: Bench
    found: MeasuredDepth
    how: DepthSource
    is_set_up: tuple[str | None, bool | None] | None = None
    half: DevicePages | None = None

    def set_up(self, case: DepthCase) -> Bench:
        """Make zram as the case wants it, with blocks that were written before; return a bench on it."""
        stage, wanted = self.bench.stage, (case.algorithm, case.compressed_writeback)
        if case.algorithm is not None and case.algorithm not in offered(stage.zram.read("comp_algorithm")):
            raise NotAvailable(f"{case.algorithm}: this kernel does not offer it")
        mine = self.bench.on(
            replace(stage, comp_algorithm=case.algorithm, compressed_writeback=case.compressed_writeback is True)
        )
        if self.is_set_up != wanted:
            data = stage.profile.inflight.data
            try:
                self.half = make_free_slots(mine, data, pages=_FILLED_WITH, order=ORDER).pages
            except ValueKept as error:
                # Where a module parameter fixes the algorithm, another is taken with success and ignored.
                self.is_set_up = None
                raise NotAvailable(f"{case.algorithm}: {error}") from error
            self.is_set_up = wanted
        return mine

    def turn(self, case: DepthCase, number: int) -> DepthTurn:
        """Set zram up for a case, and write back twice."""
        return self.watch(self.set_up(case), case, number)

    def watch(self, bench: Bench, case: DepthCase, number: int) -> DepthTurn:
        """Write back twice, in an order drawn anew: watched, and not."""
        first, _ = random.Random(bench.seed + number).sample((True, False), 2)
        untraced = None if first else self._write_back(bench, case, sample=False).mib_s
        depths, run, events = self._watched(bench, case, number)
        if untraced is None:
            untraced = self._write_back(bench, case, sample=False).mib_s
        disks = {layer: run.timed.disks[disk.name] for layer, disk in self.how.layers.items()}
        counted = {layer: disk.writes for layer, disk in disks.items()}
        merged = {layer: disk.writes_merged for layer, disk in disks.items()}
        return DepthTurn(depths, counted, merged, run.mib_s, untraced, events)

    def _watched(self, bench: Bench, case: DepthCase, number: int) -> tuple[dict[str, Depth], TimedWriteback, str]:
        """Write back while the depth is watched; return depth by layer, the writeback, and where its events are."""
        layers, trace = self.how.layers, self.how.trace
        if trace is None:
            run = self._write_back(bench, case, sample=True)
            return {layer: _counted_depth(run, disk) for layer, disk in layers.items()}, run, ""
        with trace.record(bench.probe):
            run = self._write_back(bench, case, sample=False)
        text = trace.fetch(bench.folder / "trace.txt")
        events = parse_events(text)
        depths = {layer: self._event_depth(events, disk) for layer, disk in layers.items()}
        return depths, run, self._kept(case, number, text)

    def _kept(self, case: DepthCase, number: int, text: str) -> str:
        """Keep a turn's events while there is room for them; return the file."""
        content = packed(text)
        if self.found.kept_bytes + len(content) > MOST_KEPT:
            self.found.left_out[case] += 1
            return ""
        self.found.kept_bytes += len(content)
        return self.bench.save_trace(f"inflight {case} turn {number}", content)

    def _write_back(self, bench: Bench, case: DepthCase, *, sample: bool) -> TimedWriteback:
        assert self.half is not None
        names = [disk.name for disk in self.how.layers.values()]
        run = fill_and_write_back(
            bench, self.half, pages=case.pages, batch_size=case.batch_size, disks=names, sample=sample
        )
        bench.probe.free(self.half)
        return run

    def _event_depth(self, events: Sequence[Event], disk: Disk) -> Depth:
        depth = write_depth(events, disk.number)
        if depth is None:
            raise NothingMeasured(
                f"{self.bench.stage.device.serial}: pages were written back and no write was seen at {disk.name}",
                hint="is another program changing this run's trace instance?",
            )
        return depth


def _counted_depth(run: TimedWriteback, disk: Disk) -> Depth:
    """Return the mean depth by the time that requests spent in the queue, and the deepest that was sampled."""
    seen = run.timed.disks[disk.name]
    return Depth(seen.time_in_queue_ms * 1e6 / run.timed.wall_ns, seen.deepest or 0, {}, {}, seen.writes)


def _expected(stage: Stage, batch_size: Batch, layer: str) -> dict[str, int]:
    """Return what bounds the depth, by name; the smallest bound is the depth to expect."""
    bounds = {"batch": batch_size or 1}
    if (requests := (stage.backing.queue or {}).get("nr_requests")) is not None:
        bounds[f"{stage.backing.name} nr_requests"] = int(requests)
    if layer == DISK and (depth := stage.device.identity.ufs.get("queue_depth")):
        bounds["disk queue_depth"] = int(depth)
    return bounds


def _share_at(depths: Sequence[Depth]) -> dict[str, float]:
    """Return the time at each depth over all repeats, as shares that add up to 1."""
    found: Counter[int] = Counter()
    for depth in depths:
        found.update({at: share / len(depths) for at, share in depth.share_at.items()})
    return {str(at): round(share, 6) for at, share in sorted(found.items())}


def _steps(depths: Sequence[Depth]) -> dict[str, float]:
    """Return how often each distance between writes occurred over all repeats, as shares that add up to 1."""
    found = sum((Counter(depth.steps) for depth in depths), Counter[str]())
    return {name: round(found[name] / found.total(), 6) for name in STEPS if found[name]}


def depth_metrics(turns: Sequence[DepthTurn], layer: str) -> dict[str, Metric]:
    """Return the metrics of turns at one layer; the rates with and without a trace are with the loop device's."""
    depths = [turn.depths[layer] for turn in turns]
    metrics = m.IN_FLIGHT_MEAN.of([one.mean for one in depths]) | m.IN_FLIGHT_MAX.of([one.max for one in depths])
    metrics |= m.MERGED.of([turn.merged[layer] for turn in turns])
    for row, values in (
        (m.IN_FLIGHT_PAGES, [one.pages_mean for one in depths]), (m.IDLE, [one.idle_percent for one in depths])
    ):  # fmt: skip
        known = [value for value in values if value is not None]
        metrics |= row.of(known) if len(known) == len(depths) else {}
    if layer == LOOP:
        traced, untraced = [turn.traced for turn in turns], [turn.untraced for turn in turns]
        cost = [100 * (plain / watched - 1) for plain, watched in zip(untraced, traced, strict=True)]
        metrics |= m.THROUGHPUT.of(traced) | m.UNTRACED.of(untraced) | m.TRACE_COST.of(cost)
    return metrics


def _params(stage: Stage, found: MeasuredDepth, case: DepthCase, layer: str) -> dict[str, Any]:
    return {
        "batch_size": case.batch_size, "layer": layer, "data_bytes": stage.profile.inflight.data,
        "pages": str(case.pages), "comp_algorithm": case.algorithm or found.algorithm,
        "compressed_writeback": case.compressed_writeback,
    }  # fmt: skip


def _result(bench: Bench, found: MeasuredDepth, case: DepthCase, layer: str, how: DepthSource) -> RunResult:
    stage, trace, turns = bench.stage, how.trace, found.rounds.values(case)
    depths = [turn.depths[layer] for turn in turns]
    counted = {
        "expected": sum(turn.counted[layer] for turn in turns), "seen": sum(depth.requests for depth in depths)
    }  # fmt: skip
    caveats = found.rounds.caveats(case) + ([] if trace else [Caveat.sampled_depth])
    if trace and trace.other_tracer:
        caveats.append(Caveat.other_tracer)
    return RunResult(
        test=t.DEPTH.name,
        title=bench.title,
        params=_params(stage, found, case, layer),
        metrics=depth_metrics(turns, layer),
        # Only zram writes to the backing device; the disk below has other writers.
        checks={"write requests (disk statistics)": counted} if trace and layer == LOOP else {},
        caveats=caveats,
        facts={
            **_how_seen(how, layer),
            **_against_limits(stage, case, layer, depths),
            "time_at_depth": _share_at(depths),
            "sector_steps": _steps(depths),
            "events": [turn.events for turn in turns if turn.events],
            "events_left_out": found.left_out[case],
            **found.rounds.facts(),
        },
        turns=found.rounds.turns(case),
    )


def _how_seen(how: DepthSource, layer: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "how": "block events" if how.trace else "sampled counters",
        "device": how.layers[layer].name,
        "number": how.layers[layer].number,
    }
    if how.why_not:
        facts["no_trace_because"] = how.why_not
    if how.trace and how.trace.other_tracer:
        facts["other_tracer"] = how.trace.other_tracer
    return facts


def _against_limits(stage: Stage, case: DepthCase, layer: str, depths: Sequence[Depth]) -> dict[str, Any]:
    flags = sum((Counter(depth.flags) for depth in depths), Counter[str]())
    bounds = _expected(stage, case.batch_size, layer)
    expected, deepest = min(bounds.values()), max(depth.max for depth in depths)
    verdict = "lower" if deepest < expected - 1 else "higher" if deepest > expected + 1 else ""
    return {
        "flags": dict(flags),
        "sync": any("S" in name for name in flags) if flags else None,
        "expected_max": expected,
        "expected_from": bounds,
        "verdict": f"{verdict} than expected" if verdict else "as expected",
    }
