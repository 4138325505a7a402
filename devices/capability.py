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
    hot_add = "hot_add"
    loop = "loop"
    f2fs = "f2fs"
    psi = "psi"
    tracefs = "tracefs"


_FILES: dict[Capability, str] = {
    Capability.writeback: "{zram}/backing_dev",
    Capability.writeback_batch_size: "{zram}/writeback_batch_size",
    Capability.writeback_limit: "{zram}/writeback_limit",
    Capability.compressed_writeback: "{zram}/compressed_writeback",
    Capability.recompress: "{zram}/recompress",
    Capability.hot_add: "/sys/class/zram-control",
    Capability.loop: "/dev/loop-control",
    Capability.psi: "/proc/pressure/memory",
    Capability.tracefs: "/sys/kernel/tracing/events/block",
}


def detect(transport: Transport, *, deadline: Deadline, zram_number: int = 0) -> frozenset[Capability]:
    """Look in one round trip at what the phone can do; zram's part is looked for at zramN.

    Two leave no file behind. page_indexes came with the reworked grammar (documented from 6.16); kernels with the batch
    size attribute all have it, on others the probe finds out by trying. idle_age needs CONFIG_ZRAM_TRACK_ENTRY_ACTIME,
    read from config.gz.
    """
    zram = f"/sys/block/zram{zram_number}"
    tests = [Exec(("test", "-e", path.format(zram=zram)), accept=(0, 1)) for path in _FILES.values()]
    config = Exec(("zcat", "/proc/config.gz"), accept=(0, 1))
    *results, filesystems, kernel_config = transport.execute(
        [*tests, Read("/proc/filesystems"), config], deadline=deadline, keep_going=True
    )
    found = {name for name, result in zip(_FILES, results, strict=True) if result.status == 0 and not result.skipped}
    if "\tf2fs" in filesystems.stdout:
        found.add(Capability.f2fs)
    actime = ("CONFIG_ZRAM_TRACK_ENTRY_ACTIME=y", "CONFIG_ZRAM_MEMORY_TRACKING=y")
    if any(symbol in kernel_config.stdout for symbol in actime):
        found.add(Capability.idle_age)
    if Capability.writeback_batch_size in found:
        found.add(Capability.page_indexes)
    return frozenset(found)
