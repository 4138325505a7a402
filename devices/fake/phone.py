"""FakePhone: a transport for self-tests, as harsh as the kernel.

A third implementation beside adb, with the rules that matter for putting a phone back: attributes frozen after
disksize, reset refused while swap is on, reset clears what the kernel clears and keeps what it keeps (T5), a loop
device that stays while somebody holds it. It can cut the cable before any command, or lose the answer after it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from base.deadline import Deadline
from base.errors import CommandFailed, DeviceLost
from devices.fake.android import FakeAndroid, Refused
from devices.probe.session import PROBE_FOLDER, PROBE_PATH
from devices.transport import CommandResult, Exec, Op, Process, Read, WireTime, Write

_ZRAM_DEFAULTS = {
    "disksize": "0", "initstate": "0", "comp_algorithm": "[lzo-rle] lzo lz4 zstd", "backing_dev": "none",
    "writeback_limit": "0", "writeback_limit_enable": "0", "writeback_batch_size": "32", "compressed_writeback": "0",
    "mm_stat": "0 0 0 0 0 0 0 0 0", "bd_stat": "0 0 0", "mem_limit": "0",
}  # fmt: skip
_KEPT_BY_RESET = ("writeback_limit", "writeback_limit_enable", "writeback_batch_size", "compressed_writeback")
_FROZEN = ("disksize", "comp_algorithm", "backing_dev", "compressed_writeback")
_BUSY, _INVALID = "Device or resource busy", "Invalid argument"


@dataclass
class FakePhone:
    """State of the phone as plain data, so that two phones can be compared with ``state()``.

    ``commands_left``: so many more operations are carried out, then the cable is pulled. ``lose_answer``: the operation
    that would be the first to fail is still carried out, only its answer is lost.
    """

    serial: str = "FAKE01"
    wire: WireTime = field(default_factory=WireTime)
    lives_in: str = field(default_factory=lambda: f"process {os.getpid()}")
    files: dict[str, str] = field(default_factory=dict)
    swaps: dict[str, tuple[int, int]] = field(default_factory=dict)
    swap_used_kib: int = 0
    loops: dict[int, str] = field(default_factory=dict)
    commands_left: int | None = None
    lose_answer: bool = False
    free_bytes: int = 8 << 30
    log: list[str] = field(default_factory=list)
    android: FakeAndroid = field(init=False)

    def __post_init__(self) -> None:
        self.android = FakeAndroid(lambda: self.files)
        self.files |= {
            "/proc/sys/kernel/random/boot_id": "11111111-1111-1111-1111-111111111111",
            "/proc/meminfo": "MemTotal:        8000000 kB\nMemAvailable:    4000000 kB\nSwapTotal: 0 kB\n",
            "/proc/stat": "cpu  1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\n",
            "/proc/filesystems": "nodev\tsysfs\n\tf2fs\n",
            "/dev/loop-control": "",
            "/sys/class/zram-control/hot_add": "",
        }
        for name, value in _ZRAM_DEFAULTS.items():
            self.files[f"/sys/block/zram0/{name}"] = value

    def state(self) -> tuple[dict[str, str], dict[str, tuple[int, int]], dict[int, str], tuple[object, ...]]:
        """All that a run must put back. The probe's folder holds tools of ours and may stay."""
        files = {path: text for path, text in self.files.items() if not path.startswith(f"{PROBE_FOLDER}/")}
        return files, dict(self.swaps), dict(self.loops), self.android.state()

    def reboot(self) -> None:
        """New boot id; zram, swap and loop are gone, files stay."""
        fresh = FakePhone()
        stay = {path: text for path, text in self.files.items() if path.startswith("/data/")}
        self.files = fresh.files | stay
        self.files["/proc/sys/kernel/random/boot_id"] = "22222222-2222-2222-2222-222222222222"
        self.swaps, self.loops = {}, {}
        self.android.reboot()

    def execute(self, ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
        self.wire.trips += 1
        results: list[CommandResult] = []
        stopped = False
        for op in ops:
            if stopped:
                results.append(CommandResult(op, 0, "", "", skipped=True))
                continue
            result = self._guarded(op)
            results.append(result)
            stopped = not result.ok and not keep_going
        return results

    def start(self, argv: Sequence[str], *, deadline: Deadline) -> Process:
        raise CommandFailed(" ".join(argv), 1, "FakePhone runs no long-lived programs; use the virtual phone")

    def push(self, local: Path, remote: str, *, mode: int = 0o644, deadline: Deadline) -> None:
        self._spend(lambda: self.files.__setitem__(remote, f"{local.stat().st_size} bytes"))

    def pull(self, remote: str, local: Path, *, deadline: Deadline) -> None:
        if remote not in self.files:
            raise CommandFailed(f"pull {remote}", 1, "No such file or directory")
        local.write_text(self.files[remote], encoding="utf-8")

    def close(self) -> None:
        """Nothing to close."""

    def _guarded(self, op: Op) -> CommandResult:
        result: list[CommandResult] = []
        self._spend(lambda: result.append(self._carry_out(op)))
        return result[0]

    def _spend(self, action: Callable[[], None]) -> None:
        if self.commands_left == 0:
            if self.lose_answer:
                self.lose_answer = False
                action()
            raise DeviceLost(f"{self.serial}: unplugged")
        if self.commands_left is not None:
            self.commands_left -= 1
        action()

    def _carry_out(self, op: Op) -> CommandResult:
        self.log.append(str(op))
        try:
            match op:
                case Read(path):
                    text = self._read(path)
                    return (
                        CommandResult(op, 250, "", "", missing=True) if text is None else CommandResult(op, 0, text, "")
                    )
                case Write(path, value):
                    self._write(path, value)
                    return CommandResult(op, 0, "", "")
                case Exec(argv):
                    return CommandResult(op, 0, self._run(argv), "")
        except Refused as refused:
            return CommandResult(op, refused.status, refused.stdout, f"{op}: {refused}")

    def _read(self, path: str) -> str | None:
        if path == "/proc/swaps":
            rows = [
                f"{name}                                \tpartition\t{size}\t{self.swap_used_kib}\t{prio}"
                for name, (size, prio) in self.swaps.items()
            ]
            return "\n".join(["Filename\tType\tSize\tUsed\tPriority", *rows]) + "\n"
        if path == "/sys/class/zram-control/hot_add":
            return self._hot_add()
        return self.files.get(path)

    def _hot_add(self) -> str:
        number = next(n for n in range(99) if f"/sys/block/zram{n}/disksize" not in self.files)
        for name, value in _ZRAM_DEFAULTS.items():
            self.files[f"/sys/block/zram{number}/{name}"] = value
        return str(number)

    def _write(self, path: str, value: str) -> None:
        if zram := re.fullmatch(r"/sys/block/zram(\d+)/(\w+)", path):
            self._write_zram(int(zram[1]), zram[2], value)
        elif path == "/sys/class/zram-control/hot_remove":
            self._hot_remove(int(value))
        elif path == "/dev/kmsg":
            self.android.kmsg(value)
        elif path.startswith("/sys/"):
            raise Refused("No such file or directory")
        else:
            self.files[path] = value

    def _hot_remove(self, number: int) -> None:
        folder = f"/sys/block/zram{number}/"
        if f"{folder}disksize" not in self.files:
            raise Refused("No such device")
        if self._in_swap(number):
            raise Refused(_BUSY)
        self.files = {path: text for path, text in self.files.items() if not path.startswith(folder)}

    def _in_swap(self, number: int) -> bool:
        return any(name.endswith(f"/zram{number}") for name in self.swaps)

    def _write_zram(self, number: int, name: str, value: str) -> None:
        folder = f"/sys/block/zram{number}/"
        if folder + name not in self.files and name != "reset":
            raise Refused("No such file or directory")
        if folder + "disksize" not in self.files:
            raise Refused("No such file or directory")
        if name == "reset":
            self._reset_zram(number)
            return
        if name in _FROZEN and self.files[folder + "disksize"] != "0":
            raise Refused(_BUSY)
        self.files[folder + name] = self._stored(folder, name, value)

    def _reset_zram(self, number: int) -> None:
        if self._in_swap(number):
            raise Refused(_BUSY)
        for attribute, default in _ZRAM_DEFAULTS.items():
            if attribute not in _KEPT_BY_RESET:
                self.files[f"/sys/block/zram{number}/{attribute}"] = default

    def _stored(self, folder: str, name: str, value: str) -> str:
        """What the attribute reads after ``value`` was written; Refused for what the driver refuses."""
        if name == "comp_algorithm":
            known = self.files[folder + name].replace("[", "").replace("]", "").split()
            if value not in known:
                raise Refused(_INVALID)
            return " ".join(f"[{word}]" if word == value else word for word in known)
        if name == "backing_dev":
            loop = re.fullmatch(r"/dev/block/loop(\d+)", value)
            if loop is None or int(loop[1]) not in self.loops:
                raise Refused("No such file or directory")
            return value
        if not value.isdigit() or (name in ("disksize", "writeback_batch_size") and int(value) == 0):
            raise Refused(_INVALID)
        if name == "writeback_limit_enable":
            return str(int(value != "0"))
        return value

    def _grep(self, argv: tuple[str, ...]) -> str:
        pattern, path = argv[2].replace("[[:space:]]", r"\s"), argv[3]
        found = [line for line in (self._read(path) or "").splitlines() if re.search(pattern, line)]
        if not found:
            raise Refused("")
        return "".join(f"{line}\n" for line in found)

    def _run(self, argv: tuple[str, ...]) -> str:
        program = {
            "uname": self._uname, "getconf": lambda a: "4096\n", "readlink": self._readlink,
            "id": lambda a: "0\n", "swapoff": self._swapoff, "swapon": self._swapon, "mkswap": self._mkswap,
            "rm": self._rm, "mkdir": lambda a: "", "test": self._test, "stat": self._stat, "ls": self._ls,
            "sha256sum": lambda a: "", "cat": self._cat, "grep": self._grep, PROBE_PATH: self._probe,
        }.get(argv[0]) or self.android.program(argv[0])  # fmt: skip
        if program is None:
            raise Refused("inaccessible or not found", status=127)
        return program(argv)

    def _cat(self, argv: tuple[str, ...]) -> str:
        texts = []
        for path in argv[1:]:
            text = self._read(path)
            if text is None:
                raise Refused("No such file or directory")
            # Attributes are kept without the newline that the kernel puts behind each.
            texts.append(f"{text.rstrip()}\n" if path.startswith("/sys/") else text)
        return "".join(texts)

    def _uname(self, argv: tuple[str, ...]) -> str:
        return {"-r": "7.3.4-fake\n", "-v": "#1 SMP PREEMPT fake\n", "-m": "aarch64\n"}[argv[1]]

    def _readlink(self, argv: tuple[str, ...]) -> str:
        return "/sys/devices/platform/soc/1d84000.ufshc/host0/target0:0:0/0:0:0:0/block/sda\n"

    def _ls(self, argv: tuple[str, ...]) -> str:
        names = {path.split("/")[3] for path in self.files if path.startswith(argv[1] + "/")}
        return "\n".join(sorted(names)) + "\n"

    def _test(self, argv: tuple[str, ...]) -> str:
        flag, path = argv[1], argv[2]
        if flag == "-w" and path.startswith("/data"):
            return ""
        if any(known == path or known.startswith(f"{path}/") for known in self.files):
            return ""
        raise Refused("")

    def _stat(self, argv: tuple[str, ...]) -> str:
        if argv[1] != "-f":
            raise Refused("No such file or directory")
        return f"{self.free_bytes // 4096} 4096\n"

    def _rm(self, argv: tuple[str, ...]) -> str:
        self.files.pop(argv[-1], None)
        return ""

    def _swapoff(self, argv: tuple[str, ...]) -> str:
        # The device is what counts, not the path that /proc/swaps has for it.
        device = argv[1].rpartition("/")[2]
        listed = [name for name in self.swaps if argv[1].startswith("/dev/") and name.rpartition("/")[2] == device]
        if not listed:
            raise Refused(_INVALID)
        del self.swaps[listed[0]]
        return ""

    def _number(self, node: str) -> int:
        found = re.fullmatch(r"/dev/block/zram(\d+)", node)
        if found is None or self.files.get(f"/sys/block/zram{found[1]}/disksize", "0") == "0":
            raise Refused(_INVALID)
        return int(found[1])

    def _mkswap(self, argv: tuple[str, ...]) -> str:
        number = self._number(argv[1])
        if self._in_swap(number):
            raise Refused(_BUSY)
        return ""

    def _swapon(self, argv: tuple[str, ...]) -> str:
        node = argv[-1]
        self._number(node)
        if node in self.swaps:
            raise Refused(_BUSY)
        self.swaps[node] = (1024, int(argv[2]) if argv[1] == "-p" else -2)
        return ""

    def _probe(self, argv: tuple[str, ...]) -> str:
        options = dict(word.split("=", 1) for word in argv[2:])
        command = {"loop-attach": self._loop_attach, "loop-detach": self._loop_detach}.get(argv[1])
        if PROBE_PATH not in self.files or command is None:
            raise Refused("inaccessible or not found")
        return json.dumps({"ok": True, **command(options), "took_ns": 1_000_000}) + "\n"

    def _loop_attach(self, options: dict[str, str]) -> dict[str, object]:
        if int(options["size"]) > self.free_bytes:
            raise Refused("No space left on device")
        number = next(n for n in range(99) if n not in self.loops)
        created = options["file"] not in self.files
        self.files[options["file"]] = options["size"]
        self.loops[number] = options["file"]
        f2fs = options["file"].startswith("/data/")
        pin = options["pin"] == "1"
        return {
            "loop": f"/dev/block/loop{number}", "number": number, "dio": int(options["direct"]), "dio_errno": "",
            "block_size": int(options["block"]), "configured_by": "LOOP_CONFIGURE",
            "file_bytes": int(options["size"]), "allocated_bytes": int(options["size"]) * int(options["allocate"]),
            "created": int(created), "fs_magic": "0xf2f52010" if f2fs else "0xef53", "pinned": int(pin and f2fs),
            "pin_errno": "ENOTTY" if pin and not f2fs else "",
        }  # fmt: skip

    def _loop_detach(self, options: dict[str, str]) -> dict[str, object]:
        mine = [number for number, file in self.loops.items() if file == options["file"]]
        held = {text for path, text in self.files.items() if path.endswith("/backing_dev")}
        for number in mine:
            if f"/dev/block/loop{number}" in held:
                raise Refused(_BUSY)
            del self.loops[number]
        removed = options.get("remove") == "1" and self.files.pop(options["file"], None) is not None
        return {"detached": len(mine), "removed": int(removed)}
