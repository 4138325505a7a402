"""Writeback throughput over batch sizes, in rounds.

Each turn fills slots that were freed among written-back ones and writes them back, so every point meets the same slots
and the same free blocks (workloads/free_slots.py): for ``sequential`` a contiguous half, the ideal case; for ``sparse``
every second block or so; for ``scattered`` blocks all over the backing device, as on a phone that has been in use.

Each round also writes back parts of the data, for throughput against size. Where the profile leaves the size of the
data open, a first writeback at the largest batch decides it: start and end of a writeback that is over in no time weigh
more than what lies between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from base.kernel import DEFAULT_BATCH_SIZE
from base.units import KIB, MIB, format_size
from devices.profiles.sections import MOST_BATCHES_IN_PARTS, PageKind, SlotOrder
from devices.storage import read_stats
from devices.write_booster import fits_buffer, held_back
from records import tests as t
from records.model import Caveat, RunResult
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.free_slots import FreeSlots, free_more, make_free_slots
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.timed_writeback import (
    TimedWriteback,
    fill_and_write_back,
    metrics,
    writeback_caveats,
    written_check,
)

# How long a writeback lasts at the fastest batch where its size may be chosen, and below which it is in doubt.
WANTED_S, SHORT_S = 0.5, 0.3
# The rate of the first writeback is that of a short one; a longer one may be faster.
_ROOM = 1.15
_STEP = 4 * MIB
FIRST_DATA = 8 * MIB
_LOOKS = 3
# Batch sizes that are told apart although one is not the other's control.
_NEIGHBOURS = (32, 64)
Batch = int | None


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One batch size at all of the data, or at a part of them: the data divided by ``part``."""

    batch_size: Batch
    part: int = 1


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
    parts: Sequence[int] = ()

    @property
    def points(self) -> list[SweepPoint]:
        """Return all points: each batch size at all of the data, the first and the kernel's own at parts of them."""
        in_parts = [batch for batch in self.batch_sizes if batch in (self.batch_sizes[0], DEFAULT_BATCH_SIZE)]
        whole = [SweepPoint(batch) for batch in self.batch_sizes]
        return [*whole, *(SweepPoint(batch, part) for part in self.parts for batch in in_parts)]

    @property
    def ratios(self) -> list[tuple[SweepPoint, SweepPoint]]:
        """Return what is divided by what until it is known: each batch size by the first, and 64 by 32.

        Parts are as many rounds as these take.
        """
        first, *others = self.batch_sizes
        near = [(large, small) for small, large in pairwise(self.batch_sizes) if (small, large) == _NEIGHBOURS]
        pairs = dict.fromkeys([*((batch, first) for batch in others), *near])
        return [(SweepPoint(batch), SweepPoint(control)) for batch, control in pairs]


@dataclass(slots=True)
class MeasuredSweep:
    """What was measured of a sweep; ``data_bytes`` is the size that was chosen."""

    plan: SweepPlan
    data_bytes: int = 0
    rounds: Rounds[SweepPoint, TimedWriteback] = field(default_factory=Rounds)
    warmups: dict[SweepPoint, list[TimedWriteback]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    caveats: list[Caveat] = field(default_factory=list)


def sweeps(stage: Stage) -> list[SweepPlan]:
    """Return the profile's sweeps: one for each data size, kind of pages and order of slots."""
    wanted = stage.profile.sweep
    batches = stage.batch_sizes(wanted.batch_sizes)
    return [
        SweepPlan(data, pages, order, batches, wanted.repeats, wanted.warmups, wanted.parts)
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
    rounds = fewest * len(sweep.points) + sweep.warmups * len(sweep.batch_sizes)
    return 1 + (sweep.data_bytes is None) + rounds


def measure_sweep(bench: Bench, sweep: SweepPlan, into: MeasuredSweep | None = None) -> list[RunResult]:
    """Measure all batch sizes of a sweep in rounds; return a record for each.

    ``into`` takes what is measured, for a caller that keeps it when the phone is lost. Raises NothingMeasured when
    bd_stat counts other pages than were to be written.
    """
    stage, found = bench.stage, into or MeasuredSweep(sweep)
    held_before = held_back(stage.device, stage.disk)
    slots = _prepare(bench, found)
    disks = [stage.backing.name, *([stage.disk.name] if stage.disk else [])]
    before = read_stats(stage.device, *disks)
    written_mib = 0.0

    def visit(point: SweepPoint, turn: int) -> TimedWriteback:
        nonlocal written_mib
        area = slots.part(point.part)
        run = fill_and_write_back(bench, area, pages=sweep.pages, batch_size=point.batch_size)
        bench.probe.free(area)
        written_mib += run.mib
        return run

    for number in range(sweep.warmups):
        for point in map(SweepPoint, sweep.batch_sizes):
            bench.progress(f"warm-up {number + 1}, {_told(found, point)}")
            found.warmups.setdefault(point, []).append(visit(point, 0))
    measure_in_rounds(
        bench, sweep.points, visit, plan=bench.rounds.at_most(sweep.repeats), primary=lambda run: run.mib_s,
        ratios=sweep.ratios, told=lambda point: _told(found, point), into=found.rounds,
    )  # fmt: skip
    after = read_stats(stage.device, *disks)
    held_after = held_back(stage.device, stage.disk)
    if fits_buffer(held_before, held_after, written_mib * MIB):
        found.caveats.append(Caveat.write_booster)
    found.facts |= {
        "allocating_pass_mib_s": round(slots.allocating_mib_s, 2),
        # Of the whole sweep, its warm-ups included: more than the pages is write amplification.
        "disks_written_mib": {
            name: round((after[name].written_bytes - before[name].written_bytes) / MIB, 1) for name in disks
        },
        "pages_written_mib": round(written_mib, 1),
        "held_back": {"before": held_before.facts(), "after": held_after.facts()},
    }
    return sweep_results(bench, found)


def sweep_results(bench: Bench, found: MeasuredSweep) -> list[RunResult]:
    """Make a record for each point that has a turn."""
    return [_result(bench, found, point) for point in found.plan.points if found.rounds.of(point)]


def _told(found: MeasuredSweep, point: SweepPoint) -> str:
    size = format_size(found.data_bytes // point.part)
    return f"batch {point.batch_size or 1}, {found.plan.order} {found.plan.pages}, {size}"


def _prepare(bench: Bench, found: MeasuredSweep) -> FreeSlots:
    """Decide how much is written back, and make the slots for it."""
    sweep = found.plan
    found.data_bytes = first = sweep.data_bytes or min(FIRST_DATA, most_data(bench.stage))
    bench.progress("allocating the backing file's blocks")
    slots = make_free_slots(bench, first, pages=sweep.pages, order=sweep.order)
    if sweep.data_bytes is not None:
        return slots

    def look(batch: Batch) -> TimedWriteback:
        bench.progress(f"deciding how much to write back, at batch {batch or 1}")
        run = fill_and_write_back(bench, slots.pages, pages=sweep.pages, batch_size=batch)
        found.warmups.setdefault(SweepPoint(batch), []).append(run)
        bench.probe.free(slots.pages)
        return run

    # The fastest of the large batches decides. It is looked at again: one look is off by up to a half, and the fastest
    # of several was lucky.
    looks = {batch: look(batch) for batch in sweep.batch_sizes[-_LOOKS:]}
    fastest = max(looks, key=lambda batch: looks[batch].mib_s)
    run = min(looks[fastest], look(fastest), key=lambda run: run.mib_s)
    found.facts["sized_by_mib_s"] = round(run.mib_s, 2)
    size = min(lasting(run, first), most_data(bench.stage))
    if size <= first:
        return slots
    found.data_bytes = size
    bench.progress(f"allocating the backing file's blocks for {format_size(size)}")
    return free_more(bench, slots, size, pages=sweep.pages)


def lasting(run: TimedWriteback, size: int) -> int:
    """Return the next multiple of 4 MiB that such a writeback takes long enough for."""
    wanted = size * WANTED_S * 1e9 / run.timed.wall_ns * _ROOM
    return _STEP * max(1, math.ceil(wanted / _STEP))


def most_data(stage: Stage) -> int:
    """Return the most data of a sweep whose size is open, in bytes, a whole number of MiB.

    A quarter of the backing device, a half of zram, a third of the memory that is there, and what may be written in a
    run, of which eight rounds shall take a half at most.
    """
    profile, sweep = stage.profile, stage.profile.sweep
    wholes = len(sweep.batch_sizes) + MOST_BATCHES_IN_PARTS * sum(1 / part for part in sweep.parts)
    points = math.ceil(wholes) * len(sweep.pages) * len(sweep.order)
    meminfo = dict(line.split()[:2] for line in stage.device.read("/proc/meminfo").splitlines())
    available = int(meminfo["MemAvailable:"]) * KIB
    most = min(
        stage.backing.size_bytes // 4, profile.zram.disksize // 2, available // 3,
        profile.limits.written_per_run // (2 * RoundsPlan().fewest * points),
    )  # fmt: skip
    return max(MIB, 1 << (most.bit_length() - 1))


def _result(bench: Bench, found: MeasuredSweep, point: SweepPoint) -> RunResult:
    rounds, sweep, buffered = found.rounds, found.plan, bench.stage.backing.direct_io is False
    batch, stage = point.batch_size, bench.stage
    runs, warmups = rounds.values(point), found.warmups.get(point, [])
    # As many whole pages as the probe wrote.
    data_bytes = stage.pages(found.data_bytes) // point.part * stage.page_bytes
    is_short = sorted(run.timed.wall_ns for run in runs)[len(runs) // 2] < SHORT_S * 1e9
    return RunResult(
        test=t.THROUGHPUT.name,
        title=bench.title,
        params={
            "batch_size": batch, "data_bytes": data_bytes, "pages": str(sweep.pages), "order": str(sweep.order),
        },
        metrics=metrics(runs),
        warmups=metrics(warmups) if warmups else {},
        checks=written_check(runs),
        caveats=[
            *writeback_caveats(batch, len(runs), buffered=buffered),
            *([Caveat.short_writeback] if is_short else []),
            *found.caveats,
            *rounds.caveats(point),
        ],
        facts=found.facts | rounds.facts(),
        turns=rounds.turns(point),
    )  # fmt: skip
