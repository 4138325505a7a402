"""Compressors, visited in rounds: each algorithm of the kernel, with and without writeback of pages as they are stored.

Each turn of a point configures zram with it, fills and writes back once, and times its share of faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from devices.profiles.sections import PageKind
from devices.zram import ValueKept, offered
from records import metrics as m
from records import tests as t
from records.model import RunResult
from workloads.bench import Bench
from workloads.faults import READS_CHECK, FaultSamples
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.timed_writeback import TimedWriteback, fill_and_write_back, metrics, writeback_caveats, written_check
from workloads.turns import NotAvailable, faults_by_turn, measure_share, not_measurable, share_of_faults


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


@dataclass(frozen=True, slots=True)
class CompressorTurn:
    """What one turn measured: a writeback, and faults where they can be measured."""

    run: TimedWriteback
    faults: FaultSamples | None


CompressorRounds = Rounds[Compressor, CompressorTurn]


def compressors(algorithms: Sequence[str], *, has_compressed_writeback: bool) -> list[Compressor]:
    """Return the points: each algorithm with both ways of writing back, or with the only one that the kernel has."""
    ways = (False, True) if has_compressed_writeback else (None,)
    return [Compressor(algorithm, way) for algorithm in algorithms for way in ways]


def measure_compressors(bench: Bench, points: Sequence[Compressor], into: CompressorRounds) -> None:
    """Measure all of them in rounds.

    ``into`` is filled on the way, so it keeps what it has if the phone is lost. A compressor that fails is among its
    ``failed``, and the others are measured still.
    """
    stage = bench.stage
    bench = replace(bench, rounds=bench.rounds.at_most(stage.profile.compressors.repeats))
    pages, batch_size = stage.pages(stage.profile.compressors.data), batch_size_of(stage)
    content = stage.profile.compressors.pages
    bench.progress("compressors: allocating the backing file's blocks")
    _allocate_blocks(bench, max(pages, share_of_faults(bench)))
    there = offered(stage.zram.read("comp_algorithm"))

    def turn(point: Compressor, number: int) -> CompressorTurn:
        if point.algorithm not in there:
            raise NotAvailable(f"{point.algorithm}: this kernel offers {', '.join(there)}")
        mine = replace(stage, comp_algorithm=point.algorithm, compressed_writeback=point.compressed_writeback is True)
        try:
            mine.as_block_device(pages)
        except ValueKept as error:
            # Where a module parameter fixes the algorithm, another is taken with success and ignored.
            raise NotAvailable(f"{point.algorithm}: {error}") from error
        run = fill_and_write_back(bench.on(mine), mine.all_pages(pages), pages=content, batch_size=batch_size)
        return CompressorTurn(run, measure_share(bench.on(mine), number, content=content))

    first, *others = points
    measure_in_rounds(
        bench, points, turn, into=into, leave_out=True, told=lambda point: point.name,
        primary=lambda measured: measured.run.mib_s, ratios=[(other, first) for other in others],
    )  # fmt: skip


def batch_size_of(stage: Stage) -> int | None:
    """Return the batch size at which compressors are compared; None on a kernel without the attribute."""
    return stage.batch_sizes([stage.profile.compressors.batch_size])[0]


def _allocate_blocks(bench: Bench, pages: int) -> None:
    """Write back once ahead of all points: the first write to a block is slower than all later ones."""
    stage = bench.stage
    stage.as_block_device(pages)
    fill_and_write_back(bench, stage.all_pages(pages), pages=PageKind.incompressible, batch_size=None)


def compressor_results(bench: Bench, point: Compressor, rounds: CompressorRounds) -> list[RunResult]:
    """Make a record for the writebacks and one for the faults on each kind of page, as far as they were measured."""
    if not rounds.of(point):
        return []
    written = _writeback_result(bench, point, rounds)
    if not _faults_of(point, rounds):
        return [written]
    return [written, *(_faults_result(bench, point, slot, rounds) for slot in ("ram", "written_back"))]


def _faults_of(point: Compressor, rounds: CompressorRounds) -> list[FaultSamples]:
    return [turn.faults for turn in rounds.values(point) if turn.faults is not None]


def _faults_result(bench: Bench, point: Compressor, slot: str, rounds: CompressorRounds) -> RunResult:
    found = _faults_of(point, rounds)
    latencies = [faults.ram_ns if slot == "ram" else faults.written_back_ns for faults in found]
    count = sum(part.size for part in latencies)
    read = {"expected": count, "seen": sum(faults.bd_reads for faults in found)}
    return RunResult(
        test=t.COMPRESSOR_FAULTS.name,
        title=bench.title,
        params={**_params(bench, point), "slot": slot},
        metrics=m.MAJOR_FAULTS.of([count]),
        raw=faults_by_turn(bench, f"compressor-{point.name}-{slot}", latencies),
        checks={READS_CHECK: read} if slot == "written_back" else {},
        caveats=rounds.caveats(point),
        facts={
            "probe_overhead_ns": found[0].overhead,
            "comp_algorithm_read_back": found[0].algorithm,
            **rounds.facts(),
        },
        turns=rounds.turns(point),
    )


def _params(bench: Bench, point: Compressor) -> dict[str, Any]:
    return {
        "comp_algorithm": point.algorithm,
        "compressed_writeback": point.compressed_writeback,
        "pages": str(bench.stage.profile.compressors.pages),
    }


def _writeback_result(bench: Bench, point: Compressor, rounds: CompressorRounds) -> RunResult:
    runs = [turn.run for turn in rounds.values(point)]
    stage, batch_size = bench.stage, batch_size_of(bench.stage)
    before = [run.timed.mm_before for run in runs]
    ratio = m.RATIO.of([mm.orig_data_size / mm.compr_data_size for mm in before])
    return RunResult(
        test=t.COMPRESSOR.name,
        title=bench.title,
        params={**_params(bench, point), "batch_size": batch_size, "data_bytes": stage.profile.compressors.data},
        metrics=metrics(runs) | ratio,
        checks=written_check(runs),
        caveats=[
            *writeback_caveats(batch_size, len(runs), buffered=stage.backing.direct_io is False),
            *rounds.caveats(point),
            *not_measurable(stage),
        ],
        facts={"mm_stat_before_writeback": before[-1].facts(), **rounds.facts()},
        turns=rounds.turns(point),
    )
