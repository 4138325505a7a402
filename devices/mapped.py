"""A backing file without a loop device: its own blocks as a device of the device mapper, beside the file system."""

from __future__ import annotations

from base.errors import EnvironmentRefused
from devices.backing import FILE_SYSTEMS, BackingDevice, check_room
from devices.device import Changes
from devices.journal import Expect, ExpectRule, Undo
from devices.probe.session import ProbeFailed, probe_argv
from devices.transport import Exec

MAPPED = "mapped"
"""``BackingDevice.kind`` of such a device"""
_BLOCK = 4096


class MappingRefused(EnvironmentRefused):
    """This file cannot be mapped on this phone; the message says why."""


def mapped_backing(changes: Changes, path: str, size_bytes: int) -> BackingDevice:
    """Make a file and map its blocks; the probe pins it where the file system can, and proves each piece of it.

    What is written there passes by the file system and by metadata encryption: the probe's own pages only.

    Raises EnvironmentRefused when the path is taken, cannot be written or has no room; MappingRefused where the file
    system may move its blocks, and where the kernel lets nobody but the file system on the disk.
    """
    device = changes.device
    check_room(changes, path, size_bytes)
    steps = (Exec(probe_argv("mapped-detach", file=path, remove=True), accept=(0, 1)),)
    # The file outlives a reboot, the mapped device does not.
    undo = Undo(f"mapped file {path} removed", steps, (Expect(path, match=ExpectRule.missing),), survives_reboot=True)
    changes.will_undo(undo)
    try:
        reply = device.probe.mapped_attach(path, size=size_bytes, seconds=300)
    except ProbeFailed as error:
        raise MappingRefused(
            f"{device.serial}: {path} cannot be mapped: {error}",
            hint="a file on F2FS or ext4 can, in a folder that is not encrypted by itself (on Android "
            "/data/unencrypted), where /data lies on a mapped device (metadata encryption); else use kind: loop",
        ) from error
    return BackingDevice(
        node=reply.node, kind=MAPPED, file=path, size_bytes=size_bytes, direct_io=None, block_size_bytes=_BLOCK,
        file_system=FILE_SYSTEMS.get(reply.fs_magic, reply.fs_magic), allocated_bytes=reply.allocated_bytes,
        pinned=reply.pinned,
    )  # fmt: skip
