"""The phone's kernel out of Debian's packages: the image, and the modules that a phone needs as an archive."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from base.errors import EnvironmentRefused
from devices.virtual.cpio import Archive
from devices.virtual.elf import argv_in_root
from devices.virtual.guest_root import GUEST, words

# What makes the board of QEMU's machine: the UFS host, and the bus that the network card for adb hangs on.
_BOARD = ("ufshcd-pci", "virtio_pci")


def merge_usr(tree: Path) -> None:
    """Moves the modules of kernels before Debian 13 from /lib to where later ones have them."""
    if (tree / "lib/modules").is_dir():
        (tree / "usr/lib").mkdir(parents=True, exist_ok=True)
        (tree / "lib/modules").rename(tree / "usr/lib/modules")
        shutil.rmtree(tree / "lib")


def copy_image(tree: Path, release: str, to: Path) -> None:
    """The bootable image, packed if it is not: arm64's is not, and QEMU takes both."""
    image = image_of(tree, release).read_bytes()
    to.write_bytes(gzip.compress(image, compresslevel=1) if image[56:60] == b"ARM\x64" else image)


def image_of(tree: Path, release: str) -> Path:
    """The bootable image: Debian's kernel 7 has it beside its modules, 6.12 in /boot."""
    for path in (tree / f"boot/vmlinuz-{release}", tree / f"usr/lib/modules/{release}/vmlinuz"):
        if path.is_file():
            return path
    raise EnvironmentRefused(
        f"Debian's packages of kernel {release} hold no vmlinuz where it is known to be",
        hint="Debian may have moved it; please report this.",
    )


def module_archive(tree: Path, release: str, root: Path, scratch: Path) -> Archive:
    """The modules of guest/etc/modules* and what they need, uncompressed, with their index.

    ``tree`` is the unpacked kernel, ``root`` the Debian root whose depmod is used: this computer's own.
    """
    everything = tree / "usr/lib/modules" / release
    _depmod(root, tree, release)
    chosen = scratch / "usr/lib/modules" / release
    for module in _closure(everything):
        _copy_uncompressed(everything / module, chosen / module)
    for index in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(everything / index, chosen / index)
    _depmod(root, scratch, release)
    archive = Archive()
    for path in sorted(chosen.rglob("*")):
        if path.is_file():
            archive.file(f"vendor/lib/modules/{release}/{path.relative_to(chosen)}", path)
    return archive


def _closure(modules: Path) -> Iterator[str]:
    """Paths below ``modules`` of the wanted modules and of all that they depend on."""
    needs = {
        path: tuple(others.split())
        for path, others in (line.split(":", 1) for line in (modules / "modules.dep").read_text().splitlines())
    }
    by_name = {_module_name(path): path for path in needs}
    builtin = {_module_name(path) for path in (modules / "modules.builtin").read_text().splitlines()}
    wanted: set[str] = set()
    for name in (*_BOARD, *words(GUEST / "etc/modules"), *words(GUEST / "etc/modules-available")):
        optional, name = name.endswith("?"), name.rstrip("?").replace("-", "_")
        if name in by_name:
            # depmod lists indirect dependencies too
            wanted |= {by_name[name], *needs[by_name[name]]}
        elif name not in builtin and not optional:
            raise EnvironmentRefused(
                f"kernel {modules.name} has no module {name}", hint="Use another kernel: --kernel."
            )
    yield from sorted(wanted)


def _module_name(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def _copy_uncompressed(source: Path, target: Path) -> None:
    """Decompressing costs seconds on an emulated CPU and nothing here."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".ko":
        shutil.copy(source, target)
    else:
        target.with_suffix("").write_bytes(lzma.decompress(source.read_bytes()))


def _depmod(root: Path, base: Path, release: str) -> None:
    # depmod looks in BASE/lib/modules, where merged /usr has a link.
    lib = base / "lib"
    if not lib.exists():
        lib.symlink_to("usr/lib")
    argv = [*argv_in_root(root, "usr/bin/kmod", name="depmod"), "-b", str(base), release]
    subprocess.run(argv, check=True, capture_output=True, timeout=120)
