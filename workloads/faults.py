"""Latency of page faults: on pages in zram's memory, and on pages that were written back.

The probe's own pages are swapped out, a random half of them is written back by slot, and all are touched in one random
order. So both kinds are interleaved page by page, drift falls on both alike, and no page of anybody else is moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from base.deadline import Deadline
from devices.probe.replies import Touched
from devices.probe.session import PROBE_FOLDER, ProbeSession
from devices.profiles.sections import PageKind, SlotOrder
from workloads.progress import Progress, silent
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured

ROUNDS = 4
# What `touch` writes, 24 bytes a sample (probe/README.md).
RECORD = np.dtype([("t_ns", "<u8"), ("ns", "<u8"), ("page", "<u4"), ("label", "<u4")])
RAM, WRITTEN_BACK = 0, 1
AREA = "faults"
SAMPLES_FILE = f"{PROBE_FOLDER}/touch.bin"
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
    stage: Stage, probe: ProbeSession, samples: int, seed: int, folder: Path, progress: Progress = silent,
    rounds: int = ROUNDS,
) -> FaultSamples:  # fmt: skip
    """At least ``samples`` latencies of each kind. Raises NothingMeasured when the kernel's books disagree."""
    per_round = -(-samples // rounds)
    pages = 2 * per_round
    # Twice the room: what else the phone swaps out meanwhile must not push the probe's pages elsewhere.
    stage.as_swap(2 * pages)
    overhead = probe.overhead(10_000)
    probe.fill_area(AREA, pages * stage.page_bytes, mix=PageKind.compressible.mix, seed=seed)
    touched = []
    try:
        for number in range(rounds):
            progress(f"page faults, round {number + 1} of {rounds}, {pages} pages")
            swap_out(stage, probe, AREA, pages)
            write_back_half(stage, probe, AREA, per_round, seed + number)
            touched.append(touch_all(stage, probe, AREA, seed + number, folder))
    finally:
        probe.drop(AREA)
    records = np.concatenate([records for records, _ in touched])
    replies = [reply for _, reply in touched]
    ns, label = records["ns"], records["label"]
    faults = FaultSamples(
        ram_ns=ns[label == RAM].astype(np.uint64),
        written_back_ns=ns[label == WRITTEN_BACK].astype(np.uint64),
        majflt=sum(reply.majflt for reply in replies),
        bd_reads=sum(stage.pages_4k(reply.read_4k) for reply in replies),
        not_swapped=sum(reply.not_swapped for reply in replies),
        overhead={"timer p50": overhead.timer_ns.p50, "sample p50": overhead.sample_ns.p50},
        algorithm=algorithm_of(stage),
    )
    _check(stage, faults)
    return faults


def swap_out(stage: Stage, probe: ProbeSession, name: str, pages: int) -> None:
    """All pages of an area go to zram. Raises NothingMeasured when they do not."""
    swapped = probe.pageout(name, seconds=_LIMIT_S).swapped
    if swapped < pages * 0.99:
        raise NothingMeasured(
            f"{stage.device.serial}: only {swapped} of {pages} pages could be swapped out",
            hint="another swap device of the same priority, or swap full? raise zram.disksize",
        )


def write_back_half(stage: Stage, probe: ProbeSession, name: str, half: int, seed: int) -> None:
    """So many pages of a swapped-out area, drawn by seed, go on to the backing device; nobody else's."""
    probe.writeback(
        name, zram=stage.zram.number, pick=half, pick_seed=seed, order=str(SlotOrder.random), seconds=_LIMIT_S
    )


def fetch_records(stage: Stage, remote: str, folder: Path) -> npt.NDArray[np.void]:
    """The samples that the probe wrote to ``remote``: RECORD, in the order of touching."""
    local = folder / "touch.bin"
    stage.device.transport.pull(remote, local, deadline=Deadline.after(60))
    records: npt.NDArray[np.void] = np.fromfile(local, dtype=RECORD)
    local.unlink()
    return records


def touch_seed(seed: int) -> int:
    """For the order of touching: drawn by the same seed, the pages written back would all be touched first."""
    return seed + 0x5EED


def touch_all(
    stage: Stage, probe: ProbeSession, name: str, seed: int, folder: Path, *, io: str = "default"
) -> tuple[npt.NDArray[np.void], Touched]:
    """Every page of an area is touched, in an order drawn by seed: records and the probe's reply.

    ``io``: the I/O priority of who touches, ``default`` or ``realtime``.
    """
    reply = probe.touch(
        name, zram=stage.zram.number, order=str(SlotOrder.random), seed=touch_seed(seed), out=SAMPLES_FILE, io=io,
        seconds=_LIMIT_S,
    )  # fmt: skip
    return fetch_records(stage, SAMPLES_FILE, folder), reply


def algorithm_of(stage: Stage) -> str:
    """The compressor that zram uses now."""
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
