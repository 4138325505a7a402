"""Every compressor of the kernel, with writeback of pages as they are stored where it has that, measured in turns.

Each turn of a point configures zram with it, fills and writes back once, and times its share of faults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.probe.session import ProbeSession
from devices.profiles.sections import PageKind
from records.model import Metric, RunResult
from workloads.faults import FaultSamples
from workloads.progress import Progress, silent
from workloads.stage import Stage
from workloads.timed_writeback import TimedWriteback, fill_and_write_back, metrics, written_check
from workloads.turns import FaultShares, NotAvailable, in_turns, joined, point_caveats

# What phones hold, as far as is known; how well an algorithm does depends on little else.
PAGES = PageKind.mixed


@dataclass(frozen=True, slots=True)
class Compressor:
    """``compressed_writeback`` None: this kernel always decompresses pages before it writes them back."""

    algorithm: str
    compressed_writeback: bool | None

    @property
    def name(self) -> str:
        suffix = {None: "", False: "-decompressed", True: "-compressed"}[self.compressed_writeback]
        return f"{self.algorithm}{suffix}"


@dataclass(slots=True)
class MeasuredCompressor:
    """Replies of ``fill_and_write_back`` and shares of faults; ``error`` when it could not be measured."""

    runs: list[TimedWriteback] = field(default_factory=list)
    faults: list[FaultSamples] = field(default_factory=list)
    error: BaseException | None = None


def compressors(algorithms: Sequence[str], *, has_compressed_writeback: bool) -> list[Compressor]:
    """The points: each algorithm with both ways of writing back, or the one that there is."""
    ways = (False, True) if has_compressed_writeback else (None,)
    return [Compressor(algorithm, way) for algorithm in algorithms for way in ways]


def measure_compressors(
    stage: Stage, probe: ProbeSession, measured: Mapping[Compressor, MeasuredCompressor], seed: int, folder: Path,
    progress: Progress = silent,
) -> None:  # fmt: skip
    """All of them in turns. ``measured`` is filled on the way, so what it has stays if the phone is lost.

    One that fails has its ``error``, and the others are measured still.
    """
    profile, wanted = stage.profile, stage.profile.compressors
    faults = FaultShares(profile.faults.samples, wanted.repeats, seed, folder)
    pages, batch_size = stage.pages(wanted.data), batch_size_of(stage)
    progress("compressors: allocating the backing file's blocks")
    _allocate_blocks(stage, probe, max(pages, faults.share), seed)
    offered = stage.zram.read("comp_algorithm").replace("[", "").replace("]", "").split()

    def turn(point: Compressor, repeat: int) -> None:
        if point.algorithm not in offered:
            raise NotAvailable(f"{point.algorithm}: this kernel offers {', '.join(offered)}")
        progress(f"{point.name}, repeat {repeat + 1} of {wanted.repeats}")
        mine = replace(stage, comp_algorithm=point.algorithm, compressed_writeback=point.compressed_writeback is True)
        mine.as_block_device(pages)
        run = fill_and_write_back(mine, probe, mine.all_pages(pages), pages=PAGES, seed=seed, batch_size=batch_size)
        measured[point].runs.append(run)
        measured[point].faults += faults.measure(mine, probe, repeat)

    for point, error in in_turns(list(measured), wanted.repeats, seed, turn).items():
        measured[point].error = error


def batch_size_of(stage: Stage) -> int | None:
    """The batch size at which compressors are compared; None on a kernel that has none."""
    return stage.profile.compressors.batch_size if stage.has_batch_size else None


def _allocate_blocks(stage: Stage, probe: ProbeSession, pages: int, seed: int) -> None:
    """One pass ahead of all: the first write to a block is slower than all later ones."""
    stage.as_block_device(pages)
    area = stage.all_pages(pages)
    fill_and_write_back(stage, probe, area, pages=PageKind.incompressible, seed=seed, batch_size=None)


def compressor_results(
    stage: Stage, point: Compressor, measured: MeasuredCompressor, title: str,
    save_raw: Callable[[str, npt.NDArray[np.uint64]], str],
) -> list[RunResult]:  # fmt: skip
    """One record for the writebacks, one for the faults on each kind of slot; those for which there is something."""
    records = [_writeback_result(stage, point, measured.runs, title)] if measured.runs else []
    return records + (_fault_results(point, joined(measured.faults), title, save_raw) if measured.faults else [])


def _params(point: Compressor) -> dict[str, Any]:
    return {"comp_algorithm": point.algorithm, "compressed_writeback": point.compressed_writeback}


def _writeback_result(stage: Stage, point: Compressor, runs: Sequence[TimedWriteback], title: str) -> RunResult:
    batch_size = batch_size_of(stage)
    before = [run.timed.mm_before for run in runs]
    ratio = Metric("x", "higher", [mm.orig_data_size / mm.compr_data_size for mm in before])
    return RunResult(
        test="compressor",
        title=title,
        params={**_params(point), "batch_size": batch_size, "data_bytes": stage.profile.compressors.data},
        metrics={**metrics(runs), "zram.ratio": ratio},
        checks=written_check(runs),
        caveats=point_caveats(batch_size, len(runs), buffered=stage.backing.direct_io is False),
        facts={"pages": str(PAGES), "mm_stat_before_writeback": before[-1].facts()},
    )


def _fault_results(
    point: Compressor, faults: FaultSamples, title: str, save_raw: Callable[[str, npt.NDArray[np.uint64]], str]
) -> list[RunResult]:
    results = []
    for slot, latencies in (("ram", faults.ram_ns), ("written_back", faults.written_back_ns)):
        read = {"expected": len(latencies), "seen": faults.bd_reads} if slot == "written_back" else None
        results.append(
            RunResult(
                test="compressor_faults",
                title=title,
                params={**_params(point), "slot": slot},
                metrics={"fault.major": Metric("count", "lower", [len(latencies)])},
                raw={"fault.latency": save_raw(f"compressor-{point.name}-{slot}", latencies)},
                checks={"reads from the backing device (bd_stat)": read} if read else {},
                facts={"probe_overhead_ns": faults.overhead, "comp_algorithm_read_back": faults.algorithm},
            )
        )
    return results
