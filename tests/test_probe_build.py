"""The probe as a file: what the phone's kernel needs to run it, built once, and errors that say what to do."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import devices.probe.build
from base.errors import EnvironmentRefused
from devices.probe.build import build, sha256
from devices.virtual.image import qemu_user
from tests.probe_process import run, served
from tests.sanitized_probe import gcc, sanitized_probe

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
ET_EXEC = 2
EM_ARM, EM_X86_64, EM_AARCH64 = 40, 62, 183
PAGE_16K = 16384
MIX = "z5,s5,c30@3,i20,h40"

# These need no phone. But the first build for another processor takes a minute, which the fast part of the tests does
# not have, and they fetch an emulator.
other_processor = pytest.mark.phone


@dataclass(frozen=True)
class Segment:
    kind: int
    offset: int
    address: int
    alignment: int


@dataclass(frozen=True)
class Elf:
    """The few fields of an ELF file that decide whether a phone can load it."""

    bits: int
    machine: int
    kind: int
    segments: list[Segment]

    @classmethod
    def read(cls, path: Path) -> Elf:
        data = path.read_bytes()
        assert data[:4] == b"\x7fELF"
        wide = data[4] == 2
        header = struct.unpack_from("<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH", data, 16)
        table, size, count = header[4], header[8], header[9]
        return cls(64 if wide else 32, header[1], header[0], list(cls._segments(data, table, size, count, wide)))

    @staticmethod
    def _segments(data: bytes, table: int, size: int, count: int, wide: bool) -> Iterator[Segment]:
        for at in range(table, table + size * count, size):
            if wide:
                kind, _, offset, address, _, _, _, alignment = struct.unpack_from("<IIQQQQQQ", data, at)
            else:
                kind, offset, address, _, _, _, _, alignment = struct.unpack_from("<IIIIIIII", data, at)
            yield Segment(kind, offset, address, alignment)


@pytest.mark.parametrize(
    ("arch", "bits", "machine"),
    [
        ("x86_64", 64, EM_X86_64),
        pytest.param("aarch64", 64, EM_AARCH64, marks=other_processor),
        pytest.param("armv7", 32, EM_ARM, marks=other_processor),
    ],
)
def test_file_is_static_and_loads_with_16k_pages(arch: str, bits: int, machine: int) -> None:
    elf = Elf.read(build(arch))
    assert (elf.bits, elf.machine, elf.kind) == (bits, machine, ET_EXEC)
    kinds = {segment.kind for segment in elf.segments}
    assert kinds & {PT_LOAD, PT_DYNAMIC, PT_INTERP} == {PT_LOAD}
    for segment in elf.segments:
        if segment.kind == PT_LOAD:
            assert segment.alignment % PAGE_16K == 0
            assert (segment.address - segment.offset) % PAGE_16K == 0


@other_processor
def test_segments_do_not_share_a_16k_page() -> None:
    loads = [segment for segment in Elf.read(build("aarch64")).segments if segment.kind == PT_LOAD]
    pages = [segment.address // PAGE_16K for segment in loads]
    assert len(loads) > 1
    assert len(set(pages)) == len(pages)


@other_processor
@pytest.mark.parametrize("arch", ["aarch64", "armv7"])
def test_runs_on_phone_processors(arch: str, tmp_path: Path, native: list[str]) -> None:
    emulator = qemu_user(arch, progress=print)
    foreign = [*emulator, str(build(arch))]
    status, hello = run(foreign, "hello")
    assert (status, hello["arch"], hello["protocol"]) == (0, arch, 1)
    with served(foreign) as probe:
        assert probe.good(f"fill name=a bytes={200 * hello['page_size']} mix={MIX} seed=7")["pages"] == 200
        assert probe.good("verify name=a")["corrupt"] == 0
        assert probe.good(f"touch name=a order=random seed=1 out={tmp_path / 'touch'}")["samples"] == 200
    assert (tmp_path / "touch").stat().st_size == 200 * 24


@other_processor
@pytest.mark.parametrize("arch", ["aarch64", "armv7"])
def test_content_is_the_same_on_every_processor(arch: str, tmp_path: Path, native: list[str]) -> None:
    contents = []
    for number, argv in enumerate([native, [*qemu_user(arch, progress=print), str(build(arch))]]):
        file = tmp_path / f"pages{number}"
        file.write_bytes(bytes(64 * 4096))
        status, _ = run(argv, "fill", f"path={file}", "lo=0", "hi=63", f"mix={MIX}", "seed=18446744073709551615")
        assert status == 0
        contents.append(file.read_bytes())
    assert contents[0] == contents[1]


@other_processor
@pytest.mark.parametrize(("name", "same_as"), [("armv8l", "armv7"), ("armv7l", "armv7"), ("arm64", "aarch64")])
def test_uname_decides_what_is_built(name: str, same_as: str) -> None:
    assert build(name) == build(same_as)


def test_built_once(tmp_path: Path) -> None:
    first = build("x86_64")
    before = first.stat()
    again = build("x86_64")
    assert (again, again.stat().st_mtime_ns, again.stat().st_ino) == (first, before.st_mtime_ns, before.st_ino)
    assert len(sha256(again)) == 64


def test_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(EnvironmentRefused, match="riscv64") as refused:
        build("riscv64")
    assert "aarch64, armv7, x86_64" in refused.value.hint


def test_mistake_in_the_source_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tmp_path / "probe"
    sources.mkdir()
    (sources / "main.c").write_text("int main(void) { return undeclared; }\n")
    monkeypatch.setattr(devices.probe.build, "SOURCES", sources)
    with pytest.raises(EnvironmentRefused, match="undeclared"):
        build("x86_64")
    (sources / "main.c").write_text("int main(void) { int unused = 1; return 0; }\n")
    with pytest.raises(EnvironmentRefused, match="unused"):
        build("x86_64")


def test_other_sources_are_another_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: list[str]) -> None:
    sources = tmp_path / "probe"
    sources.mkdir()
    (sources / "main.c").write_text("int main(void) { return 0; }\n")
    monkeypatch.setattr(devices.probe.build, "SOURCES", sources)
    small = build("x86_64")
    assert small != Path(native[0])
    assert small.stat().st_size < Path(native[0]).stat().st_size
    assert list(small.parent.glob("build-*")) == []


@pytest.fixture
def native() -> list[str]:
    return [str(build("x86_64"))]


def test_elf_reader_sees_what_a_phone_would_refuse(tmp_path: Path) -> None:
    """A program of the host is no static program: the reader must be able to say so."""
    elf = Elf.read(Path(sys.executable).resolve())
    kinds: set[Any] = {segment.kind for segment in elf.segments}
    assert PT_INTERP in kinds


WRONG = {
    "heap-use-after-free": "char *at = malloc(4); free(at); return *(volatile char *)at;",
    "signed integer overflow": "volatile int most = 0x7fffffff; return most + 1;",
}


@pytest.mark.parametrize("mistake", WRONG)
def test_the_sanitized_build_ends_at_a_mistake(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if mistake == "heap-use-after-free" and not gcc():
        pytest.skip("no gcc with an address sanitizer on this host: only undefined behaviour is looked for")
    sources = tmp_path / "probe"
    sources.mkdir()
    (sources / "main.c").write_text(f"#include <stdlib.h>\nint main(void) {{ {WRONG[mistake]} }}\n")
    monkeypatch.setattr(devices.probe.build, "SOURCES", sources)
    done = subprocess.run([sanitized_probe()], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert mistake in done.stderr
