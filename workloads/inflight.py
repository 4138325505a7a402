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

from devices.probe.commands import DevicePages
from devices.profiles.sections import PageKind, SlotOrder
from devices.storage import Disk
from devices.tracing import BlockTrace, TracingRefused, block_trace
from records import metrics as m
from records import tests as t
from records.model import Caveat, Metric, RunResult
from workloads.bench import Bench
from workloads.blockevents import Depth, Event, parse_events, write_depth
from workloads.budget import RoundsPlan
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured, TimedWriteback, fill_and_write_back, prepare_half

# Pages that do not compress take the least time to make ready, so the depth is the storage's and not the CPU's.
PAGES, ORDER = PageKind.incompressible, SlotOrder.random
LOOP, DISK = "loop", "disk"


Batch = int | None


@dataclass(frozen=True, slots=True)
class DepthTurn:
    """A writeback that was watched and one that was not: depth and counted writes by layer, both rates in MiB/s."""

    depths: Mapping[str, Depth]
    counted: Mapping[str, int]
    traced: float
    untraced: float

    @property
    def mean(self) -> float:
        """Return the mean depth at the lowest layer that was watched."""
        return (self.depths.get(DISK) or self.depths[LOOP]).mean


@dataclass(slots=True)
class MeasuredDepth:
    """All turns, and how their depth was seen."""

    rounds: Rounds[Batch, DepthTurn] = field(default_factory=Rounds)
    how: _How | None = None


@dataclass(frozen=True, slots=True)
class _How:
    """The layers and how their depth was seen: by a trace, or by counters, and then ``why_not`` gives the reason."""

    layers: Mapping[str, Disk]
    trace: BlockTrace | None
    why_not: str


def steps_of(stage: Stage) -> int:
    """Return how many steps ``measure_inflight`` reports at least."""
    wanted = stage.profile.inflight
    return 1 + min(wanted.repeats, RoundsPlan().fewest) * len(stage.batch_sizes(wanted.batch_sizes))


def measure_inflight(bench: Bench, into: MeasuredDepth) -> None:
    """Measure the depth at each batch size, in rounds.

    Raises NothingMeasured when a layer has no event although pages were written back.
    """
    stage, wanted = bench.stage, bench.stage.profile.inflight
    bench.progress("in-flight depth: allocating the backing file's blocks")
    half, _ = prepare_half(bench, wanted.data, pages=PAGES, order=ORDER)
    first, *others = batches = stage.batch_sizes(wanted.batch_sizes)
    plan = replace(bench.rounds, most=wanted.repeats, fewest=min(bench.rounds.fewest, wanted.repeats))
    with ExitStack() as stack:
        into.how = how = _open_trace(stack, stage, 8 * stage.pages(wanted.data))
        measure_in_rounds(
            bench, batches, lambda batch, turn: _Run(bench, half, batch, how).turn(turn), plan=plan, into=into.rounds,
            primary=lambda turn: turn.mean, ratios=[(batch, first) for batch in others],
            told=lambda batch: f"in-flight depth at batch {batch or 1}",
        )  # fmt: skip


def inflight_results(bench: Bench, found: MeasuredDepth) -> list[RunResult]:
    """Make a record for each batch size and layer that has a turn."""
    batches = dict.fromkeys(visit.point for visit in found.rounds.visits)
    in_order = sorted(batches, key=lambda batch: batch or 0)
    return [
        _result(bench, found, batch, layer, found.how) for batch in in_order if found.how for layer in found.how.layers
    ]


def _layers(stage: Stage) -> dict[str, Disk]:
    """Return the backing device and, if it is another, the disk below."""
    number = stage.device.read(f"/sys/class/block/{stage.backing.name}/dev").strip()
    layers = {LOOP: Disk(stage.backing.name, number, 0, True)}
    if stage.disk and stage.disk.name != stage.backing.name:
        layers[DISK] = stage.disk
    return layers


def _open_trace(stack: ExitStack, stage: Stage, events: int) -> _How:
    """Open a trace with room for so many events, or note why there is none."""
    layers = _layers(stage)
    numbers = [disk.number for disk in layers.values()]
    try:
        return _How(layers, stack.enter_context(block_trace(stage.device, numbers, events=events)), "")
    except TracingRefused as error:
        return _How(layers, None, str(error))


@dataclass(frozen=True, slots=True)
class _Run:
    """One writeback of the half, which is free again afterwards."""

    bench: Bench
    half: DevicePages
    batch_size: int | None
    how: _How

    def turn(self, number: int) -> DepthTurn:
        """Write back twice, in an order drawn anew: watched, and not."""
        first, _ = random.Random(self.bench.seed + number).sample((True, False), 2)
        untraced = None if first else self._write_back(sample=False).mib_s
        depths, counted, traced = self._watched()
        if untraced is None:
            untraced = self._write_back(sample=False).mib_s
        return DepthTurn(depths, counted, traced, untraced)

    def _watched(self) -> tuple[dict[str, Depth], dict[str, int], float]:
        """Write back while the depth is watched; return depth and counted writes by layer, and the rate."""
        layers, trace = self.how.layers, self.how.trace
        if trace is None:
            run = self._write_back(sample=True)
            depths = {layer: _counted_depth(run, disk) for layer, disk in layers.items()}
        else:
            with trace.record(self.bench.probe):
                run = self._write_back(sample=False)
            events = parse_events(trace.fetch(self.bench.folder / "trace.txt"))
            depths = {layer: self._event_depth(events, disk) for layer, disk in layers.items()}
        return depths, {layer: run.timed.disks[disk.name].writes for layer, disk in layers.items()}, run.mib_s

    def _write_back(self, *, sample: bool) -> TimedWriteback:
        names = [disk.name for disk in self.how.layers.values()]
        run = fill_and_write_back(
            self.bench, self.half, pages=PAGES, batch_size=self.batch_size, disks=names, sample=sample
        )
        self.bench.probe.free(self.half)
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


def _metrics(turns: Sequence[DepthTurn], layer: str) -> dict[str, Metric]:
    depths = [turn.depths[layer] for turn in turns]
    metrics = m.IN_FLIGHT_MEAN.of([one.mean for one in depths]) | m.IN_FLIGHT_MAX.of([one.max for one in depths])
    if layer == LOOP:
        traced, untraced = [turn.traced for turn in turns], [turn.untraced for turn in turns]
        cost = [100 * (plain / watched - 1) for plain, watched in zip(untraced, traced, strict=True)]
        metrics |= m.THROUGHPUT.of(traced) | m.UNTRACED.of(untraced) | m.TRACE_COST.of(cost)
    return metrics


def _result(bench: Bench, found: MeasuredDepth, batch_size: Batch, layer: str, how: _How) -> RunResult:
    stage, trace, turns = bench.stage, how.trace, found.rounds.values(batch_size)
    depths = [turn.depths[layer] for turn in turns]
    flags = sum((Counter(depth.flags) for depth in depths), Counter[str]())
    bounds = _expected(stage, batch_size, layer)
    expected, deepest = min(bounds.values()), max(depth.max for depth in depths)
    verdict = "lower" if deepest < expected - 1 else "higher" if deepest > expected + 1 else ""
    counted = {
        "expected": sum(turn.counted[layer] for turn in turns), "seen": sum(depth.requests for depth in depths)
    }  # fmt: skip
    caveats = found.rounds.caveats(batch_size) + ([] if trace else [Caveat.sampled_depth])
    if trace and trace.other_tracer:
        caveats.append(Caveat.other_tracer)
    return RunResult(
        test=t.DEPTH.name,
        title=bench.title,
        params={"batch_size": batch_size, "layer": layer, "data_bytes": stage.profile.inflight.data},
        metrics=_metrics(turns, layer),
        # Only zram writes to the backing device; the disk below has other writers.
        checks={"write requests (disk statistics)": counted} if trace and layer == LOOP else {},
        caveats=caveats,
        facts={
            "how": "block events" if trace else "sampled counters",
            "device": how.layers[layer].name,
            "time_at_depth": _share_at(depths),
            "flags": dict(flags),
            "sync": any("S" in name for name in flags) if flags else None,
            "expected_max": expected,
            "expected_from": bounds,
            "verdict": f"{verdict} than expected" if verdict else "as expected",
            **found.rounds.facts(),
        }
        | ({"no_trace_because": how.why_not} if how.why_not else {})
        | ({"other_tracer": trace.other_tracer} if trace and trace.other_tracer else {}),
        turns=found.rounds.turns(batch_size),
    )
