"""What zram writes back to: a file behind a loop device, or a raw block device."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from devices.device import Changes
from devices.errors import DeviceError, EnvironmentRefused
from devices.journal import Expect, Match, Undo
from devices.probe import ProbeFailed, probe_argv
from devices.transport import Run


@dataclass(frozen=True, slots=True)
class BackingDevice:
    """A backing device as it was read back. ``direct_io`` is None for a raw block device; sizes in bytes."""

    node: str
    kind: str
    file: str | None
    size_bytes: int
    direct_io: bool | None
    block_size_bytes: int
    allocated_bytes: int | None = None
    pinned: bool = False
    queue: Mapping[str, str | None] | None = None

    def facts(self) -> dict[str, Any]:
        return asdict(self)


_QUEUE = ("nr_requests", "scheduler", "wbt_lat_usec", "rq_affinity", "write_cache", "logical_block_size")


def loop_backing(
    changes: Changes, path: str, size_bytes: int, *, direct_io: bool = True, block_size: int = 4096,
    allocate: bool = True, pin: bool = False,
) -> BackingDevice:  # fmt: skip
    """A file on the phone's /data, allocated, behind a loop device that the probe attaches; both read back.

    Raises EnvironmentRefused when the path is taken, cannot be written or /data has no room; DeviceError when the loop
    device is not what was asked for (direct I/O silently off would measure the page cache).
    """
    device = changes.device
    _check_room(changes, path, size_bytes)
    steps = (Run(probe_argv("loop-detach", file=path, remove=True), accept=(0, 1)),)
    # The file outlives a reboot, the loop device does not.
    undo = Undo(f"backing file {path} removed", steps, (Expect(path, match=Match.missing),), survives_reboot=True)
    changes.will_undo(undo)
    try:
        reply = device.probe.call(
            "loop-attach", file=path, size=size_bytes, direct=direct_io, block=block_size, allocate=allocate, pin=pin,
            seconds=300,
        )  # fmt: skip
    except ProbeFailed as error:
        raise EnvironmentRefused(
            f"{device.serial}: no backing device at {path}: {error}",
            hint="is the path writable and /data not full? backing.path and backing.size are set in the profile",
        ) from error
    number = reply["number"]
    queue = device.read_many([f"/sys/block/loop{number}/queue/{name}" for name in _QUEUE])
    backing = BackingDevice(
        node=reply["loop"], kind="loop", file=path, size_bytes=size_bytes, direct_io=bool(reply["dio"]),
        block_size_bytes=reply["block_size"], allocated_bytes=reply["allocated_bytes"], pinned=bool(reply["pinned"]),
        queue={name: queue[f"/sys/block/loop{number}/queue/{name}"] for name in _QUEUE},
    )  # fmt: skip
    if backing.direct_io != direct_io or (direct_io and backing.block_size_bytes != block_size):
        raise DeviceError(
            f"{device.serial}: {backing.node}: direct I/O {backing.direct_io} with blocks of "
            f"{backing.block_size_bytes} bytes, asked for {direct_io} with {block_size}",
            hint="this file system cannot do direct I/O here (checkpoint, encryption, compression?)",
        )
    return backing


def partition_backing(changes: Changes, node: str) -> BackingDevice:
    """A raw block device, whose content is lost. Refused when it is mounted, in use, or not a block device."""
    device = changes.device
    mounts, swaps, kind, size, block = device.execute(
        Run(("cat", "/proc/mounts")), Run(("cat", "/proc/swaps")), Run(("stat", "-c", "%F", node)),
        Run(("blockdev", "--getsize64", node)), Run(("blockdev", "--getss", node)), keep_going=True,
    )  # fmt: skip
    if "block" not in kind.text:
        raise EnvironmentRefused(
            f"{device.serial}: {node} is not a block device", hint="set backing.path in the profile"
        )
    if re.search(rf"^{re.escape(node)}\s", mounts.stdout + swaps.stdout, re.MULTILINE):
        raise EnvironmentRefused(f"{device.serial}: {node} is in use", hint="name an unused partition in the profile")
    return BackingDevice(node, "partition", None, int(size.check().text), None, int(block.check().text))


def _check_room(changes: Changes, path: str, size_bytes: int) -> None:
    device = changes.device
    folder = path.rsplit("/", 1)[0]
    exists, writable, free = device.execute(
        Run(("test", "-e", path), accept=(0, 1)), Run(("test", "-w", folder), accept=(0, 1)),
        Run(("stat", "-f", "-c", "%a %S", folder)), keep_going=True,
    )  # fmt: skip
    if exists.status == 0:
        raise EnvironmentRefused(
            f"{device.serial}: {path} is there already and is not ours",
            hint="choose another backing.path in the profile",
        )
    if writable.status != 0 or not free.ok:
        raise EnvironmentRefused(
            f"{device.serial}: {folder} cannot be written: {free.stderr.strip() or 'no permission'}",
            hint="backing.path in the profile must lie in a folder that root may write",
        )
    blocks, block_bytes = (int(word) for word in free.text.split()[:2])
    free_bytes = blocks * block_bytes
    if free_bytes < size_bytes * 1.1:
        raise EnvironmentRefused(
            f"{device.serial}: {folder} has {free_bytes >> 20} MiB free, the backing file needs {size_bytes >> 20} MiB",
            hint="free space on the phone or lower backing.size in the profile",
        )
