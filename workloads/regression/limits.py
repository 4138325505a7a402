"""A writeback limit is kept to the page, whoever writes to which setting meanwhile."""

from __future__ import annotations

from devices.capability import Capability
from devices.probe.hammering import poke_of
from workloads.bench import Bench
from workloads.regression.findings import Findings
from workloads.regression.own import (
    LIMIT_S,
    fill,
    free_all,
    has,
    own_zram,
    refused_otherwise,
    span,
    verify,
    write_back,
    written,
)

_PAGES = 64
_BATCH = 8
_MIX = "i100"
_HAMMERED_PAGES = 512
_HAMMER_S = 8
# A multiple of 16, so that it is whole pages of up to 64 KiB.
_LIMIT_4K = 48
_LONG_PAGES = 1536
# Of the time of a writeback: what ends so shortly before it may have waited for it.
_SHORTLY = 0.1


def to_the_page(bench: Bench, found: Findings) -> None:
    """Try limits around one page, a batch and all pages; each is charged, kept and told exactly."""
    with own_zram(bench, 2 * _PAGES * bench.stage.page_bytes) as own:
        (batch_size,) = own.stage.batch_sizes([_BATCH])
        for limit in (1, 2, _BATCH - 1, _BATCH, _BATCH + 1, _PAGES - 1, _PAGES, _PAGES + 1):
            _one_limit(own, found, limit, batch_size)
        _switched_off(own, found)


def _prepare(bench: Bench, limit_4k: int, enabled: bool) -> None:
    stage = bench.stage
    stage.as_block_device(_PAGES)
    fill(bench, span(bench, 0, _PAGES - 1), _MIX, bench.seed)
    stage.zram.write("writeback_limit", str(limit_4k))
    stage.zram.write("writeback_limit_enable", str(int(enabled)))


def _one_limit(bench: Bench, found: Findings, limit: int, batch_size: int | None) -> None:
    stage = bench.stage
    _prepare(bench, stage.limit_4k(limit * stage.page_bytes), True)
    stage.set_batch_size(batch_size)
    reply = write_back(bench, "idle", mark="all")
    left = stage.pages_4k(int(stage.zram.read("writeback_limit")))
    found.expect("pages written under a limit", min(limit, _PAGES), stage.pages_4k(reply.written_4k))
    found.expect("pages left of a limit", max(0, limit - _PAGES), left)
    if limit == _PAGES and not has(bench, Capability.page_indexes):
        found.kernel(f"a limit that just suffices ends with {reply.errno or 'success'}")
    else:
        found.same(f"errno under a limit of {limit} of {_PAGES} pages", "EIO" if limit < _PAGES else "", reply.errno)


def _switched_off(bench: Bench, found: Findings) -> None:
    stage = bench.stage
    limit_4k = stage.limit_4k(stage.page_bytes)
    _prepare(bench, limit_4k, False)
    written(bench, found, write_back(bench, "idle", mark="all"), _PAGES, "pages written with the limit switched off")
    found.expect("a limit that is switched off is charged", limit_4k, int(stage.zram.read("writeback_limit")))
    verify(bench, found, span(bench, 0, _PAGES - 1), _MIX, bench.seed)
    _prepare(bench, 0, True)
    reply = write_back(bench, "idle")
    found.kernel(f"a spent limit with nothing to write back ends with {reply.errno or 'success'}")
    found.none("pages written under a spent limit", reply.written_4k)


def budgeted(bench: Bench, found: Findings) -> None:
    """Store limits over and over while pages are written back: no more is written than all of them allow."""
    with own_zram(bench, 4 * _HAMMERED_PAGES * bench.stage.page_bytes) as own:
        stage = own.stage
        stage.as_block_device(_HAMMERED_PAGES)
        fill(own, span(own, 0, _HAMMERED_PAGES - 1), _MIX, own.seed)
        stage.zram.write("writeback_limit_enable", "1")
        store = f"writeback_limit:{_LIMIT_4K}"
        sizes = "writeback_batch_size:1;writeback_batch_size:64" if stage.has_batch_size else "writeback_limit"
        seen = own.probe.hammer_path(
            stage.zram.node, pages=_HAMMERED_PAGES, mix=_MIX, seed=own.seed, zram=stage.zram.number,
            duration_s=_HAMMER_S, writers=2, readers=1, pokes=f"{store};idle:all;writeback:idle,writeback:huge,{sizes}",
            seconds=LIMIT_S,
        )  # fmt: skip
        allowed = poke_of(seen.pokes, store).done * _LIMIT_4K
        found.none("corrupt pages", seen.corrupt)
        found.none("written beyond all limits (4 KiB)", max(0, seen.written_4k - allowed))
        left = int(stage.zram.read("writeback_limit"))
        found.none("a limit that reads more than was ever stored", int(left > _LIMIT_4K))
        found.facts |= {"allowed_4k": allowed, "left_4k": left}
        found.measured("pages written back (4 KiB)", seen.written_4k, 50)
        refused_otherwise(found, seen.pokes, "EIO")


def all_settings_at_once(bench: Bench, found: Findings) -> None:
    """Switch the limit on and off and change limit and batch size while pages are hammered and written back."""
    with own_zram(bench, 4 * _HAMMERED_PAGES * bench.stage.page_bytes) as own:
        stage = own.stage
        stage.as_block_device(_HAMMERED_PAGES)
        fill(own, span(own, 0, _HAMMERED_PAGES - 1), _MIX, own.seed)
        pokes = [
            "idle:all;writeback:idle", f"writeback_limit:0;writeback_limit:{_LIMIT_4K}",
            "writeback_limit_enable:0;writeback_limit_enable:1", "bd_stat;mm_stat;io_stat",
        ]  # fmt: skip
        if stage.has_batch_size:
            pokes.append("writeback_batch_size:1;writeback_batch_size:2;writeback_batch_size:64")
        seen = own.probe.hammer_path(
            stage.zram.node, pages=_HAMMERED_PAGES, mix=_MIX, seed=own.seed, zram=stage.zram.number,
            duration_s=_HAMMER_S, readers=1, writers=1, freers=1, pokes=",".join(pokes), seconds=LIMIT_S,
        )  # fmt: skip
        found.none("corrupt pages", seen.corrupt)
        found.none("failed reads, writes and discards", seen.failed)
        left = int(stage.zram.read("writeback_limit"))
        found.none("a limit that reads more than was ever stored", int(left > _LIMIT_4K))
        found.measured("pages written back (4 KiB)", seen.written_4k, 50)
        refused_otherwise(found, seen.pokes, "EIO")
        free_all(own, found, _HAMMERED_PAGES)


def settings_wait(bench: Bench, found: Findings) -> None:
    """Write to settings while a writeback runs: they wait for it if bd_stat does, so none changes under it."""
    with own_zram(bench, (_LONG_PAGES + 1) * bench.stage.page_bytes) as own:
        stage = own.stage
        stage.as_block_device(_LONG_PAGES)
        fill(own, span(own, 0, _LONG_PAGES - 1), _MIX, own.seed)
        stage.set_batch_size(stage.batch_sizes([1])[0])
        stage.zram.write("idle", "all")
        # More than there is to write, so that it stops no kernel that takes it at once.
        stores = {"writeback_limit": str(stage.limit_4k(4 * _LONG_PAGES * stage.page_bytes))}
        stores["writeback_limit_enable"] = "1"
        if stage.has_batch_size:
            stores["writeback_batch_size"] = "16"
        steps = ["bd_stat", *(f"{name}:{value}" for name, value in stores.items())]
        seen = own.probe.meanwhile(
            zram=stage.zram.number, first="writeback:idle", disk=stage.backing.name, others=steps, seconds=LIMIT_S
        )
        found.measured("the writeback ran while settings were written", int(seen.under_way))
        end_ns = seen.first.ended_ns - _SHORTLY * (seen.first.ended_ns - seen.first.began_ns)
        waited = {step.step.partition(":")[0]: step.ended_ns >= end_ns for step in seen.others}
        found.facts["waited"] = waited
        if waited["bd_stat"]:
            hasty = [name for name, after in waited.items() if not after]
            found.same("settings that did not wait for the writeback", [], hasty)
            found.same("settings afterwards", stores, stage.zram.read_many(*stores))
        else:
            found.kernel("attributes do not wait for a writeback")
        found.same("errno of the steps", {""}, {step.errno for step in (seen.first, *seen.others)})
        stage.zram.write("writeback_limit_enable", "0")
        rest = write_back(own, "idle", mark="all")
        total = stage.pages_4k(rest.bd_after.count_4k)
        found.expect("pages written back in the end", _LONG_PAGES, total)
        found.expect("writes in all", _LONG_PAGES, stage.pages_4k(rest.bd_after.writes_4k))
        verify(own, found, span(own, 0, _LONG_PAGES - 1), _MIX, own.seed)
