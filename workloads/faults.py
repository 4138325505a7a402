"""Latency of page faults: on pages in zram's memory, and on pages that were written back.

The probe's own pages are swapped out, a random half of them is written back by slot, and all are touched in one random
order. So both kinds are interleaved page by page, drift falls on both alike, and no page of anybody else is moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from devices.deadline import Deadline
from devices.probe import PROBE_FOLDER, ProbeSession
from workloads.mix import MIXES
from workloads.progress import Progress, silent
from workloads.stage import Stage
from workloads.writeback import NothingMeasured

ROUNDS = 4
# What `touch` writes, 24 bytes a sample (probe/README.md).
RECORD = np.dtype([("t_ns", "<u8"), ("ns", "<u8"), ("page", "<u4"), ("label", "<u4")])
RAM, WRITTEN_BACK = 0, 1
# Each page costs a write of its own on kernels that take one page_index per call; a generous bound.
_LIMIT_S = 600.0


@dataclass(slots=True)
class FaultSamples:
    """``ram_ns`` and ``written_back_ns``: uint64 latencies in ns, in order of measurement."""

    ram_ns: npt.NDArray[np.uint64]
    written_back_ns: npt.NDArray[np.uint64]
    majflt: int
    bd_reads: int
    not_swapped: int
    overhead: dict[str, int]
    algorithm: str


def measure_faults(
    stage: Stage, probe: ProbeSession, samples: int, seed: int, folder: Path, progress: Progress = silent
) -> FaultSamples:
    """At least ``samples`` latencies of each kind. Raises NothingMeasured when the kernel's books disagree."""
    per_round = -(-samples // ROUNDS)
    pages = 2 * per_round
    # Twice the room: what else the phone swaps out meanwhile must not push the probe's pages elsewhere.
    stage.as_swap(2 * pages)
    overhead = probe.call("overhead", samples=10_000)
    probe.call("fill", name="faults", bytes=pages * stage.page_bytes, mix=MIXES["compressible"], seed=seed)
    rounds = []
    for number in range(ROUNDS):
        progress(f"page faults, round {number + 1} of {ROUNDS}, {pages} pages")
        rounds.append(_round(stage, probe, pages, per_round, seed + number, folder))
    probe.call("drop", name="faults")
    records = np.concatenate([records for records, _ in rounds])
    replies = [reply for _, reply in rounds]
    ns, label = records["ns"], records["label"]
    faults = FaultSamples(
        ram_ns=ns[label == RAM].astype(np.uint64),
        written_back_ns=ns[label == WRITTEN_BACK].astype(np.uint64),
        majflt=sum(reply["majflt"] for reply in replies),
        bd_reads=sum(stage.bytes_4k(r["bd_after"][1] - r["bd_before"][1]) // stage.page_bytes for r in replies),
        not_swapped=sum(reply["not_swapped"] for reply in replies),
        overhead={"timer p50": overhead["timer_ns"]["p50"], "sample p50": overhead["sample_ns"]["p50"]},
        algorithm=_algorithm(stage),
    )
    _check(stage, faults)
    return faults


def _round(
    stage: Stage, probe: ProbeSession, pages: int, half: int, seed: int, folder: Path
) -> tuple[npt.NDArray[np.void], dict[str, Any]]:
    swapped = probe.call("pageout", name="faults", seconds=_LIMIT_S)
    if swapped["swapped"] < pages * 0.99:
        raise NothingMeasured(
            f"{stage.device.serial}: only {swapped['swapped']} of {pages} pages could be swapped out",
            hint="another swap device of the same priority, or swap full? raise zram.disksize",
        )
    probe.call(
        "writeback", name="faults", zram=stage.zram.number, pick=half, pick_seed=seed, order="random", seconds=_LIMIT_S
    )
    remote = f"{PROBE_FOLDER}/touch.bin"
    reply = probe.call(
        "touch", name="faults", order="random", seed=seed, out=remote, zram=stage.zram.number, seconds=_LIMIT_S
    )
    local = folder / "touch.bin"
    stage.device.transport.pull(remote, local, deadline=Deadline.after(60))
    records: npt.NDArray[np.void] = np.fromfile(local, dtype=RECORD)
    local.unlink()
    return records, reply


def _algorithm(stage: Stage) -> str:
    text = stage.zram.read("comp_algorithm")
    return next((word.strip("[]") for word in text.split() if word.startswith("[")), text)


def _check(stage: Stage, faults: FaultSamples) -> None:
    touched = len(faults.ram_ns) + len(faults.written_back_ns)
    if faults.bd_reads != len(faults.written_back_ns):
        raise NothingMeasured(
            f"{stage.device.serial}: {len(faults.written_back_ns)} faults on written-back pages, but bd_stat counts "
            f"{faults.bd_reads} reads",
            hint="another program reads this zram's written-back pages; stop it and run again",
        )
    if faults.majflt + faults.not_swapped != touched:
        raise NothingMeasured(
            f"{stage.device.serial}: {touched} pages touched, {faults.majflt} major faults and {faults.not_swapped} "
            "pages that were in memory: pages moved while they were measured",
            hint="raise the phone's free memory: close apps",
        )
