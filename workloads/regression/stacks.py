"""zram as the disk of a file system, with its backing file on another, and storage that fails below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from base.units import MIB
from devices.backing import BackingDevice, loop_backing
from devices.device import Changes, Device
from devices.journal import Expect, ExpectRule, Undo
from devices.probe.commands import DevicePages
from devices.probe.session import PROBE_FOLDER, ProbeFailed, probe_argv
from devices.transport import Exec, Write
from workloads.bench import Bench
from workloads.regression.findings import Findings
from workloads.regression.own import (
    LIMIT_S,
    fill,
    has_no,
    in_use,
    own_path,
    own_zram,
    span,
    verify,
    with_own_zram,
    write_back,
)

FILE_SYSTEMS = ("f2fs", "ext4", "btrfs")
_MAKE = {"ext4": ("mke2fs", "-q", "-F", "-t", "ext4"), "btrfs": ("mkfs.btrfs", "-q", "-f")}
_ZRAM_BYTES, _BACKING_BYTES, _HOLDER_BYTES = 32 * MIB, 24 * MIB, 64 * MIB
_STILL_BYTES, _BUSY_BYTES = 6 * MIB, 4 * MIB
_MIX, _BUSY_S = "c50@3,i50", 8
_RECLAIM = "/sys/fs/cgroup/memory.reclaim"
_LOWER = f"{PROBE_FOLDER}/regression_lower"
_UPPER = f"{PROBE_FOLDER}/regression_upper"


def missing_for(bench: Bench, file_system: str) -> str:
    """Say what the phone lacks for a backing file on this file system; empty where there is nothing."""
    if file_system == "f2fs":
        wanted = own_path(bench.stage).rpartition("/")[0]
        kind = bench.stage.device.run("stat", "-f", "-c", "%t", wanted)
        return "" if kind == "f2f52010" else f"{wanted} is not on f2fs"
    return has_no(bench.stage.device, file_system, _MAKE[file_system][0])


@contextmanager
def _mounted(changes: Changes, node: str, folder: str, file_system: str) -> Iterator[None]:
    """Mount a new file system on a block device for this scope."""
    device = changes.device
    gone = Expect("/proc/mounts", f" {folder} ", ExpectRule.lacks)
    changes.will_undo(Undo(f"{folder} unmounted", (Exec(("umount", folder)), Exec(("rmdir", folder))), (gone,)))
    make = Exec((*_MAKE[file_system], node))
    mount = Exec(("mount", "-t", file_system, node, folder))
    for result in device.execute(make, Exec(("mkdir", "-p", folder)), mount, seconds=LIMIT_S):
        result.check()
    yield


@contextmanager
def _on(bench: Bench, file_system: str) -> Iterator[Bench]:
    """Yield the bench on a zram whose backing file lies on this file system, one of the check's own but for f2fs."""
    if file_system == "f2fs":
        with own_zram(bench, _BACKING_BYTES) as own:
            yield own
        return
    device = bench.stage.device
    with device.changes() as changes:
        holder = loop_backing(changes, own_path(bench.stage), _HOLDER_BYTES)
        with _mounted(changes, holder.node, _LOWER, file_system), own_zram(
            bench, _BACKING_BYTES, path=f"{_LOWER}/backing"
        ) as own:  # fmt: skip
            yield own


def stack(bench: Bench, found: Findings, *, file_system: str) -> None:
    """Mount ext4 on zram, write back under load with reclaim running, verify, check and mount the file system again."""
    with _on(bench, file_system) as own, own.stage.device.changes() as changes:
        stage, device = own.stage, own.stage.device
        stage.as_block_device(stage.pages(_ZRAM_BYTES))
        found.facts["backing file on"] = stage.backing.file_system
        still, busy = _file("still", stage.pages(_STILL_BYTES)), _file("busy", stage.pages(_BUSY_BYTES))
        with _mounted(changes, stage.zram.node, _UPPER, "ext4"):
            for file, size in ((still, _STILL_BYTES), (busy, _BUSY_BYTES)):
                device.run("truncate", "-s", str(size), file.path)
                own.probe.fill_device(file, mix=_MIX, seed=own.seed, seconds=LIMIT_S)
            device.run("sync")
            _under_load(own, found, busy)
            reply = write_back(own, "idle", mark="all")
            found.same("errno of writeback", "", reply.errno)
            verify(own, found, still, _MIX, own.seed)
            device.execute(Exec(("umount", _UPPER)), seconds=LIMIT_S)[0].check()
            checked = device.execute(
                Exec(("e2fsck", "-fn", stage.zram.node), accept=tuple(range(128))), seconds=LIMIT_S
            )
            found.same("e2fsck's exit status", 0, checked[0].status)
            device.execute(Exec(("mount", "-t", "ext4", stage.zram.node, _UPPER)), seconds=LIMIT_S)[0].check()
            verify(own, found, still, _MIX, own.seed)


def _file(name: str, pages: int) -> DevicePages:
    return DevicePages(f"{_UPPER}/{name}", 0, pages - 1)


def _under_load(bench: Bench, found: Findings, file: DevicePages) -> None:
    stage = bench.stage
    reclaims = stage.device.execute(Exec(("test", "-e", _RECLAIM), accept=(0, 1)))[0].status == 0
    take_memory = f"{_RECLAIM}:4M" if reclaims else "/proc/sys/vm/drop_caches:3"
    found.facts["memory was taken by"] = take_memory
    seen = bench.probe.hammer_path(
        file.path, pages=file.hi + 1, mix=_MIX, seed=bench.seed, zram=stage.zram.number, duration_s=_BUSY_S,
        readers=1, writers=1, freers=1, pokes=f"idle:all;writeback:idle,writeback:huge,{take_memory}", seconds=LIMIT_S,
    )  # fmt: skip
    found.none("corrupt pages", seen.corrupt)
    found.none("failed reads, writes and holes", seen.failed)
    found.measured("pages compared", seen.pages, 50)
    found.measured("pages written back (4 KiB)", seen.written_4k, 50)
    found.facts["pokes"] = {poke.step: {"done": poke.done, **poke.refused} for poke in seen.pokes}


def failing_storage(bench: Bench, found: Findings) -> None:
    """Let the storage fail in the middle: writes are refunded, reads end with EIO, what is in memory stays whole."""
    with bench.stage.device.changes() as changes:
        holder = loop_backing(changes, own_path(bench.stage), _HOLDER_BYTES)
        with _mounted(changes, holder.node, _LOWER, "ext4"):
            backing = _unlinkable(changes, holder, bench.stage.device)
            own = bench.on(with_own_zram(changes, replace(bench.stage, backing=backing)))
            _fail(own, found)


def _unlinkable(changes: Changes, holder: BackingDevice, device: Device) -> BackingDevice:
    """A backing file that is gone with its file system: on one that failed, no file can be removed."""
    path = f"{_LOWER}/backing"
    changes.will_undo(Undo(f"{path} detached", (Exec(probe_argv("loop-detach", file=path), accept=(0, 1)),)))
    loop = device.probe.loop_attach(
        path, size=_BACKING_BYTES, direct=True, block=holder.block_size_bytes, allocate=True, pin=False, seconds=LIMIT_S
    )
    return replace(holder, node=loop.loop, file=path, size_bytes=_BACKING_BYTES, file_system="ext4")


def _fail(bench: Bench, found: Findings) -> None:
    stage, probe, half = bench.stage, bench.probe, 128
    stage.as_block_device(2 * half)
    fill(bench, span(bench, 0, half - 1), "i100", bench.seed)
    reply = write_back(bench, "idle", mark="all")
    found.expect("pages written before the storage failed", half, stage.pages_4k(reply.written_4k))
    fill(bench, span(bench, half, 2 * half - 1), "i100", bench.seed)
    probe.fs_shutdown(_LOWER)
    limit_4k = stage.limit_4k(4 * half * stage.page_bytes)
    stage.device.execute(
        Write(stage.zram.attribute("writeback_limit"), str(limit_4k)),
        Write(stage.zram.attribute("writeback_limit_enable"), "1"),
    )
    failed = write_back(bench, "idle", mark="all")
    found.same("errno of a writeback to storage that fails", "EIO", failed.errno)
    found.expect("limit left after it, all refunded (4 KiB)", limit_4k, int(stage.zram.read("writeback_limit")))
    found.expect("blocks in use after it", half, in_use(bench))
    verify(bench, found, span(bench, half, 2 * half - 1), "i100", bench.seed)
    try:
        seen = probe.verify_device(span(bench, 0, half - 1), mix="i100", seed=bench.seed, seconds=LIMIT_S)
        found.none("reads of storage that fails which were answered", seen.pages)
    except ProbeFailed as error:
        found.same("errno of a read from storage that fails", "EIO", error.errno)
