"""zram as a module of FakePhone: unloaded, loaded from a file, and known by its build id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from devices.fake.android import Refused
from devices.fake.zram import BUSY, NO_FILE

if TYPE_CHECKING:
    from devices.fake.phone import FakePhone

_FOLDER = "/sys/module/zram"
OWN_FILE = "/vendor/lib/modules/7.3.4-fake/kernel/drivers/block/zram/zram.ko"
OWN_BUILD_ID = "0e" * 20
_NOTE = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0"


def module_file(build_id: str, *, release: str = "7.3.4-fake", version: str = "", name: str = "zram") -> bytes:
    """What a module's file holds that anybody here reads."""
    info = f"\0vermagic={release} SMP preempt\0name={name}\0" + (f"version={version}\0" if version else "")
    return b"\x7fELF\x02\x01" + info.encode() + _NOTE + bytes.fromhex(build_id)


class FakeModules:
    """The phone's zram as a module. Until ``install`` it is built in."""

    def __init__(self, phone: FakePhone) -> None:
        self._phone = phone
        self._note = b""

    def install(self) -> None:
        """Let the phone have loaded its own zram from its own file."""
        self._phone.binaries[OWN_FILE] = module_file(OWN_BUILD_ID)
        self._loaded(OWN_FILE)

    def _loaded(self, path: str) -> None:
        data = self._phone.binaries.get(path, b"")
        note = re.search(re.escape(_NOTE) + rb".{20}", data, re.DOTALL)
        if note is None:
            raise Refused("Exec format error")
        self._note = note[0]
        files = self._phone.files
        files[f"{_FOLDER}/initstate"] = "live"
        if version := re.search(rb"\0version=([^\0]+)", data):
            files[f"{_FOLDER}/version"] = version[1].decode()

    def insmod(self, argv: tuple[str, ...]) -> str:
        """Load it, with as many devices as it is told."""
        if argv[1] not in self._phone.binaries:
            raise Refused(NO_FILE)
        if f"{_FOLDER}/initstate" in self._phone.files:
            raise Refused("File exists")
        self._loaded(argv[1])
        for number in range(int(argv[2].removeprefix("num_devices="))):
            self._phone.add_zram(number)
        return ""

    def rmmod(self, argv: tuple[str, ...]) -> str:
        """Unload it with its devices, unless one is in use."""
        phone = self._phone
        if f"{_FOLDER}/initstate" not in phone.files:
            raise Refused("No such file or directory")
        if any(phone.in_swap(number) for number in phone.zrams):
            raise Refused(BUSY)
        gone = tuple(f"/sys/block/zram{number}/" for number in phone.zrams)
        phone.zrams.clear()
        phone.files = {path: text for path, text in phone.files.items() if not path.startswith((*gone, f"{_FOLDER}/"))}
        return ""

    def xxd(self, argv: tuple[str, ...]) -> str:
        """Print the build id's note, 30 bytes a line."""
        if f"{_FOLDER}/initstate" not in self._phone.files:
            raise Refused(NO_FILE)
        digits = self._note.hex()
        return "".join(f"{digits[at : at + 60]}\n" for at in range(0, len(digits), 60))

    def find(self, argv: tuple[str, ...]) -> str:
        """Print the paths of a name below folders."""
        *folders, _, name = argv[1:]
        found = [
            path
            for path in sorted(self._phone.known_paths())
            if path.endswith(f"/{name}") and path.startswith(tuple(f"{folder}/" for folder in folders))
        ]
        return "".join(f"{path}\n" for path in found)
