"""The virtual phone's own programs as files: built for more than one processor, and what can be seen of them here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from devices.c_build import build_programs, zig
from devices.virtual.guest_programs import PLACES, guest_programs
from tests.test_probe_build import EM_AARCH64, EM_X86_64, ET_EXEC, PT_DYNAMIC, PT_INTERP, Elf, other_processor


@pytest.fixture(scope="module")
def programs() -> Path:
    return build_programs(guest_programs(), zig("x86_64"))


@pytest.mark.parametrize(
    ("processor", "machine"),
    [("x86_64", EM_X86_64), pytest.param("aarch64", EM_AARCH64, marks=other_processor)],
)
def test_they_are_static_programs_of_their_processor(processor: str, machine: int) -> None:
    folder = build_programs(guest_programs(), zig(processor))
    assert {path.name for path in folder.iterdir()} == PLACES.keys()
    for path in folder.iterdir():
        elf = Elf.read(path)
        assert (elf.machine, elf.kind) == (machine, ET_EXEC)
        assert not {segment.kind for segment in elf.segments} & {PT_INTERP, PT_DYNAMIC}


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["am", "start"], 20, "cmd: Can't find service: activity\n"),
        (["am", "x" * 5000], 255, "am: arguments too long\n"),
        (["app", "by", "hand"], 2, "app: it is system_server that starts it\n"),
        (["su", "-x"], 1, "usage: su [-] [USER] [-c COMMAND | PROGRAM ARG...]\n"),
        (["su", "nobody-of-that-name"], 1, "su: unknown user\n"),
    ],
)
def test_what_they_refuse_anywhere(programs: Path, words: list[str], status: int, says: str) -> None:
    if words[0] == "su" and os.geteuid():
        says = "su: not allowed\n"
    done = subprocess.run(
        [programs / words[0], *words[1:]], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", says)


def test_only_su_is_setuid() -> None:
    assert {name for name, (_, mode) in PLACES.items() if mode & 0o4000} == {"su"}
