"""No page may change on its way: unique pages, written back, read again, compared whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.probe.replies import Verified
from devices.probe.session import ProbeSession
from devices.profiles.sections import PageKind
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured

_AREA = "integrity"
_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Integrity:
    """``read_back``: pages that really came from the backing device, by bd_stat's reads."""

    pages: int
    corrupt: int
    first_corrupt: Sequence[int]
    written_back: int
    read_back: int
    checker_works: bool


def check_block(stage: Stage, probe: ProbeSession, pages: int, seed: int) -> Integrity:
    """Through the block device: fill, write all back, read all again; then prove that one flipped byte is seen."""
    stage.as_block_device(pages)
    area, mix = stage.all_pages(pages), PageKind.mixed.mix
    filled = probe.fill_device(area, mix=mix, seed=seed, seconds=_LIMIT_S)
    stage.zram.write("idle", "all")
    probe.write_timed(stage.zram.attribute("writeback"), "idle", zram=stage.zram.number, seconds=_LIMIT_S)
    before = stage.zram.bd_stat()
    seen = probe.verify_device(area, mix=mix, seed=seed, seconds=_LIMIT_S)
    after = stage.zram.bd_stat()
    probe.corrupt_device(stage.zram.node, pages // 2)
    proof = probe.verify_device(area, mix=mix, seed=seed, seconds=_LIMIT_S)
    return _judged(stage, seen, proof, filled.stored, before.count_4k, after.reads_4k - before.reads_4k)


def check_swap(stage: Stage, probe: ProbeSession, pages: int, seed: int) -> Integrity:
    """Through swap: the probe's memory is swapped out, its slots written back, and faulted in again."""
    stage.as_swap(2 * pages)
    # Without zero pages: those never reach a swap device from 6.12 on.
    mix = "c70@3,i30"
    probe.fill_area(_AREA, pages * stage.page_bytes, mix=mix, seed=seed)
    swapped = probe.pageout(_AREA, seconds=_LIMIT_S)
    if swapped.swapped < swapped.pages * 0.99:
        raise NothingMeasured(f"{stage.device.serial}: {swapped.swapped} of {swapped.pages} pages were swapped out")
    written = probe.writeback(_AREA, zram=stage.zram.number, seconds=_LIMIT_S)
    before = stage.zram.bd_stat()
    seen = probe.verify_area(_AREA, seconds=_LIMIT_S)
    after = stage.zram.bd_stat()
    probe.corrupt_area(_AREA, pages // 2)
    proof = probe.verify_area(_AREA, seconds=_LIMIT_S)
    probe.drop(_AREA)
    return _judged(stage, seen, proof, written.requested, written.written_4k, after.reads_4k - before.reads_4k)


def _judged(stage: Stage, seen: Verified, proof: Verified, expected: int, written_4k: int, read_4k: int) -> Integrity:
    written = stage.pages_4k(written_4k)
    if written != expected:
        raise NothingMeasured(f"{stage.device.serial}: {expected} pages to write back, bd_stat counts {written}")
    return Integrity(
        pages=seen.pages,
        corrupt=seen.corrupt,
        first_corrupt=seen.first_corrupt,
        written_back=written,
        read_back=stage.pages_4k(read_4k),
        checker_works=proof.corrupt == seen.corrupt + 1,
    )
