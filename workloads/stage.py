"""The zram device and the backing device that a run measures on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from base.deadline import Deadline
from base.kernel import DEFAULT_BATCH_SIZE, PAGE_4K
from devices.android.selinux import make_permissive
from devices.backing import BackingDevice, loop_backing, partition_backing, with_queue
from devices.capability import Capability, detect
from devices.device import Changes, Device
from devices.in_use import check_takeover
from devices.mapped import mapped_backing
from devices.module_swap import swap_zram_module
from devices.probe.commands import DevicePages
from devices.profiles.profile import Profile
from devices.profiles.sections import BackingKind, SELinuxMode, WriteBoosterMode, ZramDevice
from devices.storage import Disk, disk_below
from devices.swaps import FIRST_SWAP, make_way
from devices.transport import Write
from devices.write_booster import switch_write_booster_off
from devices.zram import Zram, ZramConfig, hot_add, take_over, zram_numbers

# As many as any page size and any kernel takes.
_TRIED_PAGES = 64


@dataclass(slots=True)
class Stage:
    """A phone set up for measuring. Sizes in bytes, pages in the phone's page size."""

    device: Device
    profile: Profile
    zram: Zram
    backing: BackingDevice
    disk: Disk | None
    """the disk below the backing device, or the device itself; None where it cannot be found"""
    comp_algorithm: str | None = None
    """instead of the profile's"""
    compressed_writeback: bool = False
    batch_size: int | None = None
    """instead of the kernel's default"""

    @property
    def page_bytes(self) -> int:
        return self.device.identity.page_size_bytes

    @property
    def has_batch_size(self) -> bool:
        """Say whether this kernel has ``writeback_batch_size``."""
        return Capability.writeback_batch_size in self.device.capabilities

    def batch_sizes(self, wanted: Sequence[int]) -> tuple[int | None, ...]:
        """Return the batch sizes to measure: those that are wanted, or only None on a kernel without the attribute."""
        return tuple(wanted) if self.has_batch_size else (None,)

    def ways_to_write(self, wanted: Sequence[bool]) -> tuple[bool | None, ...]:
        """Return the values of ``compressed_writeback`` to measure: those wanted, or only None without it."""
        return tuple(wanted) if self.zram.compressed_writeback() is not None else (None,)

    @property
    def backing_pages(self) -> int:
        """Return how many pages fit for sure: kernels up to 6.18 leave block 0 unused."""
        return self.backing.size_bytes // self.page_bytes - 1

    def pages(self, size_bytes: int) -> int:
        return size_bytes // self.page_bytes

    def all_pages(self, pages: int) -> DevicePages:
        """Return all pages of a zram of so many pages, for the probe's commands."""
        return DevicePages(self.zram.node, 0, pages - 1)

    def pages_4k(self, count_4k: int) -> int:
        """Convert a number of bd_stat, in 4 KiB whatever the page size, to the phone's pages."""
        return count_4k * PAGE_4K // self.page_bytes

    def limit_4k(self, size_bytes: int) -> int:
        """Convert bytes to zram's unit of a writeback limit, in whole pages.

        Some kernels take a limit that ends within a page as none at all.
        """
        return self.pages(size_bytes) * self.page_bytes // PAGE_4K

    def as_block_device(self, pages: int) -> None:
        """Make zram an empty device of so many pages, not used as swap, on the backing device."""
        self._configure(pages)

    def as_swap(self, pages: int) -> None:
        """Make zram the swap device of highest priority; mkswap's header takes one page more."""
        self._configure(pages + 1, swap_priority=FIRST_SWAP)

    def set_batch_size(self, batch_size: int | None) -> None:
        if batch_size is not None:
            self.zram.write("writeback_batch_size", str(batch_size))

    @contextmanager
    def on_backing(self, attach: Callable[[Changes], BackingDevice], disk: Disk | None) -> Iterator[Stage]:
        """Yield a stage with the same zram on another backing device; afterwards zram is empty and the device gone.

        This stage stays as it is: the next thing that is measured on it has its own backing device again.
        """
        with self.device.changes() as changes:
            backing = attach(changes)
            changes.will_undo(self.zram.let_go())
            yield replace(self, backing=backing, disk=disk)

    def _configure(self, pages: int, swap_priority: int | None = None) -> None:
        config = ZramConfig(
            disksize_bytes=pages * self.page_bytes,
            comp_algorithm=self.comp_algorithm or self.profile.zram.comp_algorithm,
            backing_dev=self.backing.node,
            writeback_batch_size=self.batch_size or DEFAULT_BATCH_SIZE,
            compressed_writeback=self.compressed_writeback,
        )
        self.zram.configure(config, swap_priority=swap_priority)


def set_stage(changes: Changes, profile: Profile) -> Stage:
    """Attach the profile's backing device, then take or make its zram; both are put back with the scope.

    The way back runs in the opposite order: the loop device must be free before it can be detached.
    """
    device = changes.device
    takes_over = profile.zram.device is ZramDevice.takeover
    if takes_over:
        check_takeover(device, profile.zram.number)
    if profile.selinux is SELinuxMode.permissive:
        make_permissive(changes)
    device.probe.install(device.identity.arch)
    if profile.zram.module:
        swap_zram_module(changes, Path(profile.zram.module))
        device.capabilities = detect(
            device.transport, deadline=Deadline.after(device.command_s), zram_number=profile.zram.number
        )
    wanted = profile.backing
    if wanted.kind is BackingKind.raw_partition:
        backing = partition_backing(changes, wanted.path)
    elif wanted.kind is BackingKind.mapped:
        backing = mapped_backing(changes, wanted.path, wanted.size)
    else:
        backing = loop_backing(
            changes,
            wanted.path,
            wanted.size,
            direct_io=wanted.direct_io,
            block_size=wanted.block_size,
            pin=wanted.pinned,
        )
    backing = with_queue(device, backing)
    zram = take_over(changes, profile.zram.number) if takes_over else hot_add(changes, zram_numbers(device))
    make_way(changes, zram.node)
    stage = Stage(device, profile, zram, backing, disk_below(device, backing.file or backing.node))
    if profile.write_booster is WriteBoosterMode.off:
        switch_write_booster_off(changes, stage.disk)
    device.capabilities |= _found_by_trying(stage)
    return stage


def _found_by_trying(stage: Stage) -> frozenset[Capability]:
    """Try to write back a page that is not there: kernels before 5.12 do not know how to name one."""
    device = stage.device
    if Capability.page_index in device.capabilities or Capability.writeback not in device.capabilities:
        return frozenset()
    stage.as_block_device(_TRIED_PAGES)
    tried = device.execute(Write(stage.zram.attribute("writeback"), f"page_index={_TRIED_PAGES - 1}"))[0]
    return frozenset({Capability.page_index}) if tried.ok else frozenset()
