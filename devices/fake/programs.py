"""The programs of FakePhone's system folder that this project runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from base.kernel import SECTOR
from devices.fake.android import Refused
from devices.fake.tracefs import TRACEFS
from devices.fake.zram import BUSY, INVALID, NO_FILE

if TYPE_CHECKING:
    from devices.fake.phone import FakePhone

Program = Callable[[tuple[str, ...]], str]
_SOC = "/sys/devices/platform/soc/1d84000.ufshc/host0/target0:0:0/0:0:0:"


class Programs:
    """What each program prints. Raises Refused with what it prints when it fails."""

    def __init__(self, phone: FakePhone) -> None:
        self._phone = phone
        self.known: dict[str, Program] = {
            "uname": self._uname, "getconf": lambda argv: "4096\n", "readlink": self._readlink,
            "id": lambda argv: "0\n", "swapoff": self._swapoff, "swapon": self._swapon, "mkswap": self._mkswap,
            "rm": self._rm, "mkdir": self._mkdir, "rmdir": self._rmdir, "test": self._test, "stat": self._stat,
            "ls": self._ls, "sha256sum": lambda argv: "", "cat": self._cat, "head": self._head, "sync": self._sync,
            "blockdev": self._blockdev, "grep": self._grep, "zcat": self._zcat, "insmod": phone.modules.insmod,
            "rmmod": phone.modules.rmmod, "xxd": phone.modules.xxd, "find": phone.modules.find,
        }  # fmt: skip

    def run(self, argv: tuple[str, ...]) -> str:
        """Run a program to its end; return what it prints."""
        program = self.known.get(argv[0]) or self._phone.android.program(argv[0])
        if program is None:
            raise Refused("inaccessible or not found", status=127)
        if argv[0] in self._phone.refuses:
            raise Refused(self._phone.refuses[argv[0]])
        return program(argv)

    def _cat(self, argv: tuple[str, ...]) -> str:
        texts = []
        for path in argv[1:]:
            text = self._phone.read(path)
            if text is None:
                raise Refused(NO_FILE)
            # Attributes are kept without the newline that the kernel puts behind each.
            texts.append(f"{text.rstrip()}\n" if path.startswith("/sys/") else text)
        return "".join(texts)

    def _head(self, argv: tuple[str, ...]) -> str:
        return "".join(self._cat(("cat", *argv[3:])).splitlines(keepends=True)[: int(argv[2])])

    def _zcat(self, argv: tuple[str, ...]) -> str:
        text = self._phone.files.get(argv[1])
        if text is None:
            raise Refused(NO_FILE)
        return text

    def _grep(self, argv: tuple[str, ...]) -> str:
        pattern = argv[2].replace("[[:space:]]", r"\s")
        found = [line for line in (self._phone.read(argv[3]) or "").splitlines() if re.search(pattern, line)]
        if not found:
            raise Refused("")
        return "".join(f"{line}\n" for line in found)

    def _uname(self, argv: tuple[str, ...]) -> str:
        return {"-r": "7.3.4-fake\n", "-v": "#1 SMP PREEMPT fake\n", "-m": "aarch64\n"}[argv[1]]

    def _readlink(self, argv: tuple[str, ...]) -> str:
        path = self._phone.links.get(argv[-1], argv[-1])
        name = path.rpartition("/")[2]
        if not re.match(r"/sys/(class/)?block/", path):
            return f"{path}\n"
        if found := re.fullmatch(r"(sd([a-z]))\d+", name):
            return f"{_SOC}{ord(found[2]) - ord('a')}/block/{found[1]}/{name}\n"
        lun = f"{_SOC}{ord(name[2]) - ord('a')}" if name.startswith("sd") else "/sys/devices/virtual"
        return f"{lun}/block/{name}\n"

    def _ls(self, argv: tuple[str, ...]) -> str:
        if len(argv) > 2:
            return "".join(self._ls((argv[0], folder)) for folder in argv[1:])
        folder = argv[1].rstrip("/") + "/"
        names = {
            path.removeprefix(folder).split("/")[0] for path in self._phone.known_paths() if path.startswith(folder)
        }
        if not names:
            raise Refused(NO_FILE)
        return "\n".join(sorted(names)) + "\n"

    def _test(self, argv: tuple[str, ...]) -> str:
        flag, path = argv[1], argv[2]
        if flag == "-w" and path.startswith("/data"):
            return ""
        if any(known == path or known.startswith(f"{path}/") for known in self._phone.known_paths()):
            return ""
        if f" {path} " in self._phone.files["/proc/mounts"]:
            return ""
        raise Refused("")

    def _stat(self, argv: tuple[str, ...]) -> str:
        if argv[1] == "-f":
            return f"{self._phone.free_bytes // 4096} 4096\n"
        wanted, path = argv[2], argv[3]
        if wanted == "%F" and self._phone.disk_at(path) is not None:
            return "block device\n"
        if path not in self._phone.files:
            raise Refused(NO_FILE)
        if wanted == "%F":
            return "regular file\n"
        file = self._phone.placed.get(path)
        return f"{(file.allocated_bytes if file else 0) // SECTOR} {SECTOR}\n"

    def _blockdev(self, argv: tuple[str, ...]) -> str:
        disk = self._phone.disk_at(argv[2])
        if disk is None:
            raise Refused(NO_FILE)
        return f"{disk.size_bytes if argv[1] == '--getsize64' else 4096}\n"

    def _sync(self, argv: tuple[str, ...]) -> str:
        for disk in self._phone.disks.values():
            disk.flush(self._phone.clock.now_ns)
        return ""

    def _rm(self, argv: tuple[str, ...]) -> str:
        self._phone.remove(argv[-1])
        return ""

    def _mkdir(self, argv: tuple[str, ...]) -> str:
        if argv[-1].startswith(TRACEFS):
            self._phone.tracefs.make(argv[-1])
        return ""

    def _rmdir(self, argv: tuple[str, ...]) -> str:
        self._phone.tracefs.remove(argv[-1])
        return ""

    def _swapoff(self, argv: tuple[str, ...]) -> str:
        # The device is what counts, not the path that /proc/swaps has for it.
        device = argv[1].rpartition("/")[2]
        swaps = self._phone.swaps
        listed = [name for name in swaps if argv[1].startswith("/dev/") and name.rpartition("/")[2] == device]
        if not listed:
            raise Refused(INVALID)
        self._phone.memory.swap_off(listed[0])
        del swaps[listed[0]]
        return ""

    def _number(self, node: str) -> int:
        found = re.fullmatch(r"/dev/block/zram(\d+)", node)
        if found is None or self._phone.files.get(f"/sys/block/zram{found[1]}/disksize", "0") == "0":
            raise Refused(INVALID)
        return int(found[1])

    def _mkswap(self, argv: tuple[str, ...]) -> str:
        if self._phone.in_swap(self._number(argv[1])):
            raise Refused(BUSY)
        return ""

    def _swapon(self, argv: tuple[str, ...]) -> str:
        node = argv[-1]
        self._number(node)
        if node in self._phone.swaps:
            raise Refused(BUSY)
        self._phone.swaps[node] = (1024, int(argv[2]) if argv[1] == "-p" else -2)
        return ""
