"""What a phone is, from its own mouth. Unknown is None, never a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from base.deadline import Deadline
from base.errors import UnreadableAnswer
from base.parsing import whole_number
from devices.transport import Exec, Op, Read, Transport

_PROPERTY = re.compile(r"\[([^\]]+)\]: \[")
# What kernels of phones have; below it a page size would be believed that nothing can be divided by.
_PAGE_SIZES = (4096, 16384, 65536)
_UFS_FILES = {
    "specification_version": "device_descriptor/specification_version",
    "manufacturer_id": "device_descriptor/manufacturer_id",
    "life_time_estimation_a": "health_descriptor/life_time_estimation_a",
    "life_time_estimation_b": "health_descriptor/life_time_estimation_b",
    "eol_info": "health_descriptor/eol_info",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the phone is. ``properties`` are Android's, as getprop lists them."""

    serial: str
    properties: Mapping[str, str]
    kernel_release: str
    kernel_build: str
    arch: str
    page_size_bytes: int
    ram_bytes: int
    cpus: int
    ufs: Mapping[str, str | None]
    selinux: str | None

    def prop(self, name: str) -> str | None:
        return self.properties.get(name) or None

    @property
    def virtual(self) -> bool:
        """True for everything that runs in an emulator, ours or Android's own."""
        return "1" in (self.prop("ro.boot.qemu"), self.prop("ro.kernel.qemu"))

    @property
    def accelerator(self) -> str | None:
        return self.prop("ro.boot.lab.accelerator") if self.virtual else None


def parse_properties(text: str) -> dict[str, str]:
    """``[key]: [value]`` lines; a value may span lines. One that is not closed before the next begins is left out."""
    found: dict[str, str] = {}
    name, value = "", list[str]()
    for line in text.split("\n"):
        if begin := _PROPERTY.match(line):
            name, value = begin[1], [line[begin.end() :]]
        elif value:
            value.append(line)
        if value and line.endswith("]"):
            found[name] = "\n".join(value)[:-1]
            value = []
    return found


def identify(transport: Transport, *, deadline: Deadline) -> Identity:
    """Two round trips: the phone, then its UFS controller, whose path the first one gives."""
    ops: list[Op] = [
        Exec(("getprop",)), Exec(("uname", "-r")), Exec(("uname", "-v")), Exec(("uname", "-m")),
        Exec(("getconf", "PAGE_SIZE")), Read("/proc/meminfo"), Read("/proc/stat"),
        Exec(("readlink", "-f", "/sys/block/sda")), Exec(("getenforce",)),
    ]  # fmt: skip
    properties, release, build, arch, page, meminfo, stat, disk, selinux = transport.execute(
        ops, deadline=deadline, keep_going=True
    )
    ram = re.search(r"^MemTotal:[ \t]+(\S+) kB", meminfo.check().stdout, re.MULTILINE)
    return Identity(
        serial=transport.serial,
        properties=parse_properties(properties.stdout),
        kernel_release=release.check().text,
        kernel_build=build.check().text,
        arch=arch.check().text,
        # Up to Android 9 there is no getconf, and there pages have 4 KiB.
        page_size_bytes=_page_size(page.text) if page.ok else 4096,
        ram_bytes=whole_number(ram[1], "/proc/meminfo MemTotal") * 1024 if ram else 0,
        cpus=len(re.findall(r"^cpu\d+ ", stat.stdout, re.MULTILINE)),
        ufs=_ufs(transport, disk.text, deadline),
        selinux=selinux.text if selinux.ok else None,
    )


def _page_size(text: str) -> int:
    size = whole_number(text, "getconf PAGE_SIZE")
    if size not in _PAGE_SIZES:
        raise UnreadableAnswer(f"getconf PAGE_SIZE: {size} is no page size that is known here")
    return size


def _ufs(transport: Transport, disk: str, deadline: Deadline) -> dict[str, str | None]:
    """Vendor, model and what the UFS controller's sysfs tells; all None on a phone without sda."""
    controller = disk.split("/host")[0]
    block = "/sys/block/sda"
    paths = {
        "vendor": f"{block}/device/vendor",
        "model": f"{block}/device/model",
        "revision": f"{block}/device/rev",
        "queue_depth": f"{block}/device/queue_depth",
        **{name: f"{controller}/{path}" for name, path in _UFS_FILES.items()},
    }
    results = transport.execute([Read(path) for path in paths.values()], deadline=deadline, keep_going=True)
    return {name: r.text.strip() if r.ok else None for name, r in zip(paths, results, strict=True)}
