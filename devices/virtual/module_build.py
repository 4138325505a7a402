"""zram's module for the virtual phone's kernel, with or without a patch, built once and kept."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import EnvironmentRefused, LabError, PatchRefused
from base.units import MIB
from devices.kernel_module import KernelModule
from devices.virtual.image import ensure_image
from devices.virtual.machines import Machine
from devices.virtual.module_sources import DRIVER, GCC, ModuleSources, ensure_sources
from devices.virtual.parts import Part, Progress, ensure, manifest

_VERSION = "1"
_TIMEOUT_S = 300
_TOLD_LINES = 12
STOCK = "stock"


@dataclass(frozen=True, slots=True)
class Patch:
    """A change of zram's driver as diff -u or git writes it; ``name`` is what it is called in messages."""

    name: str
    text: bytes

    @classmethod
    def read(cls, path: Path) -> Patch:
        """Raises PatchRefused for a file that cannot be read, is no patch, or changes more than zram's driver."""
        try:
            patch = cls(str(path), path.read_bytes())
        except OSError as error:
            raise PatchRefused(f"{path}: {error.strerror or error}") from error
        patch.check()
        return patch

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text).hexdigest()

    @property
    def version(self) -> str:
        """What a module built with it says in /sys/module/zram/version."""
        return f"patch-{self.sha256[:12]}"

    def check(self) -> None:
        """Raises PatchRefused unless it changes files of zram's driver and nothing else."""
        files = list(self._files())
        if not files:
            raise PatchRefused(
                f"{self.name}: no patch in it", hint="`git diff` or `diff -up` in a kernel's tree makes one"
            )
        if others := sorted({file for file in files if not re.fullmatch(rf"{DRIVER}/[\w.-]+", file)}):
            raise PatchRefused(
                f"{self.name}: changes {', '.join(others)}; only {DRIVER} can be built as a module",
                hint="leave the rest out, or build the whole kernel",
            )

    def _files(self) -> Iterator[str]:
        # A line of a hunk can look like the first of the two, hardly like both.
        head = re.compile(r"^--- ([^\t\n]+).*\n\+\+\+ ([^\t\n]+)", re.MULTILINE)
        for found in head.finditer(self.text.decode(errors="replace").replace("\r\n", "\n")):
            yield from (name.strip().partition("/")[2] for name in found.groups() if name.strip() != "/dev/null")


@dataclass(frozen=True, slots=True)
class BuiltModule:
    """A module in the cache. ``patch_sha256`` is None for the driver as Debian has it; ``build_s`` was its build."""

    module: KernelModule
    release: str
    patch_sha256: str | None
    build_s: float


def build_zram(
    machine: Machine, patch: Patch | None = None, *, progress: Progress, mirror: str | None = None
) -> BuiltModule:
    """zram.ko for the machine's cached kernel, out of the cache or built now.

    Raises PatchRefused with the tool's words where the patch does not apply or compile, EnvironmentRefused where there
    is nothing to build with.
    """
    release = ensure_image(machine, progress=progress, mirror=mirror).kernel_release
    return build_module(ensure_sources(machine, release, progress=progress, mirror=mirror), patch, progress=progress)


def module_for(wanted: str, machine: Machine | None, *, progress: Progress) -> Path:
    """The module that ``stock``, a patch's path or a .ko's path means; built for ``machine`` where it is none yet.

    ``machine`` is None for a phone that is not virtual: nobody but its maker has the source of its kernel. Raises
    EnvironmentRefused for what would have to be built for it, PatchRefused as ``build_zram``.
    """
    if wanted.endswith(".ko"):
        return KernelModule.read(Path(wanted).absolute()).path
    if machine is None:
        raise EnvironmentRefused(
            f"{wanted}: modules are built for virtual phones only",
            hint="build zram.ko in the tree of this phone's kernel and name that file",
        )
    patch = None if wanted == STOCK else Patch.read(Path(wanted))
    return build_zram(machine, patch, progress=progress).module.path


def build_module(sources: ModuleSources, patch: Patch | None, *, progress: Progress) -> BuiltModule:
    """The same with sources that are there."""
    if patch:
        patch.check()

    def make(home: Path) -> dict[str, Any]:
        progress(f"building zram for {sources.release}, {patch.name if patch else STOCK}")
        began = time.monotonic()
        _build(sources, patch, home, progress)
        return {"release": sources.release, "seconds": round(time.monotonic() - began, 2)}

    inputs = (_VERSION, sources.key, GCC, patch.text.decode(errors="surrogateescape") if patch else STOCK)
    part = Part(f"zram-{sources.machine.name}", inputs, make, vital=("zram.ko",), needs_bytes=100 * MIB)
    home = ensure(part, progress=progress)
    module = KernelModule.read(home / "zram.ko")
    return BuiltModule(module, sources.release, patch.sha256 if patch else None, manifest(home)["seconds"])


def _build(sources: ModuleSources, patch: Patch | None, home: Path, progress: Progress) -> None:
    tree = home.with_name("tree")
    driver = tree / DRIVER
    shutil.copytree(sources.driver, driver)
    if patch:
        _apply(sources, patch, tree, progress)
    _name_itself(driver / "zram_drv.c", patch.version if patch else STOCK)
    said = _run(sources, _make_argv(sources, tree), tree)
    if said.returncode:
        raise _not_built(sources, patch, said.stdout.replace(f"{tree}/", ""))
    built = driver / "zram.ko"
    stripped = _run(sources, [sources.program("strip"), "--strip-debug", "-o", str(home / "zram.ko"), str(built)], tree)
    if stripped.returncode:
        raise _not_built(sources, None, stripped.stdout)


def _apply(sources: ModuleSources, patch: Patch, tree: Path, progress: Progress) -> None:
    file = tree / "the.patch"
    file.write_bytes(patch.text)
    argv = [sources.program("patch"), "-p1", "--batch", "--forward", "--no-backup-if-mismatch", "-i", str(file)]
    said = _run(sources, argv, tree)
    if said.returncode:
        words = "; ".join(line.strip() for line in said.stdout.splitlines() if "FAILED" in line or "malformed" in line)
        raise PatchRefused(
            f"{patch.name} does not apply to {DRIVER} of {sources.release}: {words or said.stdout.strip()[-400:]}",
            hint=f"make it against the driver of Linux {sources.release.split('+')[0]}, or name the kernel that it is "
            "for: --kernel",
        )
    for line in said.stdout.splitlines():
        if "fuzz" in line or "offset" in line:
            progress(f"{patch.name}: {line.strip()}")


def _name_itself(source: Path, version: str) -> None:
    """A loaded module says in sysfs which of the builds it is; behind all other lines, so that no number changes."""
    text = source.read_text()
    if "MODULE_VERSION(" not in text:
        source.write_text(f'{text.rstrip()}\nMODULE_VERSION("{version}");\n')


def _make_argv(sources: ModuleSources, tree: Path) -> Sequence[str]:
    triplet = sources.machine.processor.triplet
    # A build id depends on what is built and not on where.
    places = f"-ffile-prefix-map={tree}=. -ffile-prefix-map={sources.kernel}=."
    return [
        sources.program("make"), "-C", str(sources.headers), f"M={tree / DRIVER}", f"CROSS_COMPILE={triplet}-",
        f"CC={triplet}-{GCC}", "CONFIG_ZRAM=m", "CONFIG_DEBUG_INFO_BTF_MODULES=", f"KCFLAGS={places}",
        f"-j{os.cpu_count() or 1}", "modules",
    ]  # fmt: skip


def _run(sources: ModuleSources, argv: Sequence[str], tree: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv, cwd=tree, env=sources.environment() | {"TMPDIR": str(tree)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise EnvironmentRefused(
            f"{Path(argv[0]).name} for zram of {sources.release}: not done within {_TIMEOUT_S} s",
            hint="is this computer very busy? try again",
        ) from error


def _not_built(sources: ModuleSources, patch: Patch | None, said: str) -> LabError:
    # Newer kernels build in the module's folder and leave it out.
    lines = [re.sub(r"^(?=[\w-]+[.][ch]:\d+)", f"{DRIVER}/", line.strip()) for line in said.splitlines()]
    errors = [line for line in lines if re.search(r"\berror\b|\bundefined\b|ERROR:", line)] or lines[-_TOLD_LINES:]
    words = "; ".join(errors[:_TOLD_LINES])
    if patch is None:
        return EnvironmentRefused(
            f"zram of {sources.release} cannot be built here: {words}",
            hint="Try again; if it stays, remove the folders source-* and compiler-* from the cache and report this.",
        )
    return PatchRefused(f"{patch.name} does not compile for {sources.release}: {words}", hint="mend the patch")
