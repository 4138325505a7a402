"""What zram writes back to: a file behind a loop device, or a raw block device (devices/mapped.py has a third)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from base.errors import DeviceError, EnvironmentRefused
from base.parsing import whole_number, whole_numbers
from devices.device import Changes, Device
from devices.journal import Expect, ExpectRule, Undo
from devices.probe.session import ProbeFailed, probe_argv
from devices.profiles.kept_partitions import is_kept
from devices.transport import Exec, Read


@dataclass(frozen=True, slots=True)
class BackingDevice:
    """A backing device as it was read back; sizes in bytes.

    ``file_system`` and ``allocated_bytes`` are None for a raw block device, ``direct_io`` for all but loop devices.
    """

    node: str
    kind: str
    file: str | None
    size_bytes: int
    direct_io: bool | None
    block_size_bytes: int
    file_system: str | None = None
    allocated_bytes: int | None = None
    pinned: bool = False
    queue: Mapping[str, str | None] | None = None

    @property
    def name(self) -> str:
        """The kernel's name of it, such as loop3."""
        return self.node.rsplit("/", 1)[-1]

    def facts(self) -> dict[str, Any]:
        return asdict(self)


class PinRefused(EnvironmentRefused):
    """The file system does not pin this file; the message has its errno."""


# uapi/linux/magic.h
FILE_SYSTEMS = {"0xf2f52010": "f2fs", "0xef53": "ext4", "0x1021994": "tmpfs"}
_BY_NAME = "/dev/block/by-name"
_QUEUE = (
    "nr_requests",
    "scheduler",
    "wbt_lat_usec",
    "rq_affinity",
    "write_cache",
    "logical_block_size",
    "nomerges",
    "max_sectors_kb",
)


def loop_backing(
    changes: Changes, path: str, size_bytes: int, *, direct_io: bool = True, block_size: int = 4096,
    allocate: bool = True, pin: bool = False,
) -> BackingDevice:  # fmt: skip
    """A file on the phone, allocated or sparse, behind a loop device that the probe attaches; both read back.

    Raises EnvironmentRefused when the path is taken, cannot be written or has no room; PinRefused; DeviceError when the
    loop device is not what was asked for (direct I/O silently off would measure the page cache).
    """
    device = changes.device
    check_room(changes, path, size_bytes)
    steps = (Exec(probe_argv("loop-detach", file=path, remove=True), accept=(0, 1)),)
    # The file outlives a reboot, the loop device does not.
    undo = Undo(f"backing file {path} removed", steps, (Expect(path, match=ExpectRule.missing),), survives_reboot=True)
    changes.will_undo(undo)
    try:
        reply = device.probe.loop_attach(
            path, size=size_bytes, direct=direct_io, block=block_size, allocate=allocate, pin=pin, seconds=300
        )
    except ProbeFailed as error:
        raise EnvironmentRefused(
            f"{device.serial}: no backing device at {path}: {error}",
            hint="is the path writable and /data not full? backing.path and backing.size are set in the profile",
        ) from error
    backing = BackingDevice(
        node=reply.loop, kind="loop", file=path, size_bytes=size_bytes, direct_io=reply.dio,
        block_size_bytes=reply.block_size, file_system=FILE_SYSTEMS.get(reply.fs_magic, reply.fs_magic),
        allocated_bytes=reply.allocated_bytes, pinned=reply.pinned,
    )  # fmt: skip
    if pin and not backing.pinned:
        reason = reply.pin_errno or "no reason given"
        raise PinRefused(
            f"{device.serial}: {path} on {backing.file_system} cannot be pinned: {reason}",
            hint="only F2FS pins files; leave backing.pinned out of the profile",
        )
    if backing.direct_io != direct_io or (direct_io and backing.block_size_bytes != block_size):
        raise DeviceError(
            f"{device.serial}: {backing.node}: direct I/O {backing.direct_io} with blocks of "
            f"{backing.block_size_bytes} bytes, asked for {direct_io} with {block_size}",
            hint="this file system cannot do direct I/O here (checkpoint, encryption, compression?)",
        )
    return backing


def partition_backing(changes: Changes, node: str) -> BackingDevice:
    """A raw block device, whose content is lost.

    Raises EnvironmentRefused when it is no block device, when anybody uses it or a part of it, and when it is one of
    those that a phone is lost without.
    """
    device = changes.device
    # What /proc/mounts and sysfs call it, also when the profile has a link in by-name.
    node = device.run("readlink", "-f", node)
    name = node.rsplit("/", 1)[-1]
    mounts, swaps, kind, size, block, holders, number, mountinfo, parts, names = device.execute(
        Exec(("cat", "/proc/mounts")), Exec(("cat", "/proc/swaps")), Exec(("stat", "-c", "%F", node)),
        Exec(("blockdev", "--getsize64", node)), Exec(("blockdev", "--getss", node)),
        Exec(("ls", f"/sys/class/block/{name}/holders")), Read(f"/sys/class/block/{name}/dev"),
        Read("/proc/self/mountinfo"), Exec(("ls", f"/sys/class/block/{name}")), Exec(("ls", _BY_NAME)), keep_going=True,
    )  # fmt: skip
    if "block" not in kind.text:
        raise EnvironmentRefused(
            f"{device.serial}: {node} is not a block device",
            hint="name one in the profile: backing.path or variants.partition",
        )
    # Device mapper holds what lies below it (encryption, dynamic partitions); a mount may go by another name.
    used = re.search(rf"^{re.escape(node)}\s", mounts.stdout + swaps.stdout, re.MULTILINE) or holders.stdout.split()
    mounted = number.ok and re.search(rf"^\d+ \d+ {re.escape(number.text.strip())} ", mountinfo.stdout, re.MULTILINE)
    if used or mounted:
        raise EnvironmentRefused(f"{device.serial}: {node} is in use", hint="name an unused partition in the profile")
    if any(re.fullmatch(rf"{re.escape(name)}p?\d+", each) for each in parts.stdout.split()):
        raise EnvironmentRefused(
            f"{device.serial}: {node} is a whole disk with partitions on it", hint="name one unused partition of it"
        )
    kept = [each for each in names.stdout.split() if is_kept(each)]
    leads_to = device.execute(*(Exec(("readlink", "-f", f"{_BY_NAME}/{each}")) for each in kept), keep_going=True)
    for each, target in zip(kept, leads_to, strict=True):
        if target.text == node:
            raise EnvironmentRefused(
                f"{device.serial}: {node} is the partition {each}, which is never overwritten",
                hint="name an unused partition in the profile",
            )
    return BackingDevice(
        node, "partition", None, whole_number(size.check().text, f"blockdev --getsize64 {node}"), None,
        whole_number(block.check().text, f"blockdev --getss {node}"),
    )  # fmt: skip


def with_queue(device: Device, backing: BackingDevice) -> BackingDevice:
    """The same with the settings of its request queue; None for each that this kernel does not have."""
    values = device.read_many([f"/sys/block/{backing.name}/queue/{name}" for name in _QUEUE])
    return replace(backing, queue=dict(zip(_QUEUE, values.values(), strict=True)))


def check_room(changes: Changes, path: str, size_bytes: int) -> None:
    """Raise EnvironmentRefused when a file of this size cannot be made there, or something is there already."""
    device = changes.device
    folder = path.rsplit("/", 1)[0]
    exists, writable, free = device.execute(
        Exec(("test", "-e", path), accept=(0, 1)), Exec(("test", "-w", folder), accept=(0, 1)),
        Exec(("stat", "-f", "-c", "%a %S", folder)), keep_going=True,
    )  # fmt: skip
    if exists.status == 0:
        raise EnvironmentRefused(
            f"{device.serial}: {path} is there already and is not ours",
            hint="choose another path in the profile: backing.path or variants.ext4",
        )
    if writable.status != 0 or not free.ok:
        raise EnvironmentRefused(
            f"{device.serial}: {folder} cannot be written: {free.stderr.strip() or 'no permission'}",
            hint="backing.path and variants.ext4 in the profile must lie in a folder that root may write",
        )
    blocks, block_bytes = whole_numbers(free.text.split(), 2, f"stat -f {folder}")
    free_bytes = blocks * block_bytes
    if free_bytes < size_bytes * 1.1:
        raise EnvironmentRefused(
            f"{device.serial}: {folder} has {free_bytes >> 20} MiB free, the backing file needs {size_bytes >> 20} MiB",
            hint="free space on the phone or lower backing.size in the profile",
        )
