"""What a kernel module's file says of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from base.errors import ProfileError

# An ELF note as the linker writes it (elf(5)): sizes of name and content, type 3, the name.
_BUILD_ID = re.compile(rb"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0(.{20})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class KernelModule:
    """A module's file. ``release`` is that of the kernel it was built for; ``version`` is empty where it names none."""

    path: Path
    name: str
    build_id: str
    release: str
    version: str

    @classmethod
    def read(cls, path: Path) -> KernelModule:
        """Raises ProfileError for a file that is no module, or has no build id to know it by once it is loaded."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ProfileError(f"{path}: {error.strerror or error}") from error
        name, release, version = (_said(data, key) for key in (b"name", b"vermagic", b"version"))
        build_id = _BUILD_ID.search(data)
        if not data.startswith(b"\x7fELF") or not name or not release:
            raise ProfileError(
                f"{path}: no kernel module",
                hint="`make M=drivers/block/zram modules` makes zram.ko; unpack one that ends in .xz, .gz or .zst",
            )
        if build_id is None:
            raise ProfileError(f"{path}: has no build id", hint="link it with --build-id, as kernels are since 5.12")
        return cls(path, name, build_id[1].hex(), release.split()[0], version)


def _said(data: bytes, key: bytes) -> str:
    found = re.search(rb"\0" + key + rb"=([^\0]+)\0", data)
    return found[1].decode(errors="replace") if found else ""
