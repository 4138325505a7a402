"""Programs out of an unpacked Debian root: running the host's, and finding the libraries of any processor's."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from base.errors import EnvironmentRefused
from devices.virtual.machines import Processor, of_host

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB = 1, 5


def argv_in_root(root: Path, program: str, *, name: str | None = None) -> list[str]:
    """How to call ``program`` (a path inside ``root``), whatever libraries the host has; ``name`` becomes argv[0]."""
    processor = of_host()
    as_name = ["--argv0", name] if name else []
    path = ":".join(map(str, _library_folders(root, processor)))
    return [str(_loader(root, processor)), "--library-path", path, *as_name, str(root / program)]


def libraries(root: Path, programs: Sequence[str], processor: Processor) -> set[Path]:
    """The shared libraries that the programs need, by the names they are asked for, inside ``root``.

    Read out of the files, because the loader of another processor cannot be run here. Without the loader itself.
    """
    found: set[Path] = set()
    unread = [root / program for program in programs]
    while unread:
        program = unread.pop()
        for name in _needed(program.resolve()):
            if name == processor.loader:
                continue
            library = next((p for f in _library_folders(root, processor) if (p := f / name).exists()), None)
            if library is None:
                raise EnvironmentRefused(
                    f"{program}: its library {name} is in none of the packages",
                    hint="./lab phone build --refresh fetches the packages anew.",
                )
            if library not in found:
                found.add(library)
                unread.append(library)
    return found


def _needed(file: Path) -> Iterator[str]:
    """The DT_NEEDED names of an ELF file: 64 bits, little endian, as both processors are (elf(5))."""
    data = file.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise EnvironmentRefused(f"{file}: no program", hint="./lab phone build --refresh fetches the packages anew.")
    (headers,), (count,) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<H", data, 56)
    segments = [struct.unpack_from("<IIQQQQQQ", data, headers + 56 * i) for i in range(count)]
    dynamic = next((s for s in segments if s[0] == _PT_DYNAMIC), None)
    if dynamic is None:
        return
    entries = list(struct.iter_unpack("<QQ", data[dynamic[2] : dynamic[2] + dynamic[5]]))
    address = next(value for tag, value in entries if tag == _DT_STRTAB)
    strings = next(s[2] + address - s[3] for s in segments if s[0] == _PT_LOAD and s[3] <= address < s[3] + s[5])
    for tag, value in entries:
        if tag == _DT_NEEDED:
            start = strings + value
            yield data[start : data.index(b"\0", start)].decode()


def _loader(root: Path, processor: Processor) -> Path:
    return root / processor.libraries / processor.loader


def _library_folders(root: Path, processor: Processor) -> tuple[Path, Path]:
    return root / processor.libraries, root / processor.libraries / "android"
