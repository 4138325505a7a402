"""The fake probe's mapped files: /data lies on a mapped device over a partition, so the kernel lets them in there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from base.kernel import PAGE_4K
from devices.fake.probe_grammar import Call, ProbeRefusal
from devices.fake.storage import FakeDisk, FakeFile

if TYPE_CHECKING:
    from devices.fake.phone import FakePhone

Fields = dict[str, Any]
# What /data is mounted from, and what that one lies on.
DATA, PARTITION = "254:0", "8:10"
_MAJOR = 254


class ProbeMapped:
    """Commands on the device mapper."""

    def __init__(self, phone: FakePhone) -> None:
        self.phone = phone
        self.commands = {
            "mapped-attach": self._attach, "mapped-detach": self._detach, "dm-below": self._below
        }  # fmt: skip

    def _attach(self, call: Call) -> Fields:
        path, size = call.text("file"), call.number("size")
        if not size or size % PAGE_4K:
            raise ProbeRefusal("", f"size={size}: expected a multiple of {PAGE_4K}")
        check_absolute(path)
        if path in self.phone.mapped:
            raise ProbeRefusal("EBUSY", f"{path} is mapped already, as {self.phone.mapped[path]}")
        if path in self.phone.files:
            raise ProbeRefusal("EEXIST", path)
        if not path.startswith("/data/"):
            raise ProbeRefusal("EBUSY", f"{path}: its file system is mounted from 8:16 directly")
        if size > self.phone.free_bytes:
            raise ProbeRefusal("ENOSPC", f"allocate {size} bytes for {path}, where there are {self.phone.free_bytes}")
        number = next(n for n in range(1, 99) if f"dm-{n}" not in self.phone.disks)
        file = FakeFile(size // PAGE_4K, 4096 + sum(2 * f.pages for f in self.phone.placed.values()), True)
        # Nobody has to allocate what was written once: the proof has, and there is no file system in between.
        file.written = set(range(file.pages))
        name = f"dm-{number}"
        self.phone.files[path], self.phone.mapped[path], self.phone.placed[path] = str(size), name, file
        below = self.phone.disks["sda"]
        disk = FakeDisk(name, f"{_MAJOR}:{number}", size, below=below, file=file, through_loop=False)
        self.phone.add_disk(disk)
        return {
            "node": f"/dev/block/{name}", "below": PARTITION, "through": "linear", "extents": len(file.extents()),
            "verified": 4, "file_bytes": size, "allocated_bytes": file.allocated_bytes, "fs_magic": "0xf2f52010",
            "created": 1, "pinned": 1, "pin_errno": "", **self.phone.claims,
        }  # fmt: skip

    def _detach(self, call: Call) -> Fields:
        path = call.text("file")
        check_absolute(path)
        name = self.phone.mapped.get(path)
        held = {text for file, text in self.phone.files.items() if file.endswith("/backing_dev")}
        if name is not None:
            if f"/dev/block/{name}" in held:
                raise ProbeRefusal("EBUSY", f"remove the mapped device of {path}")
            del self.phone.mapped[path]
            self.phone.remove_disk(name)
        removed = call.number("remove") == 1 and path in self.phone.files
        if removed:
            self.phone.remove(path)
        return {"detached": int(name is not None), "removed": int(removed)}

    def _below(self, call: Call) -> Fields:
        if not re.match(r"\d+:\d+", call.text("dev")):
            raise ProbeRefusal("", f"dev={call.text('dev')}: expected MAJOR:MINOR")
        if call.text("dev") != DATA:
            raise ProbeRefusal("ENXIO", f"the table of the mapped device {call.text('dev')}")
        return {"type": "linear", "below": PARTITION, "offset": 0}


def check_absolute(path: str) -> None:
    """Raise ProbeRefusal for what the probe takes for no path of a file."""
    if not path.startswith("/") or path.endswith("/") or len(path) >= 512:
        raise ProbeRefusal("", f"file={path}: expected an absolute path of less than 512 bytes")
