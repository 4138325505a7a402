"""How many writes are in flight while zram writes back, seen from outside the driver.

Depth comes from the block layer's own events at the backing device and at the disk below it. Where there are none, it
comes from the disks' counters: time in queue gives the mean, and a sampler gives the maximum that it happened to see.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from devices.probe.commands import DevicePages
from devices.profiles.sections import PageKind, SlotOrder
from devices.storage import Disk
from devices.tracing import BlockTrace, TracingRefused, block_trace
from records import metrics as m
from records import tests as t
from records.model import Caveat, Metric, RunResult
from workloads.bench import Bench
from workloads.blockevents import Depth, Event, parse_events, write_depth
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured, TimedWriteback, fill_and_write_back, prepare_half

# Pages that do not compress take the least time to make ready, so the depth is the storage's and not the CPU's.
PAGES, ORDER = PageKind.incompressible, SlotOrder.random
LOOP, DISK = "loop", "disk"


@dataclass(slots=True)
class _Seen:
    """All that was seen at one batch size: depths and counted writes by layer, rates in MiB/s."""

    batch_size: int | None
    depths: dict[str, list[Depth]] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    traced: list[float] = field(default_factory=list)
    untraced: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _How:
    """The layers and how their depth was seen: by a trace, or by counters, and then ``why_not`` gives the reason."""

    layers: Mapping[str, Disk]
    trace: BlockTrace | None
    why_not: str


def steps_of(stage: Stage) -> int:
    """Return how many steps ``measure_inflight`` reports."""
    wanted = stage.profile.inflight
    return 1 + wanted.repeats * len(stage.batch_sizes(wanted.batch_sizes))


def measure_inflight(bench: Bench) -> list[RunResult]:
    """Measure the depth at each batch size; return a record for each batch size and layer.

    Raises NothingMeasured when a layer has no event although pages were written back.
    """
    stage, wanted = bench.stage, bench.stage.profile.inflight
    bench.progress("in-flight depth: allocating the backing file's blocks")
    half, _ = prepare_half(bench, wanted.data, pages=PAGES, order=ORDER)
    points = [_Seen(batch) for batch in stage.batch_sizes(wanted.batch_sizes)]
    shuffler = random.Random(bench.seed)
    with ExitStack() as stack:
        how = _open_trace(stack, stage, 8 * stage.pages(wanted.data))
        for _ in range(wanted.repeats):
            for point in shuffler.sample(points, len(points)):
                bench.progress(f"in-flight depth at batch {point.batch_size or 1}")
                for watched in shuffler.sample((True, False), 2):
                    run = _Run(bench, half, point.batch_size, how)
                    if watched:
                        run.watched(point)
                    else:
                        point.untraced.append(run.plain())
    return [_result(bench, point, layer, how) for point in points for layer in how.layers]


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

    def plain(self) -> float:
        """Write back without watching; return the rate in MiB/s."""
        return self._write_back(sample=False).mib_s

    def watched(self, point: _Seen) -> None:
        """Write back while the depth is watched; add depth and rate to ``point``."""
        layers, trace = self.how.layers, self.how.trace
        if trace is None:
            run = self._write_back(sample=True)
            depths = {layer: _counted_depth(run, disk) for layer, disk in layers.items()}
        else:
            with trace.record(self.bench.probe):
                run = self._write_back(sample=False)
            events = parse_events(trace.fetch(self.bench.folder / "trace.txt"))
            depths = {layer: self._event_depth(events, disk) for layer, disk in layers.items()}
        point.traced.append(run.mib_s)
        for layer, disk in layers.items():
            point.depths.setdefault(layer, []).append(depths[layer])
            point.counted[layer] = point.counted.get(layer, 0) + run.timed.disks[disk.name].writes

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


def _expected(stage: Stage, point: _Seen, layer: str) -> dict[str, int]:
    """Return what bounds the depth, by name; the smallest bound is the depth to expect."""
    bounds = {"batch": point.batch_size or 1}
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


def _metrics(point: _Seen, layer: str) -> dict[str, Metric]:
    depths = point.depths[layer]
    metrics = m.IN_FLIGHT_MEAN.of([one.mean for one in depths]) | m.IN_FLIGHT_MAX.of([one.max for one in depths])
    if layer == LOOP:
        cost = [100 * (plain / traced - 1) for plain, traced in zip(point.untraced, point.traced, strict=True)]
        metrics |= m.THROUGHPUT.of(point.traced) | m.UNTRACED.of(point.untraced) | m.TRACE_COST.of(cost)
    return metrics


def _result(bench: Bench, point: _Seen, layer: str, how: _How) -> RunResult:
    stage, trace, depths = bench.stage, how.trace, point.depths[layer]
    flags = sum((Counter(depth.flags) for depth in depths), Counter[str]())
    bounds = _expected(stage, point, layer)
    expected, deepest = min(bounds.values()), max(depth.max for depth in depths)
    verdict = "lower" if deepest < expected - 1 else "higher" if deepest > expected + 1 else ""
    counted = {"expected": point.counted[layer], "seen": sum(depth.requests for depth in depths)}
    caveats = [] if trace else [Caveat.sampled_depth]
    if trace and trace.other_tracer:
        caveats.append(Caveat.other_tracer)
    return RunResult(
        test=t.DEPTH.name,
        title=bench.title,
        params={"batch_size": point.batch_size, "layer": layer, "data_bytes": stage.profile.inflight.data},
        metrics=_metrics(point, layer),
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
        }
        | ({"no_trace_because": how.why_not} if how.why_not else {})
        | ({"other_tracer": trace.other_tracer} if trace and trace.other_tracer else {}),
    )
