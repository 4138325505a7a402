"""Which disk a file or a block device lies on, and what that disk's own counters say."""

from __future__ import annotations

import re
from dataclasses import dataclass

from base.errors import CommandFailed, UnreadableAnswer
from base.kernel import SECTOR
from base.parsing import whole_number, whole_numbers
from base.units import shown
from devices.device import Device
from devices.probe.session import ProbeFailed
from devices.transport import Exec, Read

# Partition on device mapper on device mapper is the most that phones have (dm-default-key on dm-linear).
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Disk:
    """A whole disk of the phone. ``start_sector``: where the file system on it begins, in sectors of 512 bytes.

    ``exact`` is False when layers in between may move sectors, so that a file's extents cannot be told on the disk.
    """

    name: str
    number: str
    start_sector: int
    exact: bool


@dataclass(frozen=True, slots=True)
class DiskStat:
    """Documentation/block/stat.rst; counted when requests complete. Times in ms, sizes in bytes."""

    reads: int
    writes: int
    written_bytes: int
    time_in_queue_ms: int

    @classmethod
    def parse(cls, text: str) -> DiskStat:
        """Raises UnreadableAnswer for what is no ``stat`` file."""
        words = whole_numbers(text.split(), 11, "the stat file of a disk")
        return cls(words[0], words[4], words[6] * SECTOR, words[10])


def read_stats(device: Device, *names: str) -> dict[str, DiskStat]:
    """The counters of several disks, in one round trip."""
    results = device.execute(*(Read(f"/sys/class/block/{name}/stat") for name in names))
    return {name: DiskStat.parse(result.check().text) for name, result in zip(names, results, strict=True)}


def disk_below(device: Device, path: str) -> Disk | None:
    """The disk that a file, or a block device's node, lies on; None where that cannot be found out.

    Goes from the mount through partitions and device mapper, as far as each layer has exactly one below it.
    """
    node = path if path.startswith("/dev/") else _mounted_from(device, path)
    if node is None:
        return None
    name = device.run("readlink", "-f", node).rsplit("/", 1)[-1]
    start, exact = 0, True
    for _ in range(_DEEPEST):
        folder = f"/sys/class/block/{name}"
        where, slaves, number, offset = device.execute(
            Exec(("readlink", "-f", folder)), Exec(("ls", f"{folder}/slaves")), Read(f"{folder}/dev"),
            Read(f"{folder}/start"), keep_going=True,
        )  # fmt: skip
        below = slaves.stdout.split() if slaves.ok else []
        if len(below) == 1:
            offset_below = _offset_below(device, number.text.strip())
            start, exact = start + (offset_below or 0), exact and offset_below is not None
            name = below[0]
        elif offset.ok:
            start += whole_number(offset.text, f"{folder}/start")
            name = where.text.rsplit("/", 2)[-2]
        elif below or not number.ok:
            return None
        else:
            return Disk(name, number.text.strip(), start, exact)
    return None


def _offset_below(device: Device, number: str) -> int | None:
    """The sector below where a mapped device begins; None where its table says that sectors may move, or is not told.

    sysfs knows what lies below, the table knows where; the probe can ask for it.
    """
    try:
        return device.probe.dm_below(number).offset
    except (ProbeFailed, CommandFailed):
        return None


def _mounted_from(device: Device, path: str) -> str | None:
    """The block device of the innermost mount that holds ``path``, from /proc/mounts; None for one without."""
    best: tuple[int, str] | None = None
    for line in device.read("/proc/mounts").splitlines():
        if len(words := line.split()) < 2:
            raise UnreadableAnswer(f"/proc/mounts: {shown(line)} is no mount")
        source, point = (re.sub(r"\\([0-3][0-7]{2})", lambda m: chr(int(m[1], 8)), word) for word in words[:2])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= best[0]):
            best = (len(point), source)
    return best[1] if best and best[1].startswith("/dev/") else None
