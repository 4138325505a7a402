"""What a phone can do, found by looking at it instead of at its version."""

from __future__ import annotations

from enum import StrEnum

from base.deadline import Deadline
from devices.transport import Exec, Read, Transport

ZRAM_ATTRIBUTES = (
    "disksize", "initstate", "reset", "comp_algorithm", "algorithm_params", "recomp_algorithm", "recompress",
    "mem_limit", "mem_used_max", "compact", "backing_dev", "idle", "writeback", "bd_stat", "writeback_limit",
    "writeback_limit_enable", "writeback_batch_size", "compressed_writeback", "writeback_compressed", "mm_stat",
    "io_stat", "debug_stat", "max_comp_streams",
)  # fmt: skip


class Capability(StrEnum):
    """The names are what a profile's ``must_have`` may promise."""

    writeback = "writeback"
    writeback_batch_size = "writeback_batch_size"
    writeback_limit = "writeback_limit"
    compressed_writeback = "compressed_writeback"
    idle_age = "idle_age"
    recompress = "recompress"
    page_indexes = "page_indexes"
    page_index = "page_index"
    hot_add = "hot_add"
    loop = "loop"
    f2fs = "f2fs"
    psi = "psi"
    tracefs = "tracefs"


# Attributes of a zram device. Any device tells of those that are the driver's.
_OF_ZRAM: dict[Capability, str] = {
    Capability.writeback: "backing_dev",
    Capability.writeback_batch_size: "writeback_batch_size",
    Capability.writeback_limit: "writeback_limit",
    Capability.compressed_writeback: "compressed_writeback",
    Capability.recompress: "recompress",
}
_ZRAM_LISTING = Exec(("sh", "-c", "ls -d /sys/block/zram*/*"), accept=(0, 1))

FOUND_BY_TRYING = frozenset({Capability.page_index})
"""Leave nothing behind to look at: known once zram is set up for the run (workloads/stage.py)."""

_FILES: dict[Capability, str] = {
    Capability.hot_add: "/sys/class/zram-control",
    Capability.loop: "/dev/loop-control",
    Capability.psi: "/proc/pressure/memory",
    Capability.tracefs: "/sys/kernel/tracing/events/block",
}


def no_writeback(transport: Transport, found: frozenset[Capability], *, deadline: Deadline) -> str:
    """Say why a phone that was looked at cannot write zram pages back; empty when it can."""
    if Capability.writeback in found:
        return ""
    (zram,) = transport.execute([_ZRAM_LISTING], deadline=deadline)
    if zram.stdout.split():
        return "this kernel has no zram writeback"
    if Capability.hot_add in found:
        return "there is no zram device now; a profile with `zram: {device: hot_add}` adds one for a run"
    return "this kernel has no zram"


def detect(transport: Transport, *, deadline: Deadline, zram_number: int = 0) -> frozenset[Capability]:
    """Look in one round trip at what the phone can do; zram's part at zramN, or at any zram where that is not there.

    Two leave no file behind. page_indexes came with the reworked grammar (documented from 6.16); kernels with the batch
    size attribute all have it, on others the probe finds out by trying. idle_age needs CONFIG_ZRAM_TRACK_ENTRY_ACTIME,
    read from config.gz.
    """
    tests = [Exec(("test", "-e", path), accept=(0, 1)) for path in _FILES.values()]
    config = Exec(("zcat", "/proc/config.gz"), accept=(0, 1))
    *results, zram, filesystems, kernel_config = transport.execute(
        [*tests, _ZRAM_LISTING, Read("/proc/filesystems"), config], deadline=deadline, keep_going=True
    )
    found = {name for name, result in zip(_FILES, results, strict=True) if result.status == 0 and not result.skipped}
    listed = zram.stdout.split()
    at_number = [path for path in listed if path.startswith(f"/sys/block/zram{zram_number}/")]
    attributes = {path.rpartition("/")[2] for path in at_number or listed}
    found |= {name for name, attribute in _OF_ZRAM.items() if attribute in attributes}
    if "\tf2fs" in filesystems.stdout:
        found.add(Capability.f2fs)
    actime = ("CONFIG_ZRAM_TRACK_ENTRY_ACTIME=y", "CONFIG_ZRAM_MEMORY_TRACKING=y")
    if any(symbol in kernel_config.stdout for symbol in actime):
        found.add(Capability.idle_age)
    if Capability.writeback_batch_size in found:
        found |= {Capability.page_indexes, Capability.page_index}
    return frozenset(found)
