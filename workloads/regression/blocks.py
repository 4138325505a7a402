"""Every block of the backing device is used and none is lost: full, one page over, gaps, tiny writebacks."""

from __future__ import annotations

from devices.capability import Capability
from workloads.bench import Bench
from workloads.regression.findings import Findings
from workloads.regression.own import (
    LIMIT_S,
    fill,
    free_all,
    has,
    in_use,
    one_or_two,
    own_zram,
    refused_otherwise,
    span,
    verify,
    write_back,
    written,
)

_BLOCKS = 512
_INCOMPRESSIBLE = "i100"
_TINY_PAGES = 64
_TINY_S = 10
_ROUNDS = 3


def usable(bench: Bench) -> int:
    """Return how many blocks a kernel uses: all of them where there are batches, else all but block 0."""
    return _BLOCKS if has(bench, Capability.writeback_batch_size) else _BLOCKS - 1


def full_device(bench: Bench, found: Findings) -> None:
    """Write back more pages than fit, free some, write back the rest, then exactly as many as fit."""
    with own_zram(bench, _BLOCKS * bench.stage.page_bytes) as own:
        most, over = usable(own), 24
        pages = most + over
        own.stage.as_block_device(pages)
        fill(own, span(own, 0, pages - 1), _INCOMPRESSIBLE, own.seed)
        reply = write_back(own, "idle", mark="all")
        found.same("errno of a writeback of more than fits", "ENOSPC", reply.errno)
        found.expect("pages that fit", most, own.stage.pages_4k(reply.written_4k))
        found.expect("blocks in use", most, in_use(own))
        lies = own.probe.blocks(own.stage.backing.node, seconds=LIMIT_S)
        found.expect("whole pages on the backing device", most, lies.whole)
        found.none("pages that lie there twice", lies.repeated)
        again = write_back(own, "idle", mark="all")
        found.same("errno on a full device", "ENOSPC", again.errno)
        found.none("pages written to a full device", own.stage.pages_4k(again.written_4k))
        verify(own, found, span(own, 0, pages - 1), _INCOMPRESSIBLE, own.seed)
        _recover(own, found, pages, most)
        free_all(own, found, pages)


def _recover(bench: Bench, found: Findings, pages: int, most: int) -> None:
    before = in_use(bench)
    bench.probe.free(span(bench, pages // 2, pages // 2 + 15), seconds=LIMIT_S)
    freed = before - in_use(bench)
    found.expect("blocks freed", 16, freed)
    reply = write_back(bench, "idle", mark="all")
    found.expect("pages written after blocks were freed", freed, bench.stage.pages_4k(reply.written_4k))
    verify(bench, found, span(bench, 0, pages // 2 - 1), _INCOMPRESSIBLE, bench.seed)
    verify(bench, found, span(bench, pages // 2 + 16, pages - 1), _INCOMPRESSIBLE, bench.seed)
    bench.probe.free(span(bench, 0, pages - 1), seconds=LIMIT_S)
    fill(bench, span(bench, 0, most - 1), _INCOMPRESSIBLE, bench.seed + 1)
    written(bench, found, write_back(bench, "idle", mark="all"), most, "pages that fill the device exactly")
    verify(bench, found, span(bench, 0, most - 1), _INCOMPRESSIBLE, bench.seed + 1)


def gaps(bench: Bench, found: Findings) -> None:
    """Free pages at random on a full device and write others into the gaps, several times."""
    with own_zram(bench, _BLOCKS * bench.stage.page_bytes) as own:
        most = usable(own)
        own.stage.as_block_device(most)
        everything = span(own, 0, most - 1)
        fill(own, everything, _INCOMPRESSIBLE, own.seed)
        written(own, found, write_back(own, "idle", mark="all"), most)
        for number in range(1, _ROUNDS + 1):
            some = span(own, 0, most - 1, pick=most // 2, seed=own.seed + number)
            own.probe.free(some, seconds=LIMIT_S)
            found.expect("blocks in use with gaps", most - most // 2, in_use(own))
            fill(own, some, _INCOMPRESSIBLE, own.seed + number)
            written(own, found, write_back(own, "idle", mark="all"), most // 2, "pages written into gaps")
            verify(own, found, some, _INCOMPRESSIBLE, own.seed + number)
            lies = own.probe.blocks(own.stage.backing.node, seconds=LIMIT_S)
            found.expect("whole pages on the backing device", most, lies.whole)
            found.none("pages that lie there twice", lies.repeated)
        free_all(own, found, most)


def tiny_writebacks(bench: Bench, found: Findings) -> None:
    """Write one and two pages back at a time from several threads while they are rewritten and freed."""
    with own_zram(bench, _BLOCKS * bench.stage.page_bytes) as own:
        stage, most = own.stage, usable(own)
        stage.as_block_device(most)
        fill(own, span(own, 0, _TINY_PAGES - 1), _INCOMPRESSIBLE, own.seed)
        step = one_or_two(own)
        seen = own.probe.hammer_path(
            stage.zram.node, pages=_TINY_PAGES, mix=_INCOMPRESSIBLE, seed=own.seed, zram=stage.zram.number,
            duration_s=_TINY_S, readers=1, writers=1, freers=1, pokes=f"{step},{step};writeback:page_index=%",
            seconds=LIMIT_S,
        )  # fmt: skip
        found.none("corrupt pages", seen.corrupt)
        found.none("failed reads, writes and discards", seen.failed)
        found.measured("writebacks of one or two pages", sum(poke.done for poke in seen.pokes), 100)
        found.measured("pages written back (4 KiB)", seen.written_4k, 100)
        refused_otherwise(found, seen.pokes)
        free_all(own, found, _TINY_PAGES)
        # A block that was lost without being counted is missing now.
        fill(own, span(own, 0, most - 1), _INCOMPRESSIBLE, own.seed)
        written(own, found, write_back(own, "idle", mark="all"), most, "pages that fill the device afterwards")
        verify(own, found, span(own, 0, most - 1), _INCOMPRESSIBLE, own.seed)


def behind_objects(bench: Bench, found: Findings) -> None:
    """Write compressed objects back where whole pages lay before: nothing of those may be behind an object."""
    with own_zram(bench, _BLOCKS * bench.stage.page_bytes, compressed=True) as own:
        pages, mix = _BLOCKS // 2, "c60@4,i40"
        own.stage.as_block_device(pages)
        everything = span(own, 0, pages - 1)
        fill(own, everything, _INCOMPRESSIBLE, own.seed)
        written(own, found, write_back(own, "idle", mark="all"), pages)
        own.probe.free(everything, seconds=LIMIT_S)
        filled = own.probe.fill_device(everything, mix=mix, seed=own.seed + 1, seconds=LIMIT_S)
        written(own, found, write_back(own, "idle", mark="all"), pages)
        lies = own.probe.blocks(own.stage.backing.node, seconds=LIMIT_S)
        found.expect("compressed objects on the backing device", filled.compressible, lies.other)
        found.facts["fewest zero bytes behind an object"] = lies.shortest_tail
        # An object of a page that compresses to a quarter takes less than a half.
        found.none("objects with something behind them", int(lies.shortest_tail < own.stage.page_bytes // 2))
        verify(own, found, everything, mix, own.seed + 1)
        free_all(own, found, pages)
