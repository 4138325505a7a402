"""No page may change on its way: unique pages, written back, read again, compared whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devices.probe.session import ProbeSession
from workloads.mix import MIXES, stored_pages
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured

_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Integrity:
    """``read_back``: pages that really came from the backing device, by bd_stat's reads."""

    pages: int
    corrupt: int
    first_corrupt: list[int]
    written_back: int
    read_back: int
    checker_works: bool


def check_block(stage: Stage, probe: ProbeSession, pages: int, seed: int) -> Integrity:
    """Through the block device: fill, write all back, read all again; then prove that one flipped byte is seen."""
    stage.as_block_device(pages)
    area: dict[str, Any] = {"path": stage.zram.node, "lo": 0, "hi": pages - 1}
    content: dict[str, Any] = {"mix": MIXES["mixed"], "seed": seed}
    filled = probe.call("fill", **area, **content, seconds=_LIMIT_S)
    stage.zram.write("idle", "all")
    number = stage.zram.number
    path = stage.zram.attribute("writeback")
    probe.call("write-timed", path=path, value="idle", zram=number, seconds=_LIMIT_S)
    before = stage.zram.bd_stat()
    seen = probe.call("verify", **area, **content, seconds=_LIMIT_S)
    after = stage.zram.bd_stat()
    probe.call("corrupt", path=stage.zram.node, page=pages // 2)
    proof = probe.call("verify", **area, **content, seconds=_LIMIT_S)
    return _judged(stage, seen, proof, stored_pages(filled), before.count_4k, after.reads_4k - before.reads_4k)


def check_swap(stage: Stage, probe: ProbeSession, pages: int, seed: int) -> Integrity:
    """Through swap: the probe's memory is swapped out, its slots written back, and faulted in again."""
    stage.as_swap(2 * pages)
    # Without zero pages: those never reach a swap device from 6.12 on (T11).
    mix = "c70@3,i30"
    probe.call("fill", name="integrity", bytes=pages * stage.page_bytes, mix=mix, seed=seed)
    swapped = probe.call("pageout", name="integrity", seconds=_LIMIT_S)
    if swapped["swapped"] < swapped["pages"] * 0.99:
        raise NothingMeasured(
            f"{stage.device.serial}: {swapped['swapped']} of {swapped['pages']} pages were swapped out"
        )
    written = probe.call("writeback", name="integrity", zram=stage.zram.number, seconds=_LIMIT_S)
    before = stage.zram.bd_stat()
    seen = probe.call("verify", name="integrity", seconds=_LIMIT_S)
    after = stage.zram.bd_stat()
    probe.call("corrupt", name="integrity", page=pages // 2)
    proof = probe.call("verify", name="integrity", seconds=_LIMIT_S)
    probe.call("drop", name="integrity")
    blocks = written["bd_after"][2] - written["bd_before"][2]
    return _judged(stage, seen, proof, written["requested"], blocks, after.reads_4k - before.reads_4k)


def _judged(
    stage: Stage, seen: dict[str, Any], proof: dict[str, Any], expected: int, written_4k: int, read_4k: int
) -> Integrity:
    written = stage.bytes_4k(written_4k) // stage.page_bytes
    if written != expected:
        raise NothingMeasured(f"{stage.device.serial}: {expected} pages to write back, bd_stat counts {written}")
    return Integrity(
        pages=seen["pages"],
        corrupt=seen["corrupt"],
        first_corrupt=list(seen["first_corrupt"]),
        written_back=written,
        read_back=stage.bytes_4k(read_4k) // stage.page_bytes,
        checker_works=proof["corrupt"] == seen["corrupt"] + 1,
    )
