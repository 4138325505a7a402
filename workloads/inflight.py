"""How many writes are in flight while zram writes back (Q4), seen from outside the driver.

From the block layer's own events at the backing device and at the disk below it. Where there are none, from the disks'
counters: time in queue gives the mean, and the maximum is what a sampler happened to see.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from devices.probe.commands import DevicePages
from devices.probe.session import ProbeSession
from devices.profiles.sections import PageKind, SlotOrder
from devices.storage import Disk
from devices.tracing import BlockTrace, TracingRefused, block_trace
from records.model import Caveat, Metric, RunResult
from workloads.blockevents import Depth, Event, parse_events, write_depth
from workloads.progress import Progress, silent
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured, TimedWriteback, fill_and_write_back, prepare_half

# Pages that do not compress take the least time to make ready, so the depth is the storage's and not the CPU's.
PAGES, ORDER = PageKind.incompressible, str(SlotOrder.random)
LOOP, DISK = "loop", "disk"


@dataclass(slots=True)
class _Seen:
    """All that was seen at one batch size; depths by layer."""

    batch_size: int | None
    depths: dict[str, list[Depth]] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    traced: list[float] = field(default_factory=list)
    untraced: list[float] = field(default_factory=list)


def steps_of(stage: Stage) -> int:
    """How many times ``progress`` is called."""
    wanted = stage.profile.inflight
    return 1 + wanted.repeats * (len(wanted.batch_sizes) if stage.has_batch_size else 1)


def measure_inflight(
    stage: Stage, probe: ProbeSession, *, title: str, seed: int, folder: Path, progress: Progress = silent
) -> list[RunResult]:
    """One RunResult per batch size and layer. Raises NothingMeasured when the events are not the kernel's count."""
    wanted = stage.profile.inflight
    progress("in-flight depth: allocating the backing file's blocks")
    half, _ = prepare_half(stage, probe, wanted.data, pages=PAGES, order=ORDER, seed=seed)
    layers = _layers(stage)
    batches = wanted.batch_sizes if stage.has_batch_size else (None,)
    points = [_Seen(batch) for batch in batches]
    shuffler = random.Random(seed)
    with ExitStack() as stack:
        trace, why_not = _open_trace(stack, stage, layers, 8 * stage.pages(wanted.data))
        for _ in range(wanted.repeats):
            for point in shuffler.sample(points, len(points)):
                progress(f"in-flight depth at batch {point.batch_size or 1}")
                for watched in shuffler.sample((True, False), 2):
                    run = _Run(stage, probe, half, point.batch_size, layers, seed, folder)
                    if watched:
                        run.watched(point, trace)
                    else:
                        point.untraced.append(run.plain())
    return [
        _result(stage, point, layer, disk, title, trace, why_not) for point in points for layer, disk in layers.items()
    ]


def _layers(stage: Stage) -> dict[str, Disk]:
    """The backing device and, if it is another, the disk below."""
    number = stage.device.read(f"/sys/class/block/{stage.backing.name}/dev").strip()
    layers = {LOOP: Disk(stage.backing.name, number, 0, True)}
    if stage.disk and stage.disk.name != stage.backing.name:
        layers[DISK] = stage.disk
    return layers


def _open_trace(
    stack: ExitStack, stage: Stage, layers: Mapping[str, Disk], events: int
) -> tuple[BlockTrace | None, str]:
    """The trace and nothing, or None and why there is none."""
    numbers = [disk.number for disk in layers.values()]
    try:
        return stack.enter_context(block_trace(stage.device, numbers, events=events)), ""
    except TracingRefused as error:
        return None, str(error)


@dataclass(frozen=True, slots=True)
class _Run:
    """One writeback of the half, watched or not; the half is free again afterwards."""

    stage: Stage
    probe: ProbeSession
    half: DevicePages
    batch_size: int | None
    layers: Mapping[str, Disk]
    seed: int
    folder: Path

    def plain(self) -> float:
        """Its rate in MiB/s."""
        return self._write_back(sample=False).mib_s

    def watched(self, point: _Seen, trace: BlockTrace | None) -> None:
        """Adds its depth and its rate to ``point``: from events, or without a trace from the disks' counters."""
        if trace is None:
            run = self._write_back(sample=True)
            depths = {layer: _counted_depth(run, disk) for layer, disk in self.layers.items()}
        else:
            with trace.record(self.probe):
                run = self._write_back(sample=False)
            events = parse_events(trace.fetch(self.folder / "trace.txt"))
            depths = {layer: self._event_depth(events, disk) for layer, disk in self.layers.items()}
        point.traced.append(run.mib_s)
        for layer, disk in self.layers.items():
            point.depths.setdefault(layer, []).append(depths[layer])
            point.counted[layer] = point.counted.get(layer, 0) + run.timed.disks[disk.name].writes

    def _write_back(self, *, sample: bool) -> TimedWriteback:
        names = [disk.name for disk in self.layers.values()]
        run = fill_and_write_back(
            self.stage, self.probe, self.half, pages=PAGES, seed=self.seed, batch_size=self.batch_size,
            disks=names, sample=sample,
        )  # fmt: skip
        self.probe.free(self.half)
        return run

    def _event_depth(self, events: Sequence[Event], disk: Disk) -> Depth:
        depth = write_depth(events, disk.number)
        if depth is None:
            raise NothingMeasured(
                f"{self.stage.device.serial}: pages were written back and no write was seen at {disk.name}",
                hint="is another program changing this run's trace instance?",
            )
        return depth


def _counted_depth(run: TimedWriteback, disk: Disk) -> Depth:
    """Mean from the time that requests spent in the queue; the maximum is the deepest that the sampler met."""
    seen = run.timed.disks[disk.name]
    return Depth(seen.time_in_queue_ms * 1e6 / run.timed.wall_ns, seen.deepest or 0, {}, {}, seen.writes)


def _expected(stage: Stage, point: _Seen, layer: str) -> dict[str, int]:
    """What bounds the depth, by name: the smallest of them is what one expects."""
    bounds = {"batch": point.batch_size or 1}
    if (requests := (stage.backing.queue or {}).get("nr_requests")) is not None:
        bounds[f"{stage.backing.name} nr_requests"] = int(requests)
    if layer == DISK and (depth := stage.device.identity.ufs.get("queue_depth")):
        bounds["disk queue_depth"] = int(depth)
    return bounds


def _share_at(depths: Sequence[Depth]) -> dict[str, float]:
    """The time at each depth over all repeats, as shares that add up to 1."""
    found: Counter[int] = Counter()
    for depth in depths:
        found.update({at: share / len(depths) for at, share in depth.share_at.items()})
    return {str(at): round(share, 6) for at, share in sorted(found.items())}


def _result(
    stage: Stage, point: _Seen, layer: str, disk: Disk, title: str, trace: BlockTrace | None, why_not: str
) -> RunResult:
    depths = point.depths[layer]
    flags = sum((Counter(depth.flags) for depth in depths), Counter[str]())
    bounds = _expected(stage, point, layer)
    expected, deepest = min(bounds.values()), max(depth.max for depth in depths)
    how = "lower than expected" if deepest < expected - 1 else "higher than expected" if deepest > expected + 1 else ""
    metrics = {
        "writeback.inflight_mean": Metric("requests", "higher", [depth.mean for depth in depths]),
        "writeback.inflight_max": Metric("requests", "higher", [depth.max for depth in depths]),
    }
    if layer == LOOP:
        cost = [100 * (plain / traced - 1) for plain, traced in zip(point.untraced, point.traced, strict=True)]
        metrics |= {
            "writeback.throughput": Metric("MiB/s", "higher", point.traced),
            "writeback.throughput_untraced": Metric("MiB/s", "higher", point.untraced),
            "trace.cost": Metric("%", "lower", cost),
        }
    counted = {"expected": point.counted[layer], "seen": sum(depth.requests for depth in depths)}
    caveats = [] if trace else [Caveat.sampled_depth]
    if trace and trace.other_tracer:
        caveats.append(Caveat.other_tracer)
    return RunResult(
        test="inflight_depth",
        title=title,
        params={"batch_size": point.batch_size, "layer": layer, "data_bytes": stage.profile.inflight.data},
        metrics=metrics,
        # Only zram writes to the backing device; the disk below has other writers.
        checks={"write requests (disk statistics)": counted} if trace and layer == LOOP else {},
        caveats=caveats,
        facts={
            "how": "block events" if trace else "sampled counters",
            "device": disk.name,
            "time_at_depth": _share_at(depths),
            "flags": dict(flags),
            "sync": any("S" in name for name in flags) if flags else None,
            "expected_max": expected,
            "expected_from": bounds,
            "verdict": how or "as expected",
        }
        | ({"no_trace_because": why_not} if why_not else {})
        | ({"other_tracer": trace.other_tracer} if trace and trace.other_tracer else {}),
    )
