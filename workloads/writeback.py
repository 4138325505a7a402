"""Writeback throughput over batch sizes.

A zram twice as large as the data set is filled and written back once, which allocates the backing file's blocks. Then
half of it is freed: a contiguous half (``sequential``) or randomly chosen pages (``random``). Each measurement fills
and writes back just that half, so every point meets the same slots and the same free blocks: for ``random`` a sparse
block bitmap, as on a phone that has been in use, for ``sequential`` the ideal case.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from base.units import MIB
from devices.profiles.sections import PageKind, SlotOrder
from devices.storage import read_stats
from records import tests as t
from records.model import RunResult
from workloads.bench import Bench
from workloads.stage import Stage
from workloads.timed_writeback import (
    TimedWriteback,
    fill_and_write_back,
    metrics,
    prepare_half,
    writeback_caveats,
    written_check,
)


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """One test's share of the sweep. ``batch_sizes`` (None,) stands for a kernel without the attribute."""

    data_bytes: int
    pages: PageKind
    order: SlotOrder
    batch_sizes: Sequence[int | None]
    repeats: int
    warmups: int


@dataclass(slots=True)
class SweepPoint:
    """The writebacks at one batch size."""

    batch_size: int | None
    runs: list[TimedWriteback] = field(default_factory=list)
    warmups: list[TimedWriteback] = field(default_factory=list)


def sweeps(stage: Stage) -> list[SweepPlan]:
    """Return the profile's sweeps: one for each data size, kind of pages and order of slots."""
    wanted = stage.profile.sweep
    batches = stage.batch_sizes(wanted.batch_sizes)
    return [
        SweepPlan(data, pages, order, batches, wanted.repeats, wanted.warmups)
        for data in wanted.data
        for pages in wanted.pages
        for order in wanted.order
    ]


def sweep_name(data_bytes: int, pages: str, order: str) -> str:
    """Return what a sweep is called where tests are selected and listed."""
    return f"{data_bytes // MIB}MiB-{pages}-{order}"


def steps_of(sweep: SweepPlan) -> int:
    """Return how many steps ``measure_sweep`` reports."""
    return 1 + (sweep.repeats + sweep.warmups) * len(sweep.batch_sizes)


def measure_sweep(bench: Bench, sweep: SweepPlan) -> list[RunResult]:
    """Measure all batch sizes of a sweep in an order that is shuffled for each repeat; return a record for each.

    Raises NothingMeasured when bd_stat counts other pages than were to be written.
    """
    bench.progress(f"allocating the backing file's blocks ({2 * sweep.data_bytes // MIB} MiB)")
    stage = bench.stage
    half, preparation = prepare_half(bench, sweep.data_bytes, pages=sweep.pages, order=sweep.order)
    points = [SweepPoint(batch_size) for batch_size in sweep.batch_sizes]
    shuffler = random.Random(bench.seed)
    disks = [stage.backing.name, *([stage.disk.name] if stage.disk else [])]
    before = read_stats(stage.device, *disks)
    for repeat in range(sweep.warmups + sweep.repeats):
        for point in shuffler.sample(points, len(points)):
            bench.progress(f"batch {point.batch_size or 1}, {sweep.order} {sweep.pages}, {sweep.data_bytes // MIB} MiB")
            run = fill_and_write_back(bench, half, pages=sweep.pages, batch_size=point.batch_size)
            (point.warmups if repeat < sweep.warmups else point.runs).append(run)
            bench.probe.free(half)
    after = read_stats(stage.device, *disks)
    facts = {
        "allocating_pass_mib_s": round(preparation.mib_s, 2),
        # Of the whole sweep, its warm-ups included: more than the pages is write amplification.
        "disks_written_mib": {
            name: round((after[name].written_bytes - before[name].written_bytes) / MIB, 1) for name in disks
        },
        "pages_written_mib": round(sum(run.mib for p in points for run in (*p.warmups, *p.runs)), 1),
    }
    return [_result(bench, sweep, point, facts) for point in points]


def _result(bench: Bench, sweep: SweepPlan, point: SweepPoint, facts: Mapping[str, Any]) -> RunResult:
    buffered = bench.stage.backing.direct_io is False
    return RunResult(
        test=t.THROUGHPUT.name,
        title=bench.title,
        params={
            "batch_size": point.batch_size, "data_bytes": sweep.data_bytes, "pages": str(sweep.pages),
            "order": str(sweep.order),
        },
        metrics=metrics(point.runs),
        warmups=metrics(point.warmups) if point.warmups else {},
        checks=written_check(point.runs),
        caveats=writeback_caveats(point.batch_size, sweep.repeats, buffered=buffered),
        facts=facts,
    )  # fmt: skip
