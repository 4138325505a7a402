"""The virtual phone's root file system: Android's layout out of Debian's adbd, mksh and toybox and our guest files."""

from __future__ import annotations

import subprocess
from pathlib import Path

from devices.virtual.cpio import Archive
from devices.virtual.elf import argv_in_root, libraries
from devices.virtual.guest_programs import PLACES
from devices.virtual.machines import Processor

GUEST = Path(__file__).parent / "guest"
PACKAGES = ("adbd", "mksh", "toybox", "original-awk", "kmod", "f2fs-tools", "e2fsprogs")

# Where a Debian program goes on the phone, under Android's name for it.
_PROGRAMS = {
    "usr/bin/mksh": "system/bin/sh",
    "usr/bin/toybox": "system/bin/toybox",
    "usr/bin/original-awk": "system/bin/awk",
    "usr/sbin/mkfs.f2fs": "system/bin/make_f2fs",
    "usr/sbin/fsck.f2fs": "system/bin/fsck.f2fs",
    "usr/sbin/f2fs_io": "system/bin/f2fs_io",
    "usr/sbin/mke2fs": "system/bin/mke2fs",
    "usr/sbin/e2fsck": "system/bin/e2fsck",
    "usr/sbin/resize2fs": "system/bin/resize2fs",
    "usr/sbin/tune2fs": "system/bin/tune2fs",
    "usr/lib/android-sdk/platform-tools/adbd": "vendor/bin/adbd",
    "usr/bin/kmod": "vendor/bin/kmod",
}
_ALIASES = {"mksh": "sh", "resize.f2fs": "fsck.f2fs", "dump.f2fs": "fsck.f2fs"}
_FOLDERS = (
    *("dev/block", "dev/pts", "proc", "sys", "mnt", "data"),
    *("product/bin", "system_ext/bin", "system/xbin", "odm/bin"),
)
_LINKS = {"bin": "/system/bin", "etc": "/system/etc", "lib/modules": "/vendor/lib/modules", "usr/lib": "/lib"}
# path: major, minor (the kernel's Documentation/admin-guide/devices.txt), mode as Android's ueventd gives it
_DEVICES = {
    "dev/null": (1, 3, 0o666),
    "dev/zero": (1, 5, 0o666),
    "dev/full": (1, 7, 0o666),
    "dev/random": (1, 8, 0o666),
    "dev/urandom": (1, 9, 0o666),
    "dev/kmsg": (1, 11, 0o620),
    "dev/tty": (5, 0, 0o666),
    "dev/console": (5, 1, 0o600),
    "dev/ptmx": (5, 2, 0o666),
    "dev/fuse": (10, 229, 0o666),
    "dev/device-mapper": (10, 236, 0o600),
    "dev/loop-control": (10, 237, 0o660),
}
_ETC = {
    "passwd": "passwd",
    "group": "group",
    "mkshrc": "mkshrc",
    "packages": "packages",
    "modprobe.conf": "modprobe.d/phone.conf",
}


def words(file: Path) -> list[str]:
    """The words of a list in ``guest/etc``, without its comments."""
    return [word for line in file.read_text().splitlines() if not line.startswith("#") for word in line.split()]


def assemble(processor: Processor, root: Path, host_root: Path, programs: Path) -> Archive:
    """The phone's files out of ``root``, Debian for its processor; ``programs`` has the built ones of guest_programs.

    ``host_root`` holds the same toybox for this computer, which can say what is in it.
    """
    archive = Archive()
    for folder in _FOLDERS:
        archive.folder(folder)
    for path, (major, minor, mode) in _DEVICES.items():
        archive.character_device(path, major, minor, mode)
    _add_debian_programs(archive, processor, root)
    _add_applets(archive, host_root)
    _add_own_files(archive, processor, programs)
    for path, target in _LINKS.items():
        archive.link(path, target)
    archive.file("system/etc/mke2fs.conf", root / "etc/mke2fs.conf")
    return archive


def _add_debian_programs(archive: Archive, processor: Processor, root: Path) -> None:
    for source, target in _PROGRAMS.items():
        archive.file(target, (root / source).resolve(), 0o755)
    for library in libraries(root, tuple(_PROGRAMS), processor):
        archive.file(f"lib/{processor.triplet}/{library.name}", library.resolve(), 0o755)
    loader = (root / processor.libraries / processor.loader).resolve()
    archive.file(f"{processor.loader_folder}/{processor.loader}", loader, 0o755)


def _add_applets(archive: Archive, host_root: Path) -> None:
    listed = subprocess.run(
        argv_in_root(host_root, "usr/bin/toybox"), capture_output=True, text=True, timeout=30, check=True
    )
    for applet in sorted(set(words(GUEST / "etc/applets")) & set(listed.stdout.split())):
        archive.link(f"system/bin/{applet}", "toybox")
    for alias, target in _ALIASES.items():
        archive.link(f"system/bin/{alias}", target)
    archive.link("vendor/bin/modprobe", "kmod")


def _add_own_files(archive: Archive, processor: Processor, programs: Path) -> None:
    archive.file("init", GUEST / "init", 0o755)
    archive.file("system/build.prop", _build_properties(processor).encode())
    for script in sorted((GUEST / "bin").iterdir()):
        archive.file(f"system/bin/{script.name}", script, 0o755)
    for source, target in _ETC.items():
        archive.file(f"system/etc/{target}", GUEST / "etc" / source)
    archive.file("vendor/etc/modules", "\n".join(words(GUEST / "etc/modules")).encode() + b"\n")
    for name, (target, mode) in PLACES.items():
        archive.file(target, programs / name, mode)


def _build_properties(processor: Processor) -> str:
    return (GUEST / "build.prop").read_text() + "".join(
        f"ro.product.{name}={value}\n"
        for name, value in (("board", processor.board), ("cpu.abi", processor.abi), ("cpu.abilist", processor.abi))
    )
