"""Writeback throughput over batch sizes.

A zram twice as large as the data set is filled and written back once, which allocates the backing file's blocks. Then
half of it is freed: a contiguous half (``sequential``) or randomly chosen pages (``random``). What is measured fills
and writes back just that half, again and again, so every point meets the same slots and the same free blocks: for
``random`` a sparse block bitmap, as on a phone that has been in use, for ``sequential`` the ideal case.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from base.units import MIB
from devices.probe.session import ProbeSession
from devices.profiles.sections import PageKind
from devices.storage import read_stats
from records.model import Caveat, RunResult
from workloads.progress import Progress, silent
from workloads.stage import Stage
from workloads.timed_writeback import TimedWriteback, fill_and_write_back, metrics, prepare_half, written_check


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """One test's share of the sweep. ``batch_sizes`` (None,) stands for a kernel without the attribute."""

    data_bytes: int
    pages: PageKind
    order: str
    batch_sizes: Sequence[int | None]
    repeats: int
    warmups: int
    seed: int


@dataclass(slots=True)
class SweepPoint:
    """All measurements at one batch size."""

    batch_size: int | None
    runs: list[TimedWriteback] = field(default_factory=list)
    warmups: list[TimedWriteback] = field(default_factory=list)


def steps_of(sweep: SweepPlan) -> int:
    """How many times ``progress`` is called."""
    return 1 + (sweep.repeats + sweep.warmups) * len(sweep.batch_sizes)


def measure_sweep(
    stage: Stage, probe: ProbeSession, sweep: SweepPlan, *, test: str, title: str, progress: Progress = silent
) -> list[RunResult]:
    """One RunResult per batch size; the order of the points is shuffled within each repeat.

    Raises NothingMeasured when pages written, by bd_stat, are not exactly the pages that were to be written.
    """
    progress(f"allocating the backing file's blocks ({2 * sweep.data_bytes // MIB} MiB)")
    half, preparation = prepare_half(
        stage, probe, sweep.data_bytes, order=sweep.order, pages=sweep.pages, seed=sweep.seed
    )
    points = [SweepPoint(batch_size) for batch_size in sweep.batch_sizes]
    shuffler = random.Random(sweep.seed)
    disks = [stage.backing.name, *([stage.disk.name] if stage.disk else [])]
    before = read_stats(stage.device, *disks)
    for repeat in range(sweep.warmups + sweep.repeats):
        for point in shuffler.sample(points, len(points)):
            progress(f"batch {point.batch_size or 1}, {sweep.order} {sweep.pages}, {sweep.data_bytes // MIB} MiB")
            measured = fill_and_write_back(
                stage, probe, half, pages=sweep.pages, seed=sweep.seed, batch_size=point.batch_size
            )
            (point.warmups if repeat < sweep.warmups else point.runs).append(measured)
            probe.free(half)
    after = read_stats(stage.device, *disks)
    facts = {
        "allocating_pass_mib_s": round(preparation.mib_s, 2),
        # Of the whole sweep, its warm-ups included: more than the pages is write amplification.
        "disks_written_mib": {
            name: round((after[name].written_bytes - before[name].written_bytes) / MIB, 1) for name in disks
        },
        "pages_written_mib": round(sum(run.mib for p in points for run in (*p.warmups, *p.runs)), 1),
    }
    return [_result(stage, sweep, point, test, title, facts) for point in points]


def _result(
    stage: Stage, sweep: SweepPlan, point: SweepPoint, test: str, title: str, facts: dict[str, Any]
) -> RunResult:
    caveats = []
    if point.batch_size is None:
        caveats.append(Caveat.no_batch_size)
    if stage.backing.direct_io is False:
        caveats.append(Caveat.buffered_io)
    if sweep.repeats < 5:
        caveats.append(Caveat.few_repeats)
    return RunResult(
        test=test,
        title=title,
        params={
            "batch_size": point.batch_size, "data_bytes": sweep.data_bytes, "pages": str(sweep.pages),
            "order": sweep.order,
        },
        metrics=metrics(point.runs),
        warmups=metrics(point.warmups) if point.warmups else {},
        checks=written_check(point.runs),
        caveats=caveats,
        facts=facts,
    )  # fmt: skip
