"""What the virtual phone boots from: QEMU, a kernel and an initramfs, built from Debian packages into the cache."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from base.units import MIB
from devices.c_build import build_programs, zig
from devices.virtual import packages
from devices.virtual.guest_programs import guest_programs
from devices.virtual.guest_root import GUEST, PACKAGES, assemble
from devices.virtual.kernels import copy_image, merge_usr, module_archive
from devices.virtual.machines import Machine, Processor, of_host
from devices.virtual.packages import Mirror
from devices.virtual.parts import Part, Progress, ensure, manifest, virtual_cache

_VERSION, _KERNEL_VERSION = "2", "3"
"""Raise them when this package's code changes what is built from the same inputs."""

# Programs of the same versions as the phone's, which run on this computer while images are made.
_TOOLS = ("kmod", "toybox")
_USER_ARCHITECTURES = {"aarch64": "qemu-aarch64", "armv7": "qemu-arm", "x86_64": "qemu-x86_64"}


@dataclass(frozen=True, slots=True)
class Qemu:
    """An emulator of ``processor`` for this computer; ``root`` is where its packages were unpacked."""

    processor: Processor
    root: Path
    version: str


@dataclass(frozen=True, slots=True)
class Image:
    """All that a boot needs. ``key`` names what went in, ``kernel_release`` is what uname -r will say."""

    key: str
    machine: Machine
    kernel_release: str
    vmlinuz: Path
    initramfs: Path
    qemu: Qemu


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
    machine: Machine,
    *,
    progress: Progress,
    mirror: str | None = None,
    refresh: bool = False,
    thorough: bool = False,
) -> Image:
    """The machine's image, out of the cache or built now (the first takes one to three minutes and some 200 MB).

    ``refresh`` fetches the newest packages again, ``thorough`` checks every cached file's hash instead of the vital
    ones. Raises EnvironmentRefused that says why this host cannot build it.
    """
    how = _Build(packages.choose_mirror(mirror), progress, refresh, thorough)
    qemu = _qemu(machine.processor, how)
    debian = how.part(_debian_part(machine.processor, how))
    modules = how.part(_kernel_part(machine, qemu.root, how))
    boot = _boot_part(machine, qemu.root, debian, modules, how)
    # Made from the others, so it follows them.
    home = replace(how, refresh=False).part(boot)
    release = manifest(modules)["release"]
    return Image(boot.key, machine, release, modules / "vmlinuz", home / "initramfs", qemu)


def ensure_qemu(processor: Processor, *, progress: Progress, mirror: str | None = None) -> Qemu:
    """QEMU alone, out of the cache or fetched now (some 40 MB). Raises EnvironmentRefused."""
    return _qemu(processor, _Build(packages.choose_mirror(mirror), progress))


def _qemu(processor: Processor, how: _Build) -> Qemu:
    home = how.part(_qemu_part(processor, how))
    return Qemu(processor, home / "root", manifest(home)["packages"][processor.qemu_package])


def packages_of(machine: Machine) -> dict[str, str]:
    """Debian packages and versions in the machine's cached image, for a report of what was measured on."""
    how = _Build(packages.choose_mirror(), lambda _: None)
    qemu, debian = _qemu_part(machine.processor, how), _debian_part(machine.processor, how)
    kernel = _kernel_part(machine, how.part(qemu) / "root", how)
    found: dict[str, str] = {}
    for part in (qemu, debian, kernel):
        found |= manifest(how.part(part))["packages"]
    return found


def qemu_user(arch: str, *, progress: Progress, mirror: str | None = None) -> list[str]:
    """The argv prefix that runs a program of another architecture (aarch64, armv7, x86_64) on this host."""
    program = _USER_ARCHITECTURES[arch]
    how = _Build(packages.choose_mirror(mirror), progress)
    return [str(how.part(_qemu_user_part(how)) / program)]


def _log() -> Path:
    return virtual_cache() / "build.log"


def _extract(include: tuple[str, ...], processor: Processor, home: Path, how: _Build) -> dict[str, Any]:
    packages.require_tools()
    what = f"{' '.join(include)} for {processor.name}"
    how.progress(f"fetching {what} from {how.mirror.url} (chosen by {how.mirror.chosen_by})")
    versions = packages.extract(include, home / "root", how.mirror, debian=processor.debian, log=_log())
    return {"mirror": how.mirror.url, "built": _now(), "packages": versions}


def _qemu_part(processor: Processor, how: _Build) -> Part:
    """What runs on this computer: the only part that depends on the computer's own processor."""
    include, host = (processor.qemu_package, *_TOOLS), of_host()
    return Part(
        f"qemu-{processor.name}",
        (_VERSION, host.name, *include),
        lambda home: _extract(include, host, home, how),
        vital=(f"root/{processor.qemu}",),
        needs_bytes=500 * MIB,
    )


def _debian_part(processor: Processor, how: _Build) -> Part:
    def make(home: Path) -> dict[str, Any]:
        return _extract(PACKAGES, processor, home, how)

    return Part(f"debian-{processor.name}", (_VERSION, *PACKAGES), make, vital=(), needs_bytes=200 * MIB)


def _qemu_user_part(how: _Build) -> Part:
    include = ("qemu-user",)

    def make(home: Path) -> dict[str, Any]:
        """Only the emulators that are used: the package has forty, 450 MB of them. They are static programs."""
        fetched = home.with_name("fetched")
        fetched.mkdir()
        record = _extract(include, of_host(), fetched, how)
        for program in _USER_ARCHITECTURES.values():
            shutil.move(fetched / "root/usr/bin" / program, home / program)
        return record

    vital = tuple(_USER_ARCHITECTURES.values())
    return Part("qemu-user", (_VERSION, *include), make, vital=vital, needs_bytes=1000 * MIB)


def _kernel_part(machine: Machine, host: Path, how: _Build) -> Part:
    def make(home: Path) -> dict[str, Any]:
        packages.require_tools()
        where = f"{machine.suite} of {how.mirror.url} (chosen by {how.mirror.chosen_by})"
        how.progress(f"fetching the newest kernel {machine.kernel} for {machine.flavour} from {where}")
        tree = home.with_name("tree")
        release, versions = packages.extract_kernel(machine, tree, how.mirror, log=_log())
        how.progress(f"choosing the modules of {release}")
        merge_usr(tree)
        copy_image(tree, release, home / "vmlinuz")
        archive = module_archive(tree, release, host, home.with_name("modules"))
        with (home / "modules.cpio").open("wb") as out:
            archive.write(out)
        return {"mirror": how.mirror.url, "built": _now(), "release": release, "packages": versions}

    lists = (GUEST / "etc/modules", GUEST / "etc/modules-available", packages.HOOKS / "fetch-kernel")
    inputs = (_KERNEL_VERSION, machine.suite, *lists)
    return Part(f"kernel-{machine.name}", inputs, make, vital=("vmlinuz",), needs_bytes=900 * MIB)


def _boot_part(machine: Machine, host: Path, debian: Path, modules: Path, how: _Build) -> Part:
    programs = build_programs(guest_programs(), zig(machine.processor.uname))

    def make(home: Path) -> dict[str, Any]:
        how.progress(f"making the initramfs for {machine}")
        with (home / "initramfs").open("wb") as out:
            assemble(machine.processor, debian / "root", host, programs).write(out)
            with (modules / "modules.cpio").open("rb") as source:
                shutil.copyfileobj(source, out)
        return {"built": _now()}

    guest = sorted(path for path in GUEST.rglob("*") if path.is_file() and path.parent.name != "src")
    made_from = (debian / "manifest.json", modules / "manifest.json")
    code = (Path(__file__).with_name(name) for name in ("guest_root.py", "guest_programs.py", "cpio.py"))
    names = tuple(str(path.relative_to(GUEST)) for path in guest)
    inputs: tuple[str | Path, ...] = (_VERSION, *names, *guest, *made_from, *code, *sorted(programs.iterdir()))
    return Part(f"boot-{machine.name}", inputs, make, vital=("initramfs",), needs_bytes=200 * MIB)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
