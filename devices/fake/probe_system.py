"""The fake probe's loop devices, loads, kernel workers, and its view of where a file lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from base.kernel import PAGE_4K, SECTOR
from base.units import MIB, NS_PER_S, NS_PER_US
from devices.fake.probe_grammar import Call, ProbeRefusal
from devices.fake.probe_mapped import check_absolute
from devices.fake.records import EXTENT
from devices.fake.storage import FakeDisk, FakeFile

if TYPE_CHECKING:
    from devices.fake.phone import FakePhone

Fields = dict[str, Any]
_WRITE_BYTES = 512 * 1024
_CONTROL_NS = 100 * NS_PER_US
# What a load does in a second, and how much slower the storage is meanwhile.
_LOADS = {"cpu": (0, 1.5), "random_read": (40 * MIB, 3.0), "sequential_write": (128 * MIB, 2.0)}


@dataclass(frozen=True, slots=True)
class _Load:
    kind: str
    threads: int
    began_ns: int
    limit_ns: int
    most_bytes: int
    rate: int
    path: str


class ProbeSystem:
    """Commands on what belongs to the phone rather than to the probe's process."""

    def __init__(self, phone: FakePhone) -> None:
        self.phone = phone
        self._load: _Load | None = None
        self.commands = {
            "loop-attach": self._loop_attach, "loop-detach": self._loop_detach, "extents": self._extents,
            "control": self._control, "kworkers": self._kworkers, "renice": self._renice,
            "load-start": self._load_start, "load-stop": self._load_stop,
        }  # fmt: skip

    def end(self) -> None:
        """The process ends, and its load with it."""
        self._load = None
        self._slow(1.0)

    def _loop_attach(self, call: Call) -> Fields:
        path, size, block = call.text("file"), call.number("size"), call.number("block")
        if not block or block > 65536 or not size or size % block:
            raise ProbeRefusal("", f"size={size} block={block}: expected a size that is a multiple of the block")
        check_absolute(path)
        taken = next((number for number, file in self.phone.loops.items() if file == path), None)
        if taken is not None:
            raise ProbeRefusal("EBUSY", f"{path} is attached to loop{taken} already")
        allocate, pin, direct = (call.number(name) == 1 for name in ("allocate", "pin", "direct"))
        if allocate and size > self.phone.free_bytes:
            raise ProbeRefusal("ENOSPC", f"allocate {size} bytes for {path}, where there are {self.phone.free_bytes}")
        number = next(n for n in range(99) if n not in self.phone.loops)
        created, f2fs = path not in self.phone.files, path.startswith("/data/")
        file = FakeFile(size // PAGE_4K, 4096 + sum(2 * f.pages for f in self.phone.placed.values()), allocate)
        self.phone.files[path], self.phone.loops[number], self.phone.placed[path] = str(size), path, file
        below = self.phone.disks["sda" if f2fs else "sdb"]
        self.phone.add_disk(FakeDisk(f"loop{number}", f"7:{number}", size, below=below, file=file, direct=direct))
        return {
            "loop": f"/dev/block/loop{number}", "number": number, "dio": int(direct), "dio_errno": "",
            "block_size": block, "configured_by": "LOOP_CONFIGURE", "file_bytes": size,
            "allocated_bytes": file.allocated_bytes, "fs_magic": "0xf2f52010" if f2fs else "0xef53",
            "created": int(created), "pinned": int(pin and f2fs), "pin_errno": "ENOTTY" if pin and not f2fs else "",
            **self.phone.claims,
        }  # fmt: skip

    def _loop_detach(self, call: Call) -> Fields:
        path = call.text("file")
        check_absolute(path)
        mine = [number for number, file in self.phone.loops.items() if file == path]
        held = {text for name, text in self.phone.files.items() if name.endswith("/backing_dev")}
        for number in mine:
            if f"/dev/block/loop{number}" in held:
                raise ProbeRefusal("EBUSY", f"open /dev/block/loop{number}")
            del self.phone.loops[number]
            self.phone.remove_disk(f"loop{number}")
        removed = call.number("remove") == 1 and path in self.phone.files
        if removed:
            self.phone.remove(path)
        return {"detached": len(mine), "removed": int(removed)}

    def _extents(self, call: Call) -> Fields:
        path = call.text("file")
        if path not in self.phone.files:
            raise ProbeRefusal("ENOENT", f"open {path}")
        if path not in self.phone.placed:
            raise ProbeRefusal("EOPNOTSUPP", f"FS_IOC_FIEMAP {path}")
        # Where it lies on its disk, less where the partition with its file system begins.
        start = int(self.phone.files["/sys/class/block/sda10/start"]) * SECTOR // PAGE_4K
        extents = self.phone.placed[path].extents(start if path.startswith("/data/") else 0)
        self.phone.write_out(call.text("out"), np.array(extents, EXTENT).tobytes())
        return {"extents": len(extents)}

    def _control(self, call: Call) -> Fields:
        """Others do nothing on this phone, and it has no cpufreq, unless a test says otherwise."""
        clock, path = self.phone.clock, call.text("file")
        if path and path not in self.phone.files and path not in self.phone.links:
            raise ProbeRefusal("ENOENT", f"open {path}")
        began_ns, read_ns = clock.now_ns, 8 * self.phone.disks["sda"].read_ns
        clock.spend(_CONTROL_NS)
        clock.spend(read_ns if path else 0, busy=False)
        return {
            "cpu_ns": _CONTROL_NS, **({"read_ns": read_ns} if path else {}), "monotonic_ns": began_ns,
            "busy_ns": clock.busy_ns, "steal_ns": 0, "own_ns": clock.busy_ns, "kworkers_ns": 0, "psi_cpu_us": 0,
            "clocks": [], **self.phone.control,
        }  # fmt: skip

    def _kworkers(self, call: Call) -> Fields:
        return {"pids": [pid for pid, nice in self.phone.kworkers.items() if nice == 0]}

    def _renice(self, call: Call) -> Fields:
        minus = call.number("minus")
        if minus > 20:
            raise ProbeRefusal("", f"minus={minus}: expected 0 to 20")
        pids = [int(word) for word in call.text("pids").split(",") if word.isdigit()]
        mine = [pid for pid in pids if pid in self.phone.kworkers]
        for pid in mine:
            self.phone.kworkers[pid] = -minus
        return {"changed": len(mine)}

    def _load_start(self, call: Call) -> Fields:
        kind, threads, seconds = call.text("kind"), call.number("threads"), call.number("limit_s")
        if self._load is not None:
            raise ProbeRefusal("EBUSY", "a load is running")
        if not 1 <= threads <= 64:
            raise ProbeRefusal("", f"threads={threads}: expected 1 to 64")
        if not 1 <= seconds <= 3600:
            raise ProbeRefusal("", f"limit_s={seconds}: expected 1 to 3600")
        if kind != "cpu":
            self._check_io(call)
        began_ns, most, rate = self.phone.clock.now_ns, call.number("bytes"), call.number("rate")
        self._load = _Load(kind, threads, began_ns, seconds * NS_PER_S, most, rate, call.text("file"))
        self._slow(_LOADS[kind][1])
        return {}

    def _check_io(self, call: Call) -> None:
        path, size = call.text("file"), call.number("size")
        if not path.startswith("/"):
            raise ProbeRefusal("", f"file={path}: expected an absolute path")
        if not call.number("bytes") or not size or size % _WRITE_BYTES:
            raise ProbeRefusal("", f"I/O needs bytes=, a bound, and size=, a multiple of {_WRITE_BYTES}")
        if not self.phone.has_folder(path):
            raise ProbeRefusal("ENOENT", f"open {path}")
        self.phone.files[path] = str(size)

    def _load_stop(self, call: Call) -> Fields:
        load = self._load
        if load is None:
            raise ProbeRefusal("", "no load is running")
        self.end()
        ran_ns = min(self.phone.clock.now_ns - load.began_ns, load.limit_ns)
        rate = _LOADS[load.kind][0]
        rate = min(rate, load.rate * load.threads) if load.rate else rate
        block = _WRITE_BYTES if load.kind == "sequential_write" else 4096
        operations = min(rate * ran_ns // NS_PER_S, load.most_bytes) // block if rate else 0
        ended = ran_ns == load.limit_ns or (load.most_bytes > 0 and operations * block >= load.most_bytes)
        cpu_ns = ran_ns * load.threads if load.kind == "cpu" else ran_ns // 10 + 1000
        return {
            "bytes": operations * block, "operations": operations, "cpu_ns": cpu_ns, "ended_early": int(ended),
        }  # fmt: skip

    def _slow(self, factor: float) -> None:
        for disk in self.phone.disks.values():
            disk.slow = factor
