"""Latency of page faults: on pages in zram's memory, and on pages that were written back.

The probe's own pages are swapped out, a random half of them is written back by slot, and all are touched in one random
order. So both kinds alternate page by page, drift falls on both alike, and no page of another program is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from devices.probe.replies import Touched
from devices.probe.session import PROBE_FOLDER
from devices.profiles.sections import PageKind
from devices.profiles.what_is_measured import TouchOrder
from devices.zram import selected
from workloads.bench import Bench
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured

# What `touch` writes, 24 bytes a sample (probe/README.md).
RECORD = np.dtype([("t_ns", "<u8"), ("ns", "<u8"), ("page", "<u4"), ("label", "<u2"), ("ahead", "<u2")])
RAM, WRITTEN_BACK = 0, 1
READS_CHECK = "reads from the backing device (bd_stat)"
SAMPLES_FILE = f"{PROBE_FOLDER}/touch.bin"
_AREA = "faults"
# Each page costs a write of its own on kernels that take one page_index per call; a generous bound.
_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class FaultSamples:
    """Latencies in ns (uint64) in order of measurement, and what the kernel counted meanwhile.

    ``ram_ns`` is of pages in zram's memory, ``written_back_ns`` of pages on the backing device. ``overhead`` is what
    timing costs, in ns.
    """

    ram_ns: npt.NDArray[np.uint64]
    written_back_ns: npt.NDArray[np.uint64]
    majflt: int
    bd_reads: int
    not_swapped: int
    overhead: dict[str, int]
    algorithm: str


@contextmanager
def faulting(
    bench: Bench, samples: int, *, content: PageKind = PageKind.compressible
) -> Iterator[Callable[[int], FaultSamples]]:
    """Make zram a swap with room for an area of which a block of faults times so many pages of each kind.

    Yields what measures a block; it takes the seed by which pages are drawn. Of that, NothingMeasured when the kernel
    counted other faults or reads than were measured.
    """
    stage, probe, pages = bench.stage, bench.probe, 2 * samples
    # Twice the room: what else the phone swaps out meanwhile must not push the probe's pages elsewhere.
    stage.as_swap(2 * pages)
    overhead, algorithm = probe_overhead(bench), algorithm_of(stage)
    probe.fill_area(_AREA, pages * stage.page_bytes, mix=stage.profile.mix_of(content), seed=bench.seed)

    def block(seed: int) -> FaultSamples:
        swap_out(bench, _AREA, pages)
        write_back_half(bench, _AREA, samples, seed)
        records, reply = touch_all(bench, _AREA, seed)
        ns, label = records["ns"], records["label"]
        reads = stage.pages_4k(reply.read_4k)
        found = FaultSamples(
            ns[label == RAM].astype(np.uint64), ns[label == WRITTEN_BACK].astype(np.uint64), reply.majflt, reads,
            reply.not_swapped, overhead, algorithm,
        )  # fmt: skip
        _check(stage, found)
        return found

    try:
        yield block
    finally:
        probe.drop(_AREA)


def probe_overhead(bench: Bench) -> dict[str, int]:
    """Measure what every sample contains of the probe's own cost, in ns, for the fact ``probe_overhead_ns``."""
    found = bench.probe.overhead(10_000)
    return {"timer p50": found.timer_ns.p50, "sample p50": found.sample_ns.p50}


def swap_out(bench: Bench, name: str, pages: int) -> None:
    """Move all pages of an area to zram. Raises NothingMeasured when they do not go."""
    swapped = bench.probe.pageout(name, seconds=_LIMIT_S).swapped
    if swapped < pages * 0.99:
        raise NothingMeasured(
            f"{bench.stage.device.serial}: only {swapped} of {pages} pages could be swapped out",
            hint="another swap device of the same priority, or swap full? raise zram.disksize",
        )


def write_back_half(bench: Bench, name: str, half: int, seed: int) -> None:
    """Write so many pages of a swapped-out area, drawn by seed, to the backing device, and no other pages."""
    zram, order = bench.stage.zram.number, str(TouchOrder.random)
    bench.probe.writeback(name, zram=zram, pick=half, pick_seed=seed, order=order, seconds=_LIMIT_S)


def touch_seed(seed: int) -> int:
    """Return a seed for the order of touching: with the same one, pages written back would all be touched first."""
    return seed + 0x5EED


def touch_all(bench: Bench, name: str, seed: int, *, io: str = "default") -> tuple[npt.NDArray[np.void], Touched]:
    """Touch every page of an area in an order drawn by seed; return a RECORD for each and the probe's reply.

    ``io`` is the I/O priority of the touching thread, ``default`` or ``realtime``.
    """
    reply = bench.probe.touch(
        name, zram=bench.stage.zram.number, order=str(TouchOrder.random), seed=touch_seed(seed), out=SAMPLES_FILE,
        io=io, seconds=_LIMIT_S,
    )  # fmt: skip
    return bench.fetch(SAMPLES_FILE, RECORD, reply.samples), reply


def algorithm_of(stage: Stage) -> str:
    """Return the compressor that zram uses now."""
    return selected(stage.zram.read("comp_algorithm"))


def _check(stage: Stage, faults: FaultSamples) -> None:
    touched = len(faults.ram_ns) + len(faults.written_back_ns)
    check_reads(stage, len(faults.written_back_ns), faults.bd_reads)
    if faults.majflt + faults.not_swapped != touched:
        raise NothingMeasured(
            f"{stage.device.serial}: {touched} pages touched, {faults.majflt} major faults and {faults.not_swapped} "
            "pages that were in memory: pages moved while they were measured",
            hint="raise the phone's free memory: close apps",
        )


def check_reads(stage: Stage, faults: int, reads: int) -> None:
    """Raise NothingMeasured when zram read other pages than the written-back ones that were touched."""
    if faults != reads:
        raise NothingMeasured(
            f"{stage.device.serial}: {faults} faults on written-back pages, but bd_stat counts {reads} reads",
            hint="another program reads this zram's written-back pages; stop it and run again",
        )
