"""Checks that no page changes on its way: unique pages are written back, read again and compared whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.probe.replies import Verified
from devices.profiles.sections import PageKind
from records import metrics as m
from records import tests as t
from records.model import RunResult
from workloads.bench import Bench
from workloads.faults import READS_CHECK
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured

_AREA = "integrity"
_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Integrity:
    """What was read back. ``read_back`` counts the pages that came from the backing device, by bd_stat's reads.

    ``checker_works``: a byte that was flipped on purpose was noticed.
    """

    pages: int
    corrupt: int
    first_corrupt: Sequence[int]
    written_back: int
    read_back: int
    checker_works: bool


def check_block(bench: Bench, pages: int) -> Integrity:
    """Fill the block device, write all back, read all again; then prove that one flipped byte is seen."""
    stage, probe, seed = bench.stage, bench.probe, bench.seed
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


def check_swap(bench: Bench, pages: int) -> Integrity:
    """Swap the probe's memory out, write its slots back and fault it in again; then prove the same."""
    stage, probe = bench.stage, bench.probe
    stage.as_swap(2 * pages)
    # Without zero pages: those never reach a swap device from 6.12 on.
    mix = "c70@3,i30"
    probe.fill_area(_AREA, pages * stage.page_bytes, mix=mix, seed=bench.seed)
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


def integrity_result(bench: Bench, path: str, seen: Integrity) -> RunResult:
    """Make the record of a check; ``path`` names the way that the pages took."""
    return RunResult(
        test=t.INTEGRITY.name,
        title=bench.title,
        params={"path": path},
        metrics=m.CORRUPT.of([seen.corrupt]) | m.COMPARED.of([seen.pages]),
        checks={READS_CHECK: {"expected": seen.written_back, "seen": seen.read_back}},
        facts={"first_corrupt": seen.first_corrupt, "one_flipped_byte_is_noticed": seen.checker_works},
    )


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
