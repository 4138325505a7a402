"""What the virtual phone boots from: QEMU, a kernel and an initramfs, built from Debian packages into the cache."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from base.errors import EnvironmentRefused
from base.units import MIB
from devices.c_build import build_programs, zig
from devices.virtual import packages
from devices.virtual.guest_programs import guest_programs
from devices.virtual.guest_root import GUEST, PACKAGES, assemble
from devices.virtual.kernels import KERNELS, image_of, module_archive
from devices.virtual.packages import Mirror
from devices.virtual.parts import Part, Progress, ensure, manifest, virtual_cache

_VERSION = "1"
"""Raise it when this package's code changes what is built from the same inputs."""

_PROCESSOR = "x86_64"
_QEMU = "root/usr/bin/qemu-system-x86_64"
_USER_ARCHITECTURES = {"aarch64": "qemu-aarch64", "armv7": "qemu-arm", "x86_64": "qemu-x86_64"}


@dataclass(frozen=True, slots=True)
class Image:
    """All that a boot needs. ``key`` names what went in, ``kernel_release`` is what uname -r will say."""

    key: str
    kernel: str
    kernel_release: str
    vmlinuz: Path
    initramfs: Path
    qemu_root: Path
    qemu_version: str


@dataclass(frozen=True, slots=True)
class _Build:
    """How parts are to be made this time."""

    mirror: Mirror
    progress: Progress
    refresh: bool = False
    thorough: bool = False

    def part(self, part: Part) -> Path:
        return ensure(part, progress=self.progress, refresh=self.refresh, thorough=self.thorough)


def ensure_image(
    kernel: str,
    *,
    progress: Progress,
    mirror: str | None = None,
    refresh: bool = False,
    thorough: bool = False,
) -> Image:
    """The image for ``kernel`` ("6.12", "7.3"), out of the cache or built now (about a minute, 300 MB of download).

    ``refresh`` fetches the newest packages again, ``thorough`` checks every cached file's hash instead of the vital
    ones. Raises EnvironmentRefused that says why this host cannot build it.
    """
    if kernel not in KERNELS:
        raise EnvironmentRefused(
            f"kernel {kernel!r}: the virtual phone has {' and '.join(KERNELS)}", hint="Choose one of them."
        )
    how = _Build(packages.choose_mirror(mirror), progress, refresh, thorough)
    qemu = how.part(_qemu_part(how))
    debian = how.part(_debian_part(how))
    modules = how.part(_kernel_part(kernel, debian, how))
    boot = _boot_part(kernel, debian, modules, how)
    # Made from the others, so it follows them.
    home = replace(how, refresh=False).part(boot)
    release = manifest(modules)["release"]
    version = manifest(qemu)["packages"]["qemu-system-x86"]
    return Image(boot.key, kernel, release, modules / "vmlinuz", home / "initramfs", qemu / "root", version)


def packages_of(kernel: str) -> dict[str, str]:
    """Debian packages and versions in the cached image of ``kernel``, for a report of what was measured on."""
    how = _Build(packages.choose_mirror(), lambda _: None)
    debian = how.part(_debian_part(how))
    found: dict[str, str] = {}
    for home in (how.part(_qemu_part(how)), debian, how.part(_kernel_part(kernel, debian, how))):
        found |= manifest(home)["packages"]
    return found


def qemu_user(arch: str, *, progress: Progress, mirror: str | None = None) -> list[str]:
    """The argv prefix that runs a program of another architecture (aarch64, armv7, x86_64) on this host."""
    program = _USER_ARCHITECTURES[arch]
    how = _Build(packages.choose_mirror(mirror), progress)
    return [str(how.part(_qemu_user_part(how)) / program)]


def _log() -> Path:
    return virtual_cache() / "build.log"


def _extract(include: tuple[str, ...], home: Path, how: _Build) -> dict[str, Any]:
    packages.require_tools()
    how.progress(f"fetching {' '.join(include)} from {how.mirror.url} (chosen by {how.mirror.chosen_by})")
    versions = packages.extract(include, home / "root", how.mirror, log=_log())
    return {"mirror": how.mirror.url, "built": _now(), "packages": versions}


def _qemu_part(how: _Build) -> Part:
    include = ("qemu-system-x86",)
    return Part(
        "qemu", (_VERSION, *include), lambda home: _extract(include, home, how), vital=(_QEMU,), needs_bytes=500 * MIB
    )


def _debian_part(how: _Build) -> Part:
    def make(home: Path) -> dict[str, Any]:
        return _extract(PACKAGES, home, how)

    return Part("debian", (_VERSION, *PACKAGES), make, vital=(), needs_bytes=200 * MIB)


def _qemu_user_part(how: _Build) -> Part:
    include = ("qemu-user",)

    def make(home: Path) -> dict[str, Any]:
        """Only the emulators that are used: the package has forty, 450 MB of them. They are static programs."""
        fetched = home.with_name("fetched")
        fetched.mkdir()
        record = _extract(include, fetched, how)
        for program in _USER_ARCHITECTURES.values():
            shutil.move(fetched / "root/usr/bin" / program, home / program)
        return record

    vital = tuple(_USER_ARCHITECTURES.values())
    return Part("qemu-user", (_VERSION, *include), make, vital=vital, needs_bytes=1000 * MIB)


def _kernel_part(kernel: str, debian: Path, how: _Build) -> Part:
    def make(home: Path) -> dict[str, Any]:
        packages.require_tools()
        how.progress(f"fetching the newest kernel {kernel} from {how.mirror.url} (chosen by {how.mirror.chosen_by})")
        tree = home.with_name("tree")
        release, versions = packages.extract_kernel(kernel, tree, how.mirror, log=_log())
        how.progress(f"choosing the modules of {release}")
        shutil.copy(image_of(tree, release), home / "vmlinuz")
        archive = module_archive(tree, release, debian / "root", home.with_name("modules"))
        with (home / "modules.cpio").open("wb") as out:
            archive.write(out)
        return {"mirror": how.mirror.url, "built": _now(), "release": release, "packages": versions}

    lists = (GUEST / "etc/modules", GUEST / "etc/modules-available", packages.HOOKS / "fetch-kernel")
    return Part(f"kernel-{kernel}", (_VERSION, kernel, *lists), make, vital=("vmlinuz",), needs_bytes=900 * MIB)


def _boot_part(kernel: str, debian: Path, modules: Path, how: _Build) -> Part:
    programs = build_programs(guest_programs(), zig(_PROCESSOR))

    def make(home: Path) -> dict[str, Any]:
        how.progress(f"making the initramfs for kernel {kernel}")
        with (home / "initramfs").open("wb") as out:
            assemble(debian / "root", programs).write(out)
            with (modules / "modules.cpio").open("rb") as source:
                shutil.copyfileobj(source, out)
        return {"built": _now()}

    guest = sorted(path for path in GUEST.rglob("*") if path.is_file() and path.parent.name != "src")
    made_from = (debian / "manifest.json", modules / "manifest.json")
    code = (Path(__file__).with_name(name) for name in ("guest_root.py", "guest_programs.py", "cpio.py"))
    names = tuple(str(path.relative_to(GUEST)) for path in guest)
    inputs: tuple[str | Path, ...] = (_VERSION, kernel, *names, *guest, *made_from, *code, *sorted(programs.iterdir()))
    return Part(f"boot-{kernel}", inputs, make, vital=("initramfs",), needs_bytes=200 * MIB)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
