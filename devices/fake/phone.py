"""FakePhone: a transport for self-tests, as harsh as the kernel.

A third implementation beside adb, with the rules that matter for putting a phone back: attributes frozen after
disksize, reset refused while swap is on, reset clears what the kernel clears and keeps what it keeps, a loop device
that stays while somebody holds it. The probe runs on it too (devices/fake/probe.py), and time passes only for what is
done. It can cut the cable before any operation, or lose the answer after it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TypeVar

from base.deadline import Deadline
from base.errors import CommandFailed, DeviceLost
from base.units import GIB, NS_PER_MS
from devices.fake.android import FakeAndroid, Refused
from devices.fake.content import Contents
from devices.fake.memory import FakeMemory
from devices.fake.modules import FakeModules
from devices.fake.probe import FakeProbe
from devices.fake.probe_grammar import ProbeRefusal
from devices.fake.probe_mapped import DATA, PARTITION
from devices.fake.probe_race import RaceTruth
from devices.fake.programs import Programs
from devices.fake.storage import FakeClock, FakeDisk, FakeFile, sysfs_of
from devices.fake.tracefs import TRACEFS, FakeTracefs, tracefs_files
from devices.fake.zram import BUSY, DEFAULTS, DOORS, INVALID, NO_DEVICE, NO_FILE, FakeZram
from devices.probe.session import PROBE_FOLDER, PROBE_PATH
from devices.transport import CommandResult, Exec, Op, Process, Read, WireTime, Write

_MEMORY = "MemTotal:        8000000 kB\nMemAvailable:    4000000 kB\n"
_MOUNTS = "/dev/block/dm-0 /data f2fs rw 0 0\n/dev/block/sdb /mnt/scratch ext4 rw 0 0\n"
_DISKS = {"sda": 64 * GIB, "sdb": 4 * GIB, "sdc": GIB // 2}
# A tick of /proc/stat.
_TICK_NS = 10 * NS_PER_MS
QUEUE_DEPTH = 32
_T = TypeVar("_T")
_ZRAM = r"/sys/block/zram(\d+)/(\w+)"


@dataclass
class FakePhone:
    """State of the phone as plain data, so that two phones can be compared with ``state()``.

    ``commands_left``: so many more operations are carried out, then the cable is pulled. ``lose_answer``: the operation
    that would be the first to fail is still carried out, only its answer is lost. ``lies`` maps a path to what it reads
    whatever was written to it, ``refuses`` a program or a probe's command to the error that it ends with, and
    ``claims`` has fields of loop-attach's answer that are not true. ``swap_used_kib`` is what others have in each swap
    device. ``kills`` names the app whose process is killed before the n-th switch, and ``race`` is how well the probe
    sees what it races with.
    """

    serial: str = "FAKE01"
    wire: WireTime = field(default_factory=WireTime)
    lives_in: str = field(default_factory=lambda: f"process {os.getpid()}")
    clock_missing: bool = False
    root: str = "none"
    files: dict[str, str] = field(default_factory=dict)
    binaries: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=lambda: {"/dev/block/by-name/zram_backing": "/dev/block/sdc"})
    swaps: dict[str, tuple[int, int]] = field(default_factory=dict)
    swap_used_kib: int = 0
    loops: dict[int, str] = field(default_factory=dict)
    mapped: dict[str, str] = field(default_factory=dict)
    kworkers: dict[int, int] = field(default_factory=lambda: {39: 0, 57: 0, 61: -10})
    commands_left: int | None = None
    lose_answer: bool = False
    free_bytes: int = 8 << 30
    log: list[str] = field(default_factory=list)
    lies: dict[str, str] = field(default_factory=dict)
    refuses: dict[str, str] = field(default_factory=dict)
    claims: dict[str, object] = field(default_factory=dict)
    control: dict[str, object] = field(default_factory=dict)
    android: FakeAndroid = field(init=False)

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.android = FakeAndroid(self._published)
        self.zrams: dict[int, FakeZram] = {}
        self.disks: dict[str, FakeDisk] = {}
        self.placed: dict[str, FakeFile] = {}
        self.memory = FakeMemory(lambda: self.swaps, self.zrams, self.clock)
        self.tracefs = FakeTracefs(lambda: self.files)
        self.modules = FakeModules(self)
        self.programs = Programs(self)
        self.race = RaceTruth()
        self.stored: dict[str, Contents] = {}
        self.kills: dict[int, str] = {}
        self._switches = 0
        self._processes: list[FakeProbe] = []
        self._boot()

    def _boot(self) -> None:
        self.files |= {
            "/proc/sys/kernel/random/boot_id": "11111111-1111-1111-1111-111111111111",
            "/proc/meminfo": _MEMORY, "/proc/filesystems": "nodev\tsysfs\n\tf2fs\n", "/proc/mounts": _MOUNTS,
            "/dev/loop-control": "", "/sys/class/zram-control/hot_add": "",
            "/sys/class/block/sda10/dev": PARTITION, "/sys/class/block/sda10/start": "32768",
            "/sys/class/block/dm-0/dev": DATA, "/sys/class/block/dm-0/slaves/sda10": "",
        }  # fmt: skip
        self.files |= tracefs_files()
        for number, (name, size) in enumerate(_DISKS.items()):
            self.add_disk(FakeDisk(name, f"8:{16 * number}", size), queue_depth=QUEUE_DEPTH)
        self.add_zram(0)

    def add_disk(self, disk: FakeDisk, *, queue_depth: int | None = None) -> None:
        """Let the phone have a disk from now on; ``queue_depth`` is what its sysfs says."""
        disk.told = self.tracefs.told
        self.disks[disk.name] = disk
        self.files |= sysfs_of(disk, queue_depth=queue_depth)

    def remove_disk(self, name: str) -> None:
        del self.disks[name]
        self.files = {path: text for path, text in self.files.items() if not path.startswith(f"/sys/block/{name}/")}

    def add_zram(self, number: int) -> None:
        """Let there be a zram device of that number, as the driver makes it."""
        node = f"/sys/block/zram{number}/"
        self.files |= {node + name: value for name, value in DEFAULTS.items()} | {node + name: "" for name in DOORS}
        self.zrams[number] = FakeZram(
            number, lambda: self.files, lambda: self.in_swap(number), self.disk_at, self.clock
        )  # fmt: skip

    def state(self) -> tuple[dict[str, str], dict[str, tuple[int, int]], dict[int, str], tuple[object, ...]]:
        """All that a run must put back. What lies in the probe's folder is a tool of ours and may stay."""
        files = {
            path: text
            for path, text in self.files.items()
            if not path.startswith(f"{PROBE_FOLDER}/") and not re.fullmatch(r"/sys/block/\w+/stat", path)
        }
        return files, dict(self.swaps), dict(self.loops), (self.android.state(), dict(self.kworkers), dict(self.mapped))

    def reboot(self) -> None:
        """New boot id; zram, swap and loop are gone, files stay."""
        stay = {path: text for path, text in self.files.items() if path.startswith("/data/")}
        self._end_all()
        self.swaps.clear()
        self.loops.clear()
        self.mapped.clear()
        self.files, self.disks = {}, {}
        self.zrams.clear()
        self._boot()
        self.files |= stay | {"/proc/sys/kernel/random/boot_id": "22222222-2222-2222-2222-222222222222"}
        self.android.reboot()

    def _end_all(self) -> None:
        for process in self._processes:
            process.close()
        self._processes = []

    def execute(self, ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
        self.wire.trips += 1
        results: list[CommandResult] = []
        stopped = False
        for op in ops:
            if stopped:
                results.append(CommandResult(op, 0, "", "", skipped=True))
                continue
            result = self.spend(str(op), lambda op=op: self._carry_out(op))  # type: ignore[misc]
            results.append(result)
            stopped = not result.ok and not keep_going
        return results

    def start(self, argv: Sequence[str], *, deadline: Deadline) -> Process:
        """Start the probe, the only program that answers lines."""
        if argv[0] != PROBE_PATH or argv[1] != "serve" or PROBE_PATH not in self.files:
            raise CommandFailed(" ".join(argv), 127, "inaccessible or not found")
        process = self.spend(" ".join(argv), lambda: FakeProbe(self))
        self._processes.append(process)
        return process

    def push(self, local: Path, remote: str, *, mode: int = 0o644, deadline: Deadline) -> None:
        self.spend(f"push {remote}", lambda: self._pushed(local.read_bytes(), remote))

    def _pushed(self, data: bytes, remote: str) -> None:
        self.files[remote] = f"{len(data)} bytes"
        if remote.endswith(".ko"):
            self.binaries[remote] = data

    def pull(self, remote: str, local: Path, *, deadline: Deadline, remove: bool = False) -> None:
        local.write_bytes(self.spend(f"pull {remote}", lambda: self._pulled(remote)))
        if remove:
            self.remove(remote)

    def _pulled(self, remote: str) -> bytes:
        if remote in self.binaries:
            return self.binaries[remote]
        text = self.read(remote)
        if text is None:
            raise CommandFailed(f"pull {remote}", 1, NO_FILE)
        return text.encode()

    def close(self) -> None:
        """Nothing to close."""

    def spend(self, what: str, action: Callable[[], _T]) -> _T:
        """Carry out one operation, unless the cable is pulled before it or its answer is lost."""
        if self.commands_left == 0:
            if self.lose_answer:
                self.lose_answer = False
                self.log.append(what)
                action()
            self._end_all()
            raise DeviceLost(f"{self.serial}: unplugged")
        if self.commands_left is not None:
            self.commands_left -= 1
        self.log.append(what)
        return action()

    def _carry_out(self, op: Op) -> CommandResult:
        try:
            match op:
                case Read(path):
                    text = self.read(path)
                    return (
                        CommandResult(op, 250, "", "", missing=True) if text is None else CommandResult(op, 0, text, "")
                    )
                case Write(path, value):
                    self.write(path, value)
                    return CommandResult(op, 0, "", "")
                case Exec(argv):
                    return CommandResult(op, 0, self._run(argv), "")
        except Refused as refused:
            return CommandResult(op, refused.status, refused.stdout, f"{op}: {refused}")

    def _run(self, argv: tuple[str, ...]) -> str:
        if argv[0] != PROBE_PATH:
            return self.programs.run(argv)
        if PROBE_PATH not in self.files:
            raise Refused("inaccessible or not found", status=127)
        process = FakeProbe(self)
        answer = process.answer(" ".join(argv[1:]))
        process.close()
        if '"ok":false' in answer:
            raise Refused("", stdout=f"{answer}\n")
        return f"{answer}\n"

    def read(self, path: str) -> str | None:
        """Return what a file says, None for one that is not there. Raises Refused for one that cannot be read."""
        if path in self.lies:
            return self.lies[path]
        if made := {"/proc/swaps": self._swaps, "/proc/meminfo": self._meminfo, "/proc/stat": self._stat}.get(path):
            return made()
        if path == "/sys/class/zram-control/hot_add":
            number = next(n for n in range(99) if n not in self.zrams)
            self.add_zram(number)
            return str(number)
        if worker := re.fullmatch(r"/proc/(\d+)/stat", path):
            return self._worker_stat(int(worker[1])) or self.files.get(path)
        if (zram := re.fullmatch(_ZRAM, path)) and int(zram[1]) in self.zrams and path in self.files:
            return self._read_zram(self.zrams[int(zram[1])], zram[2])
        if path.startswith(TRACEFS) and path.endswith("/trace") and path in self.files:
            return self.tracefs.text(path)
        return self._published().get(path, self.files.get(path.replace("/sys/class/block/", "/sys/block/")))

    def _read_zram(self, zram: FakeZram, name: str) -> str:
        if name in DOORS:
            raise Refused("Permission denied")
        return zram.books(name) if name in ("mm_stat", "bd_stat") else self.files[zram.folder + name]

    def _published(self) -> dict[str, str]:
        """The files with the counters of the disks as they stand now; a disk that did nothing has a test's own."""
        for disk in self.disks.values():
            if disk.reads or disk.writes:
                self.files[f"/sys/block/{disk.name}/stat"] = disk.stat()
        return self.files

    def _swaps(self) -> str:
        memory = self.memory
        rows = [
            f"{name:<40}partition\t{memory.size_kib(name)}\t{self.swap_used_kib + memory.used_kib(name)}\t{prio}"
            for name, (_, prio) in self.swaps.items()
        ]
        return "\n".join(["Filename\tType\tSize\tUsed\tPriority", *rows]) + "\n"

    def _meminfo(self) -> str:
        total = sum(self.memory.size_kib(name) for name in self.swaps)
        used = sum(self.memory.used_kib(name) for name in self.swaps)
        return f"{self.files['/proc/meminfo']}SwapTotal:       {total} kB\nSwapFree:        {total - used} kB\n"

    def _stat(self) -> str:
        busy = self.clock.busy_ns // _TICK_NS
        idle = 2 * self.clock.now_ns // _TICK_NS - busy
        return "".join(f"cpu{name} {busy} 0 0 {idle} 0 0 0 0 0 0\n" for name in (" ", "0", "1"))

    def _worker_stat(self, pid: int) -> str | None:
        nice = self.kworkers.get(pid)
        fields = f"0 0 0 0 0 0 {20 + (nice or 0)} {nice} 1 0 0"
        return None if nice is None else f"{pid} (kworker/u8:{pid}) I 2 0 0 0 -1 69238880 0 0 {fields}\n"

    def write(self, path: str, value: str) -> None:
        """Write a file with one write(2). Raises Refused as the kernel refuses."""
        if zram := re.fullmatch(_ZRAM, path):
            if int(zram[1]) not in self.zrams:
                raise Refused(NO_FILE)
            self.zrams[int(zram[1])].write(zram[2], value)
        elif path == "/sys/class/zram-control/hot_remove":
            self._hot_remove(int(value))
        elif path == "/dev/kmsg":
            self.android.kmsg(value)
        elif path.startswith(TRACEFS):
            self.tracefs.write(path, value)
        elif path.endswith("/wb_on") and path in self.files:
            self._switch_write_booster(path, value)
        elif path in self.files and re.fullmatch(r"/sys/block/\w+/queue/\w+", path):
            self.files[path] = _chosen(self.files[path], value)
        elif path.startswith("/sys/"):
            raise Refused(NO_FILE)
        else:
            self.files[path] = value

    def _switch_write_booster(self, path: str, value: str) -> None:
        if path in self.refuses:
            raise Refused(self.refuses[path])
        if value not in ("0", "1"):
            raise Refused(INVALID)
        self.files[path] = value

    def _hot_remove(self, number: int) -> None:
        if number not in self.zrams:
            raise Refused(NO_DEVICE)
        if self.in_swap(number):
            raise Refused(BUSY)
        del self.zrams[number]
        folder = f"/sys/block/zram{number}/"
        self.files = {path: text for path, text in self.files.items() if not path.startswith(folder)}

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        self.files.pop(path, None)
        self.binaries.pop(path, None)
        self.placed.pop(path, None)

    def known_paths(self) -> Iterator[str]:
        """All files, links, and the nodes of the disks."""
        return chain(self.files, self.binaries, self.links, (f"/dev/block/{name}" for name in self.disks))

    def in_swap(self, number: int) -> bool:
        return any(name.endswith(f"/zram{number}") for name in self.swaps)

    def disk_at(self, node: str) -> FakeDisk | None:
        """Return the disk whose node this is, None where there is none."""
        folder, _, name = self.links.get(node, node).rpartition("/")
        return self.disks.get(name) if folder == "/dev/block" else None

    def has_folder(self, path: str) -> bool:
        """Say whether a file can be made there."""
        folder = path.rpartition("/")[0]
        if folder.startswith("/data/") or f" {folder} " in self.files["/proc/mounts"]:
            return True
        return any(known.startswith(f"{folder}/") for known in self.known_paths())

    def write_out(self, path: str, data: bytes, fields: Mapping[str, object] | None = None) -> None:
        """Keep a result file for the host to pull; ``fields`` are what is known when that fails."""
        if not self.has_folder(path):
            raise ProbeRefusal("ENOENT", f"create {path}", fields)
        self.binaries[path] = data

    def numbers(self, path: str) -> list[int]:
        """Return the numbers of a small file, as the probe reads them."""
        text = self.read(path)
        if text is None:
            raise ProbeRefusal("ENOENT", f"read {path}")
        return [int(word) for word in text.split()]

    def bd_stat(self, number: int) -> list[int]:
        """Return what zram's books say: blocks, reads and writes."""
        return self.numbers(f"/sys/block/zram{number}/bd_stat")

    def before_switch(self) -> None:
        """An app is about to be switched to; the phone may kill one before."""
        self._switches += 1
        if name := self.kills.pop(self._switches, ""):
            self.android.running.pop(name, None)

    def disk_named(self, name: str) -> FakeDisk:
        """Return a disk by its name below /sys/class/block, as the probe looks it up."""
        if "/" in name or name.startswith("."):
            raise ProbeRefusal("", f"{name}: not the name of a disk")
        if name not in self.disks:
            raise ProbeRefusal("ENOENT", f"open /sys/class/block/{name}/stat")
        return self.disks[name]


def _chosen(old: str, value: str) -> str:
    """Return what a queue's attribute reads after a write: one that lists its choices has another in brackets."""
    if "[" not in old:
        return f"{value}\n"
    words = old.replace("[", "").replace("]", "").split()
    if value not in words:
        raise Refused(INVALID)
    return " ".join(f"[{word}]" if word == value else word for word in words) + "\n"
