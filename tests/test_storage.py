"""Finding the disk below a file, as mounts, partitions and device mapper lie on phones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from base.errors import UnreadableAnswer
from devices.device import Device
from devices.probe.mapped import Below
from devices.probe.session import ProbeFailed
from devices.storage import Disk, DiskStat, disk_below
from devices.transport import CommandResult, Exec, Op, Read

STAT = "     100       1      800       20      200        3     1600       40        2       50       60        0"


@dataclass(frozen=True)
class Tables:
    """A probe that knows the tables of mapped devices: where each begins below; it refuses to tell of others."""

    offsets: Mapping[str, int]

    def dm_below(self, number: str) -> Below:
        if number not in self.offsets:
            raise ProbeFailed("probe dm-below", f"the mapped device {number} is a snapshot", "", {})
        return Below("default-key", "259:17", self.offsets[number])


class Sysfs:
    """Answers reads and a few programs from a table, as a phone with these block devices would."""

    def __init__(self, files: dict[str, str], links: dict[str, str], folders: dict[str, str]) -> None:
        self.files, self.links, self.folders = files, links, folders

    def execute(self, ops: list[Op], **_: Any) -> list[CommandResult]:
        return [self._answer(op) for op in ops]

    def _answer(self, op: Op) -> CommandResult:
        match op:
            case Read(path):
                found = self.files.get(path)
            case Exec(("readlink", "-f", path)):
                found = self.links.get(path, path)
            case Exec(("ls", path)):
                found = self.folders.get(path)
            case _:
                raise AssertionError(op)
        return CommandResult(op, 0 if found is not None else 1, found or "", "", missing=found is None)


def device(sysfs: Sysfs, **offsets: int) -> Device:
    fake: Any = object.__new__(Device)
    fake.transport, fake.command_s, fake.probe = sysfs, 30.0, Tables(offsets)
    phone: Device = fake
    return phone


def whole_disk() -> Sysfs:
    """The virtual phone: F2FS on all of sda."""
    return Sysfs(
        {
            "/proc/mounts": "rootfs / rootfs rw 0 0\n/dev/block/sda /data f2fs rw 0 0\n",
            "/sys/class/block/sda/dev": "8:0\n",
        },
        {"/sys/class/block/sda": "/sys/devices/pci/host0/block/sda"},
        {"/sys/class/block/sda/slaves": ""},
    )


def encrypted_partition() -> Sysfs:
    """A phone with metadata encryption: dm-default-key on a partition of the UFS disk."""
    mounts = "/dev/block/dm-0 / ext4 ro 0 0\n/dev/block/dm-52 /data f2fs rw 0 0\ntmpfs /data/foreign tmpfs rw 0 0\n"
    return Sysfs(
        {
            "/proc/mounts": mounts,
            "/sys/class/block/dm-52/dev": "254:52\n",
            "/sys/class/block/sda33/start": "2048000\n",
            "/sys/class/block/sda33/dev": "259:17\n",
            "/sys/class/block/sda/dev": "8:0\n",
        },
        {
            "/sys/class/block/dm-52": "/sys/devices/virtual/block/dm-52",
            "/sys/class/block/sda33": "/sys/devices/platform/ufs/host0/block/sda/sda33",
            "/sys/class/block/sda": "/sys/devices/platform/ufs/host0/block/sda",
            "/dev/block/by-name/userdata": "/dev/block/sda33",
        },
        {
            "/sys/class/block/dm-52/slaves": "sda33\n",
            "/sys/class/block/sda33/slaves": "",
            "/sys/class/block/sda/slaves": "",
        },
    )


@pytest.mark.parametrize(
    ("sysfs", "path", "disk"),
    [
        (whole_disk(), "/data/per_boot/file", Disk("sda", "8:0", 0, True)),
        (encrypted_partition(), "/data/per_boot/file", Disk("sda", "8:0", 2048000, False)),
        (encrypted_partition(), "/dev/block/by-name/userdata", Disk("sda", "8:0", 2048000, True)),
        (encrypted_partition(), "/data/foreign/file", None),
    ],
    ids=["whole disk", "device mapper that does not tell where", "a partition's node", "no disk at all"],
)
def test_the_disk_below(sysfs: Sysfs, path: str, disk: Disk | None) -> None:
    assert disk_below(device(sysfs), path) == disk


def test_where_a_mapped_device_begins_below_is_asked_for_and_added() -> None:
    found = disk_below(device(encrypted_partition(), **{"254:52": 4096}), "/data/per_boot/file")
    assert found == Disk("sda", "8:0", 2048000 + 4096, True)


def test_several_disks_below_are_not_guessed_between() -> None:
    sysfs = encrypted_partition()
    sysfs.folders["/sys/class/block/dm-52/slaves"] = "sda33\nsdb1\n"
    assert disk_below(device(sysfs), "/data/file") is None


def test_a_stat_file_is_read_by_its_columns() -> None:
    assert DiskStat.parse(STAT) == DiskStat(100, 200, 1600 * 512, 60)
    with pytest.raises(UnreadableAnswer, match="the stat file of a disk"):
        DiskStat.parse("1 2 3")
