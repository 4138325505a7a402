"""Compressors, measured in turns: each algorithm of the kernel, with and without writeback of pages as they are stored.

Each turn of a point configures zram with it, fills and writes back once, and times its share of faults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from devices.profiles.sections import PageKind
from devices.zram import ValueKept
from records import metrics as m
from records import tests as t
from records.model import RunResult
from workloads.bench import Bench
from workloads.faults import FaultSamples, slot_results
from workloads.stage import Stage
from workloads.timed_writeback import TimedWriteback, fill_and_write_back, metrics, writeback_caveats, written_check
from workloads.turns import FaultShares, NotAvailable, in_turns, joined, not_measurable

# What phones hold, as far as is known; how well an algorithm does depends on little else.
PAGES = PageKind.mixed


@dataclass(frozen=True, slots=True)
class Compressor:
    """A point. ``compressed_writeback`` is None where the kernel always decompresses pages before it writes them."""

    algorithm: str
    compressed_writeback: bool | None

    @property
    def name(self) -> str:
        """Return the name in test ids and file names."""
        suffix = {None: "", False: "-decompressed", True: "-compressed"}[self.compressed_writeback]
        return f"{self.algorithm}{suffix}"


@dataclass(slots=True)
class MeasuredCompressor:
    """Writebacks and shares of faults; ``error`` when the compressor could not be measured."""

    runs: list[TimedWriteback] = field(default_factory=list)
    faults: list[FaultSamples] = field(default_factory=list)
    error: BaseException | None = None


def compressors(algorithms: Sequence[str], *, has_compressed_writeback: bool) -> list[Compressor]:
    """Return the points: each algorithm with both ways of writing back, or with the only one that the kernel has."""
    ways = (False, True) if has_compressed_writeback else (None,)
    return [Compressor(algorithm, way) for algorithm in algorithms for way in ways]


def measure_compressors(bench: Bench, measured: Mapping[Compressor, MeasuredCompressor]) -> None:
    """Measure all of them in turns.

    ``measured`` is filled on the way, so it keeps what it has if the phone is lost. A compressor that fails gets its
    ``error``, and the others are measured still.
    """
    stage, profile, wanted = bench.stage, bench.stage.profile, bench.stage.profile.compressors
    faults = FaultShares(profile.faults.samples, wanted.repeats)
    pages, batch_size = stage.pages(wanted.data), batch_size_of(stage)
    bench.progress("compressors: allocating the backing file's blocks")
    _allocate_blocks(bench, max(pages, faults.share))
    offered = stage.zram.read("comp_algorithm").replace("[", "").replace("]", "").split()

    def turn(point: Compressor, repeat: int) -> None:
        if point.algorithm not in offered:
            raise NotAvailable(f"{point.algorithm}: this kernel offers {', '.join(offered)}")
        bench.progress(f"{point.name}, repeat {repeat + 1} of {wanted.repeats}")
        mine = replace(stage, comp_algorithm=point.algorithm, compressed_writeback=point.compressed_writeback is True)
        try:
            mine.as_block_device(pages)
        except ValueKept as error:
            # Where a module parameter fixes the algorithm, another is taken with success and ignored.
            raise NotAvailable(f"{point.algorithm}: {error}") from error
        run = fill_and_write_back(bench.on(mine), mine.all_pages(pages), pages=PAGES, batch_size=batch_size)
        measured[point].runs.append(run)
        measured[point].faults += faults.measure(bench.on(mine), repeat)

    for point, error in in_turns(list(measured), wanted.repeats, bench.seed, turn).items():
        measured[point].error = error


def batch_size_of(stage: Stage) -> int | None:
    """Return the batch size at which compressors are compared; None on a kernel without the attribute."""
    return stage.batch_sizes([stage.profile.compressors.batch_size])[0]


def _allocate_blocks(bench: Bench, pages: int) -> None:
    """Write back once ahead of all points: the first write to a block is slower than all later ones."""
    stage = bench.stage
    stage.as_block_device(pages)
    fill_and_write_back(bench, stage.all_pages(pages), pages=PageKind.incompressible, batch_size=None)


def compressor_results(bench: Bench, point: Compressor, measured: MeasuredCompressor) -> list[RunResult]:
    """Make a record for the writebacks and one for the faults on each kind of page, as far as they were measured."""
    records = [_writeback_result(bench, point, measured.runs)] if measured.runs else []
    if not measured.faults:
        return records
    faults = joined(measured.faults)
    return records + slot_results(
        bench, faults, test=t.COMPRESSOR_FAULTS.name, raw=f"compressor-{point.name}",
        params=lambda slot: {**_params(point), "slot": slot},
        facts={"probe_overhead_ns": faults.overhead, "comp_algorithm_read_back": faults.algorithm},
    )  # fmt: skip


def _params(point: Compressor) -> dict[str, Any]:
    return {"comp_algorithm": point.algorithm, "compressed_writeback": point.compressed_writeback}


def _writeback_result(bench: Bench, point: Compressor, runs: Sequence[TimedWriteback]) -> RunResult:
    stage, batch_size = bench.stage, batch_size_of(bench.stage)
    before = [run.timed.mm_before for run in runs]
    ratio = m.RATIO.of([mm.orig_data_size / mm.compr_data_size for mm in before])
    return RunResult(
        test=t.COMPRESSOR.name,
        title=bench.title,
        params={**_params(point), "batch_size": batch_size, "data_bytes": stage.profile.compressors.data},
        metrics=metrics(runs) | ratio,
        checks=written_check(runs),
        caveats=[
            *writeback_caveats(batch_size, len(runs), buffered=stage.backing.direct_io is False),
            *not_measurable(stage),
        ],
        facts={"pages": str(PAGES), "mm_stat_before_writeback": before[-1].facts()},
    )
