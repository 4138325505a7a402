"""Writeback throughput over batch sizes, in rounds.

A zram twice as large as the data set is filled and written back once, which allocates the backing file's blocks. Then
half of it is freed: a contiguous half (``sequential``) or randomly chosen pages (``random``). Each turn fills and
writes back just that half, so every point meets the same slots and the same free blocks: for ``random`` a sparse block
bitmap, as on a phone that has been in use, for ``sequential`` the ideal case.

Where the profile leaves the size of the data open, a first writeback at the largest batch decides it: start and end of
a writeback that is over in no time weigh more than what lies between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from base.units import KIB, MIB
from devices.probe.commands import DevicePages
from devices.profiles.sections import PageKind, SlotOrder
from devices.storage import read_stats
from records import tests as t
from records.model import Caveat, RunResult
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.timed_writeback import (
    TimedWriteback,
    fill_and_write_back,
    metrics,
    prepare_half,
    writeback_caveats,
    written_check,
)

# How long a writeback lasts at the fastest batch where its size may be chosen, and below which it is in doubt.
WANTED_S, SHORT_S = 0.5, 0.3
# The rate of the first writeback is that of a short one; a longer one may be faster.
_ROOM = 1.15
_STEP = 4 * MIB
_FIRST = 8 * MIB
_LOOKS = 3
# Batch sizes that are told apart although one is not the other's control.
_NEIGHBOURS = (32, 64)
Batch = int | None


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """One test's share of the sweep.

    ``data_bytes`` None: as much as a writeback of half a second takes. ``batch_sizes`` (None,) stands for a kernel
    without the attribute. ``repeats`` is the most rounds, ``warmups`` are rounds before those.
    """

    data_bytes: int | None
    pages: PageKind
    order: SlotOrder
    batch_sizes: Sequence[Batch]
    repeats: int
    warmups: int

    @property
    def ratios(self) -> list[tuple[Batch, Batch]]:
        """Return what is divided by what: each batch size by the first, and 64 by 32."""
        first, *others = self.batch_sizes
        near = [(large, small) for small, large in pairwise(self.batch_sizes) if (small, large) == _NEIGHBOURS]
        return list(dict.fromkeys([*((batch, first) for batch in others), *near]))


@dataclass(slots=True)
class MeasuredSweep:
    """What was measured of a sweep; ``data_bytes`` is the size that was chosen."""

    plan: SweepPlan
    data_bytes: int = 0
    rounds: Rounds[Batch, TimedWriteback] = field(default_factory=Rounds)
    warmups: dict[Batch, list[TimedWriteback]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def sweeps(stage: Stage) -> list[SweepPlan]:
    """Return the profile's sweeps: one for each data size, kind of pages and order of slots."""
    wanted = stage.profile.sweep
    batches = stage.batch_sizes(wanted.batch_sizes)
    return [
        SweepPlan(data, pages, order, batches, wanted.repeats, wanted.warmups)
        for data in wanted.sizes
        for pages in wanted.pages
        for order in wanted.order
    ]


def sweep_name(data_bytes: int | None, pages: str, order: str) -> str:
    """Return what a sweep is called where tests are selected and listed."""
    size = f"{data_bytes // MIB}MiB-" if data_bytes else ""
    return f"{size}{pages}-{order}"


def steps_of(sweep: SweepPlan) -> int:
    """Return how many steps ``measure_sweep`` reports at least."""
    fewest = min(sweep.repeats, RoundsPlan().fewest)
    return 1 + (sweep.data_bytes is None) + (fewest + sweep.warmups) * len(sweep.batch_sizes)


def measure_sweep(bench: Bench, sweep: SweepPlan, into: MeasuredSweep | None = None) -> list[RunResult]:
    """Measure all batch sizes of a sweep in rounds; return a record for each.

    ``into`` takes what is measured, for a caller that keeps it when the phone is lost. Raises NothingMeasured when
    bd_stat counts other pages than were to be written.
    """
    stage, found = bench.stage, into or MeasuredSweep(sweep)
    half, preparation = _prepare(bench, found)
    disks = [stage.backing.name, *([stage.disk.name] if stage.disk else [])]
    before = read_stats(stage.device, *disks)
    written_mib = 0.0

    def visit(batch: Batch, turn: int) -> TimedWriteback:
        nonlocal written_mib
        run = fill_and_write_back(bench, half, pages=sweep.pages, batch_size=batch)
        bench.probe.free(half)
        written_mib += run.mib
        return run

    for number in range(sweep.warmups):
        for batch in sweep.batch_sizes:
            bench.progress(f"warm-up {number + 1}, {_told(found, batch)}")
            found.warmups.setdefault(batch, []).append(visit(batch, 0))
    measure_in_rounds(
        bench, sweep.batch_sizes, visit, plan=bench.rounds.at_most(sweep.repeats), primary=lambda run: run.mib_s,
        ratios=sweep.ratios, told=lambda batch: _told(found, batch), into=found.rounds,
    )  # fmt: skip
    after = read_stats(stage.device, *disks)
    found.facts |= {
        "allocating_pass_mib_s": round(preparation.mib_s, 2),
        # Of the whole sweep, its warm-ups included: more than the pages is write amplification.
        "disks_written_mib": {
            name: round((after[name].written_bytes - before[name].written_bytes) / MIB, 1) for name in disks
        },
        "pages_written_mib": round(written_mib, 1),
    }
    return sweep_results(bench, found)


def sweep_results(bench: Bench, found: MeasuredSweep) -> list[RunResult]:
    """Make a record for each batch size that has a turn."""
    return [_result(bench, found, batch) for batch in found.plan.batch_sizes if found.rounds.of(batch)]


def _told(found: MeasuredSweep, batch: Batch) -> str:
    return f"batch {batch or 1}, {found.plan.order} {found.plan.pages}, {found.data_bytes // MIB} MiB"


def _prepare(bench: Bench, found: MeasuredSweep) -> tuple[DevicePages, TimedWriteback]:
    """Decide how much is written back, and allocate the blocks for it; as ``prepare_half``."""
    sweep = found.plan
    first = sweep.data_bytes or min(_FIRST, most_data(bench.stage))
    half, preparation = _allocate(bench, found, first)
    if sweep.data_bytes is not None:
        return half, preparation
    # The fastest of the large batches decides: a single look is off by as much as a half on a busy phone.
    for batch in sweep.batch_sizes[-_LOOKS:]:
        bench.progress(f"deciding how much to write back, at batch {batch or 1}")
        found.warmups[batch] = [fill_and_write_back(bench, half, pages=sweep.pages, batch_size=batch)]
        bench.probe.free(half)
    run = max((runs[-1] for runs in found.warmups.values()), key=lambda run: run.mib_s)
    found.facts["sized_by_mib_s"] = round(run.mib_s, 2)
    size = min(_lasting(run, first), most_data(bench.stage))
    return (half, preparation) if size <= first else _allocate(bench, found, size)


def _allocate(bench: Bench, found: MeasuredSweep, size: int) -> tuple[DevicePages, TimedWriteback]:
    found.data_bytes = size
    bench.progress(f"allocating the backing file's blocks ({2 * size // MIB} MiB)")
    return prepare_half(bench, size, pages=found.plan.pages, order=found.plan.order)


def _lasting(run: TimedWriteback, size: int) -> int:
    """Return the next multiple of 4 MiB that such a writeback takes long enough for."""
    wanted = size * WANTED_S * 1e9 / run.timed.wall_ns * _ROOM
    return _STEP * max(1, math.ceil(wanted / _STEP))


def most_data(stage: Stage) -> int:
    """Return the most data of a sweep whose size is open, in bytes, a whole number of MiB.

    A quarter of the backing device, a half of zram, a third of the memory that is there, and what may be written in a
    run, of which eight rounds shall take a half at most.
    """
    profile = stage.profile
    points = len(profile.sweep.batch_sizes) * len(profile.sweep.pages) * len(profile.sweep.order)
    meminfo = dict(line.split()[:2] for line in stage.device.read("/proc/meminfo").splitlines())
    available = int(meminfo["MemAvailable:"]) * KIB
    most = min(
        stage.backing.size_bytes // 4, profile.zram.disksize // 2, available // 3,
        profile.limits.written_per_run // (2 * RoundsPlan().fewest * points),
    )  # fmt: skip
    return max(MIB, 1 << (most.bit_length() - 1))


def _result(bench: Bench, found: MeasuredSweep, batch: Batch) -> RunResult:
    rounds, sweep, buffered = found.rounds, found.plan, bench.stage.backing.direct_io is False
    runs, warmups = rounds.values(batch), found.warmups.get(batch, [])
    is_short = sorted(run.timed.wall_ns for run in runs)[len(runs) // 2] < SHORT_S * 1e9
    return RunResult(
        test=t.THROUGHPUT.name,
        title=bench.title,
        params={
            "batch_size": batch, "data_bytes": found.data_bytes, "pages": str(sweep.pages), "order": str(sweep.order),
        },
        metrics=metrics(runs),
        warmups=metrics(warmups) if warmups else {},
        checks=written_check(runs),
        caveats=[
            *writeback_caveats(batch, len(runs), buffered=buffered),
            *([Caveat.short_writeback] if is_short else []),
            *rounds.caveats(batch),
        ],
        facts=found.facts | rounds.facts(),
        turns=rounds.turns(batch),
    )  # fmt: skip
