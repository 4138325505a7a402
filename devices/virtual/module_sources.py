"""What zram's module is built from and with: headers, source and compiler out of Debian's packages, in the cache.

The programs are run without root, without a chroot and whatever libraries this computer has: each is replaced by a
script that calls it through the loader of its own root.
"""

from __future__ import annotations

import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import EnvironmentRefused
from base.units import MIB
from devices.virtual import packages
from devices.virtual.elf import argv_in_root
from devices.virtual.machines import Machine, Processor, of_host
from devices.virtual.packages import Mirror
from devices.virtual.parts import Part, Progress, ensure, manifest, virtual_cache

DRIVER = "drivers/block/zram"
GCC = "gcc-14"
_VERSION = "1"
_RUN = """\
#!/bin/sh
self=$(readlink -f "$0")
exec "$ZRAM_LAB_LOADER" --library-path "$ZRAM_LAB_LIBRARIES" --argv0 "$0" "$self.elf" "$@"
"""
# Where a compiler keeps programs that it calls itself.
_PROGRAM_FOLDERS = ("usr/bin", "usr/lib/gcc-cross", "usr/lib/gcc", "usr/libexec")
_ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class ModuleSources:
    """``kernel`` has headers and source of ``release``, ``compiler`` is the root with the programs.

    ``key`` names all that went in.
    """

    machine: Machine
    release: str
    kernel: Path
    compiler: Path
    key: str

    @property
    def headers(self) -> Path:
        """What ``make -C`` is given."""
        return self.kernel / f"usr/src/linux-headers-{self.release}"

    @property
    def driver(self) -> Path:
        """zram's own source, unchanged."""
        return self.kernel / "source" / DRIVER

    def environment(self) -> dict[str, str]:
        """What the scripts in place of the programs need, and the headers' makefile."""
        loader, _, libraries, *_ = argv_in_root(self.compiler, "")
        return {
            "ZRAM_LAB_LOADER": loader,
            "ZRAM_LAB_LIBRARIES": libraries,
            "ZRAM_LAB_SRC": str(self.kernel / "usr/src"),
            "PATH": f"{self.compiler}/usr/bin:/usr/bin:/bin",
            "LC_ALL": "C",
        }

    def program(self, name: str) -> str:
        """A program of the compiler's root, such as ``make``, or ``strip`` for the machine's processor."""
        own = self.compiler / "usr/bin" / name
        return str(own if own.exists() else own.with_name(f"{self.machine.processor.triplet}-{name}"))


def ensure_sources(machine: Machine, release: str, *, progress: Progress, mirror: str | None = None) -> ModuleSources:
    """Sources of the kernel ``release`` and a compiler, out of the cache or fetched now (some 250 MB).

    Raises EnvironmentRefused where the mirror does not have them.
    """
    chosen = packages.choose_mirror(mirror)
    compiler = ensure(_compiler_part(machine.processor, chosen, progress), progress=progress)
    part = _source_part(machine, release, chosen, progress)
    return ModuleSources(machine, release, ensure(part, progress=progress), compiler / "root", part.key)


def versions(sources: ModuleSources) -> dict[str, str]:
    """Debian's packages of the sources, by name."""
    found: dict[str, str] = manifest(sources.kernel)["packages"]
    return found


def _compiler_part(processor: Processor, mirror: Mirror, progress: Progress) -> Part:
    host = of_host()
    compiler = GCC if processor.is_the_hosts else f"{GCC}-{processor.triplet.replace('_', '-')}"
    # objtool, which looks through modules for x86_64, reads them with libelf.
    include = (compiler, "make", "gawk", "patch", "libelf1t64")

    def make(home: Path) -> dict[str, Any]:
        packages.require_tools()
        progress(f"fetching {' '.join(include)} from {mirror.url} (chosen by {mirror.chosen_by})")
        root = home / "root"
        found = packages.extract(include, root, mirror, debian=host.debian, log=_log())
        for folder in _PROGRAM_FOLDERS:
            _run_by_own_loader(root / folder)
        awk = root / "usr/bin/awk"
        awk.unlink(missing_ok=True)
        awk.symlink_to("gawk")
        return {"mirror": mirror.url, "built": _now(), "packages": found}

    inputs = (_VERSION, host.name, *include, _RUN)
    vital = ("root/usr/bin/make.elf",)
    return Part(f"compiler-{processor.name}", inputs, make, vital=vital, needs_bytes=900 * MIB)


def _source_part(machine: Machine, release: str, mirror: Mirror, progress: Progress) -> Part:
    def make(home: Path) -> dict[str, Any]:
        packages.require_tools()
        progress(f"fetching headers and source of {release} from {mirror.url} (chosen by {mirror.chosen_by})")
        found = packages.extract_module_source(machine, release, home, mirror, log=_log())
        progress(f"unpacking {DRIVER}")
        _unpack_driver(home)
        shutil.rmtree(home / "usr/share", ignore_errors=True)
        for kbuild in (home / "usr/lib").glob("linux-kbuild-*"):
            _run_by_own_loader(kbuild)
        makefile = home / f"usr/src/linux-headers-{release}/Makefile"
        # It names where Debian would have installed it.
        makefile.write_text(makefile.read_text().replace("/usr/src/", "$(ZRAM_LAB_SRC)/"))
        return {"mirror": mirror.url, "built": _now(), "packages": found}

    inputs = (_VERSION, of_host().name, machine.suite, release, _RUN, packages.HOOKS / "fetch-module-source")
    return Part(f"source-{machine.name}", inputs, make, vital=(), needs_bytes=900 * MIB)


def _unpack_driver(home: Path) -> None:
    """zram's folder alone; reading ends behind it, since unpacking the rest would take a minute."""
    found = sorted((home / "usr/src").glob("linux-source-*.tar.xz"))
    if not found:
        raise EnvironmentRefused("Debian's package of the kernel's source holds no archive where it is known to be")
    with tarfile.open(found[0], "r|xz") as archive:
        seen = False
        for member in archive:
            inside = member.name.partition("/")[2]
            if inside.startswith(f"{DRIVER}/") and member.isfile():
                seen = True
                member.name = inside
                archive.extract(member, home / "source", filter="data")
            elif seen and not inside.startswith(DRIVER):
                break
    found[0].unlink()


def _run_by_own_loader(folder: Path) -> None:
    """Each program below ``folder`` becomes a script; libraries and scripts stay as they are."""
    for path in list(_programs(folder)):
        path.rename(path.with_name(f"{path.name}.elf"))
        path.write_text(_RUN)
        path.chmod(0o755)


def _programs(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file() or not path.stat().st_mode & 0o111 or ".so" in path.name:
            continue
        with path.open("rb") as file:
            if file.read(4) == _ELF:
                yield path


def _log() -> Path:
    return virtual_cache() / "build.log"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
