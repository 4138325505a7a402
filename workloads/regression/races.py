"""What user space can do to zram at the same time: marks, resets, swapoff, a second writer, one that is killed."""

from __future__ import annotations

from base.units import MIB
from devices.capability import Capability
from devices.probe.hammering import StepsBeside
from devices.transport import Exec
from workloads.bench import Bench
from workloads.regression.findings import Findings
from workloads.regression.own import (
    LIMIT_S,
    ONLY_ONE,
    fill,
    free_all,
    has,
    in_use,
    own_zram,
    refused_otherwise,
    span,
    verify,
    write_back,
)

_MIX = "i100"
_PAGES = 512
_LONG_PAGES = 1536
_RACE_S = 8
_AREA = "regression"
_SHORTLY = 0.1
_HOT_REMOVE = "/sys/class/zram-control/hot_remove"


def marks(bench: Bench, found: Findings) -> None:
    """Mark, write back, compact, recompress and read the books in loops while pages are read, written and freed."""
    with own_zram(bench, 4 * _PAGES * bench.stage.page_bytes) as own:
        stage, mix = own.stage, "s5,c55@3,i40"
        stage.as_block_device(_PAGES)
        fill(own, span(own, 0, _PAGES - 1), mix, own.seed)
        pokes = ["idle:all;idle:1", "writeback:idle;writeback:huge", "compact:1;bd_stat;mm_stat;io_stat;debug_stat"]
        if has(own, Capability.recompress):
            pokes.append("recompress:type=idle")
        if has(own, Capability.page_index):
            pokes.append("writeback:page_index=%;idle:all")
        seen = own.probe.hammer_path(
            stage.zram.node, pages=_PAGES, mix=mix, seed=own.seed, zram=stage.zram.number, duration_s=_RACE_S,
            readers=2, writers=1, freers=1, pokes=",".join(pokes), seconds=LIMIT_S,
        )  # fmt: skip
        found.none("corrupt pages", seen.corrupt)
        found.none("failed reads, writes and discards", seen.failed)
        found.measured("pages compared", seen.pages, 100)
        found.measured("pages written back (4 KiB)", seen.written_4k, 20)
        refused_otherwise(found, seen.pokes)
        free_all(own, found, _PAGES)


def resets(bench: Bench, found: Findings) -> None:
    """Reset and set up small, then large, over and over, while pages of the large one are written back by number."""
    with own_zram(bench, 8 * MIB) as own:
        zram, node = own.stage.zram, own.stage.backing.node
        large, small = (pages * own.stage.page_bytes for pages in (1024, 16))
        cycle = ";".join(f"reset:1;backing_dev:{node};disksize:{size}" for size in (large, small))
        pokes = f"{cycle},writeback:page_index=%,writeback:idle;idle:all,bd_stat;mm_stat"
        seen = own.probe.poke(zram=zram.number, duration_s=_RACE_S, pokes=pokes, pages=1024, seconds=LIMIT_S)
        found.measured("resets", sum(poke.done for poke in seen.pokes if poke.step == "reset:1"), 10)
        found.facts["pokes"] = [{"step": poke.step, "done": poke.done, **poke.refused} for poke in seen.pokes]
        own.stage.as_block_device(64)
        fill(own, span(own, 0, 63), _MIX, own.seed)
        reply = write_back(own, "idle", mark="all")
        found.expect("pages written back afterwards", 64, own.stage.pages_4k(reply.written_4k))
        verify(own, found, span(own, 0, 63), _MIX, own.seed)
        free_all(own, found, 64)


def _long(bench: Bench) -> None:
    """Make a writeback ready that takes a while: one page at a time."""
    bench.stage.as_block_device(_LONG_PAGES)
    fill(bench, span(bench, 0, _LONG_PAGES - 1), _MIX, bench.seed)
    bench.stage.set_batch_size(bench.stage.batch_sizes([1])[0])
    bench.stage.zram.write("idle", "all")


def _meanwhile(bench: Bench, found: Findings, *others: str) -> StepsBeside:
    stage = bench.stage
    seen = bench.probe.meanwhile(
        zram=stage.zram.number, first="writeback:idle", disk=stage.backing.name, others=others, seconds=LIMIT_S
    )
    found.measured("the writeback ran meanwhile", int(seen.under_way))
    found.facts["steps"] = [{"step": step.step, "errno": step.errno} for step in (seen.first, *seen.others)]
    return seen


def _waited(seen: StepsBeside) -> bool:
    """Whether the only other step ended no sooner than the writeback."""
    took_ns = seen.first.ended_ns - seen.first.began_ns
    return seen.others[0].ended_ns >= seen.first.ended_ns - _SHORTLY * took_ns


def second_writeback(bench: Bench, found: Findings) -> None:
    """Start a writeback while one runs: it is refused, waits, or runs beside it; each page is written once."""
    with own_zram(bench, (_LONG_PAGES + 1) * bench.stage.page_bytes) as own:
        _long(own)
        seen = _meanwhile(own, found, "writeback:idle")
        (other,) = seen.others
        found.same("errno of the first writeback", "", seen.first.errno)
        found.same("a second writeback is refused or taken", True, other.errno in {"", *ONLY_ONE})
        found.kernel(f"a second writeback {'waits' if _waited(seen) else 'does not wait'}: {other.errno or 'success'}")
        bd = own.stage.zram.bd_stat()
        found.expect("blocks in use", _LONG_PAGES, own.stage.pages_4k(bd.count_4k))
        found.expect("writes in all", _LONG_PAGES, own.stage.pages_4k(bd.writes_4k))
        verify(own, found, span(own, 0, _LONG_PAGES - 1), _MIX, own.seed)
        free_all(own, found, _LONG_PAGES)


def reset_meanwhile(bench: Bench, found: Findings) -> None:
    """Reset while a writeback runs: it waits, nothing is left, and the device can be set up anew."""
    with own_zram(bench, (_LONG_PAGES + 1) * bench.stage.page_bytes) as own:
        _long(own)
        seen = _meanwhile(own, found, "reset:1")
        found.same("errno of the writeback", "", seen.first.errno)
        found.same("errno of the reset", "", seen.others[0].errno)
        found.same("the reset waited for the writeback", True, _waited(seen))
        after = own.stage.zram.read_many("initstate", "disksize", "backing_dev")
        found.same("the device after the reset", ["0", "0", "none"], list(after.values()))
        own.stage.as_block_device(64)
        fill(own, span(own, 0, 63), _MIX, own.seed)
        reply = write_back(own, "idle", mark="all")
        found.expect("pages written back afterwards", 64, own.stage.pages_4k(reply.written_4k))
        verify(own, found, span(own, 0, 63), _MIX, own.seed)


def removed_meanwhile(bench: Bench, found: Findings) -> None:
    """Remove the device while a writeback runs: it is refused, or the device is gone and its backing device free."""
    with own_zram(bench, (_LONG_PAGES + 1) * bench.stage.page_bytes) as own:
        _long(own)
        zram = own.stage.zram
        seen = _meanwhile(own, found, f"{_HOT_REMOVE}:{zram.number}")
        errno = seen.others[0].errno
        found.same("a removal is done or refused", True, errno in ("", "EBUSY"))
        there = own.stage.device.execute(Exec(("test", "-e", zram.dir), accept=(0, 1)))[0].status == 0
        found.same("the device is there", bool(errno), there)
        found.kernel(f"hot_remove during a writeback: {errno or 'waits, then removes'}")


def swapoff_meanwhile(bench: Bench, found: Findings) -> None:
    """Switch swap off while its pages are written back: every page is in memory again and whole."""
    with own_zram(bench, (_LONG_PAGES + 64) * bench.stage.page_bytes) as own:
        stage = own.stage
        stage.as_swap(_LONG_PAGES)
        stage.set_batch_size(stage.batch_sizes([1])[0])
        pages = _LONG_PAGES * 3 // 4
        own.probe.fill_area(_AREA, pages * stage.page_bytes, mix="c50@3,i50", seed=own.seed)
        found.measured("pages swapped out", own.probe.pageout(_AREA, seconds=LIMIT_S).swapped, pages * 9 // 10)
        stage.zram.write("idle", "all")
        seen = _meanwhile(own, found, f"swapoff:{stage.zram.node}")
        found.same("errno of writeback and swapoff", ("", ""), (seen.first.errno, seen.others[0].errno))
        checked = own.probe.verify_area(_AREA, seconds=LIMIT_S)
        found.none("corrupt pages", checked.corrupt)
        found.none("blocks in use after swapoff", max(0, in_use(own) - 1))
        own.probe.drop(_AREA)


def writer_killed(bench: Bench, found: Findings) -> None:
    """Kill the process that writes to ``writeback``: what was begun is whole, and the rest can be written back."""
    with own_zram(bench, (_LONG_PAGES + 1) * bench.stage.page_bytes) as own:
        _long(own)
        stage, zram = own.stage, own.stage.zram
        script = f"echo idle > {zram.attribute('writeback')} & sleep 0.1; kill -9 $!; wait"
        stage.device.execute(Exec(("sh", "-c", script), accept=tuple(range(256))), seconds=LIMIT_S)
        # Where attributes wait for a writeback this one does; else the writer is gone by now.
        done = stage.pages_4k(zram.bd_stat().count_4k)
        found.kernel(f"a writer that is killed leaves {'all' if done == _LONG_PAGES else 'not all'} pages written back")
        verify(own, found, span(own, 0, _LONG_PAGES - 1), _MIX, own.seed)
        rest = write_back(own, "idle", mark="all")
        found.expect("blocks in use in the end", _LONG_PAGES, stage.pages_4k(rest.bd_after.count_4k))
        found.expect("writes in all", _LONG_PAGES, stage.pages_4k(rest.bd_after.writes_4k))
        verify(own, found, span(own, 0, _LONG_PAGES - 1), _MIX, own.seed)
        free_all(own, found, _LONG_PAGES)
