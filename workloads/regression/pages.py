"""No page is changed: written back, rewritten, freed, used from many threads, swapped off, read under reclaim."""

from __future__ import annotations

from base.units import MIB
from devices.transport import Exec
from workloads.bench import Bench
from workloads.faults import READS_CHECK
from workloads.regression.findings import Findings
from workloads.regression.own import (
    LIMIT_S,
    books,
    fill,
    free_all,
    in_use,
    one_or_two,
    own_zram,
    refused_otherwise,
    span,
    verify,
    write_back,
    written,
)

# Huge pages are the incompressible ones and no others, so they can be counted.
MIX = "z3,s3,c54@3,i40"
_DATA = 4 * MIB
_HAMMERED_PAGES = 512
_HAMMER_S = 6
_AREA = "regression"


def each_page(bench: Bench, found: Findings, *, batch_size: int | None, compressed: bool) -> None:
    """Write all pages back, verify, rewrite a half, free a quarter, write back into the gaps, verify, free all."""
    with own_zram(bench, 2 * _DATA, compressed=compressed) as own:
        stage, seed = own.stage, own.seed
        pages = stage.pages(_DATA) // 4 * 4
        half, last = pages // 2, pages * 3 // 4
        stage.as_block_device(pages)
        stage.set_batch_size(batch_size)
        parts = [span(own, 0, half - 1), span(own, half, last - 1), span(own, last, pages - 1)]
        stored = [fill(own, part, MIX, seed) for part in parts]
        reply = write_back(own, "idle", mark="all", sample=True)
        written(own, found, reply, sum(stored))
        _depth(own, found, batch_size, reply.disks[stage.backing.name].deepest)
        found.expect("blocks in use", sum(stored), in_use(own))
        found.none("bytes of objects left in memory", books(own)[1].compr_data_size)
        found.expect(READS_CHECK, sum(stored), verify(own, found, span(own, 0, pages - 1), MIX, seed))
        anew = own.probe.fill_device(span(own, 0, half - 1), mix=MIX, seed=seed + 1, seconds=LIMIT_S)
        own.probe.free(parts[1], seconds=LIMIT_S)
        mm = books(own)[1]
        found.expect("blocks in use after rewriting and freeing", stored[2], in_use(own))
        found.expect("huge pages after rewriting and freeing", anew.incompressible, mm.huge_pages or 0)
        found.expect("bytes stored", (pages - half // 2) * stage.page_bytes, mm.orig_data_size)
        written(own, found, write_back(own, "idle", mark="all"), anew.stored)
        verify(own, found, parts[0], MIX, seed + 1)
        verify(own, found, parts[1], "z100", seed)
        verify(own, found, parts[2], MIX, seed)
        free_all(own, found, pages)


def _depth(bench: Bench, found: Findings, batch_size: int | None, deepest: int | None) -> None:
    """Never more in flight than the batch allows; that it is reached is for the suite of depths to say."""
    if deepest is None or batch_size is None:
        return
    found.facts["deepest"] = deepest
    found.none("writes in flight beyond the batch", max(0, deepest - batch_size))
    if batch_size >= 32 and deepest < 2:
        found.wrong.append(f"batch {batch_size}: never more than {deepest} write in flight")


def many_hands(bench: Bench, found: Findings, *, batch_size: int | None, compressed: bool) -> None:
    """Read, write and free pages on all cores while they are marked and written back over and over."""
    with own_zram(bench, 2 * _HAMMERED_PAGES * bench.stage.page_bytes, compressed=compressed) as own:
        stage = own.stage
        stage.as_block_device(_HAMMERED_PAGES)
        stage.set_batch_size(batch_size)
        fill(own, span(own, 0, _HAMMERED_PAGES - 1), MIX, own.seed)
        # Parts of a page where pages are larger than zram's blocks: they are read and written by another way.
        piece = 4096 if stage.page_bytes > 4096 else None
        seen = own.probe.hammer_path(
            stage.zram.node, pages=_HAMMERED_PAGES, mix=MIX, seed=own.seed, zram=stage.zram.number,
            duration_s=_HAMMER_S, readers=2, writers=1, freers=1, clashers=2, piece=piece,
            pokes=f"idle:all;writeback:idle,{one_or_two(own)}", seconds=LIMIT_S,
        )  # fmt: skip
        found.none("corrupt pages", seen.corrupt)
        found.none("pages torn by writes at once", seen.torn)
        found.none("failed reads, writes and discards", seen.failed)
        if seen.corrupt:
            found.wrong.append(f"first corrupt: {seen.first_corrupt} (another page or older: {seen.misplaced})")
        found.measured("pages compared", seen.pages, 100)
        found.measured("pages written back (4 KiB)", seen.written_4k, 50)
        found.measured("pages read back (4 KiB)", seen.read_4k, 10)
        found.facts |= {"rewritten": seen.writes, "freed": seen.frees, "clashes": seen.clashes}
        refused_otherwise(found, seen.pokes)
        free_all(own, found, _HAMMERED_PAGES)


def swapped_off(bench: Bench, found: Findings) -> None:
    """Swap memory out, write it back, switch swap off: every page is in memory again and whole."""
    with own_zram(bench, 2 * _DATA) as own:
        stage, pages = own.stage, own.stage.pages(_DATA)
        stage.as_swap(2 * pages)
        own.probe.fill_area(_AREA, pages * stage.page_bytes, mix="c60@3,i40", seed=own.seed)
        out = own.probe.pageout(_AREA, seconds=LIMIT_S)
        found.measured("pages swapped out", out.swapped, pages * 9 // 10)
        reply = write_back(own, "idle", mark="all")
        found.same("errno of writeback", "", reply.errno)
        found.measured("pages written back", stage.pages_4k(reply.written_4k), out.swapped)
        stage.device.execute(Exec(("swapoff", stage.zram.node)), seconds=LIMIT_S)[0].check()
        seen = own.probe.verify_area(_AREA, seconds=LIMIT_S)
        found.none("corrupt pages", seen.corrupt)
        found.facts["pages compared"] = seen.pages
        # The header of the swap device stays.
        found.none("blocks in use after swapoff", max(0, in_use(own) - 1))
        own.probe.drop(_AREA)


def reclaim(bench: Bench, found: Findings) -> None:
    """Read, write and free memory while it is swapped out and written back over and over."""
    with own_zram(bench, 2 * _DATA) as own:
        stage, pages = own.stage, own.stage.pages(_DATA)
        stage.as_swap(2 * pages)
        own.probe.fill_area(_AREA, pages * stage.page_bytes, mix="c60@3,i40", seed=own.seed)
        seen = own.probe.hammer_area(
            _AREA, zram=stage.zram.number, duration_s=2 * _HAMMER_S, readers=2, writers=1, freers=1, pageouts=2,
            pokes="idle:all;writeback:idle,writeback:huge", seconds=LIMIT_S,
        )  # fmt: skip
        own.probe.drop(_AREA)
        # Pages of others may be in it by now, on a phone that reclaims: they go back to memory first.
        stage.device.execute(Exec(("swapoff", stage.zram.node)), seconds=LIMIT_S)[0].check()
        found.none("corrupt pages", seen.corrupt)
        found.none("failed operations", seen.failed)
        found.measured("pages compared", seen.pages, 100)
        found.measured("pages written back (4 KiB)", seen.written_4k, 50)
        found.measured("pages read back (4 KiB)", seen.read_4k, 10)
        refused_otherwise(found, seen.pokes)
        found.none("blocks in use after all was freed", max(0, in_use(own) - 1))
