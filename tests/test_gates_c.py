"""The rules for C that a machine can check: one style for the probe and for the virtual phone's own programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.c_build import COMPILE_FLAGS, TARGETS, Programs, zig_argv, zig_environment
from devices.probe.build import probe_programs
from devices.virtual.guest_programs import guest_programs
from tests.test_gates import C, expect_none, matches, name_of, run_tool

C_COLUMNS = 120
CLANG_FORMAT = str(Path(sys.executable).with_name("clang-format"))


def test_all_c_is_found() -> None:
    assert {path.parts[-2] for path in C} == {"probe", "src"}


def test_c_is_formatted() -> None:
    """``.venv/bin/clang-format -i FILE`` mends what this finds."""
    said = run_tool(CLANG_FORMAT, "--dry-run", "-Werror", *map(name_of, C))
    expect_none(line for line in said if "clang-format-violations" in line or "exit status" in line)


def test_lines_of_c_fit() -> None:
    """With tabs of eight; clang-format leaves comments and texts as they are."""
    expect_none(
        f"{name_of(path)}:{number}: {len(line.expandtabs(8))} columns"
        for path in C
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line.expandtabs(8)) > C_COLUMNS
    )


def test_each_file_of_c_says_what_licence_it_is_under() -> None:
    """As the kernel has it: in the first line, // in a .c file and /* */ in a header."""
    form = {".c": r"// SPDX-License-Identifier: Apache-2\.0", ".h": r"/\* SPDX-License-Identifier: Apache-2\.0 \*/"}
    expect_none(
        f"{name_of(path)}:1: no licence in the kernel's form"
        for path in C
        if not re.fullmatch(form[path.suffix], path.read_text().splitlines()[0])
    )


def compiled(arch: str, programs: Programs, folder: Path) -> Iterator[str]:
    """What the compiler has to say, each file read once. Not linked: a target's C library takes a minute to build."""
    seen: set[Path] = set()
    for name, sources in programs.sources.items():
        new = [str(path) for path in sources if path not in seen]
        seen.update(sources)
        include = [f"-I{path}" for path in programs.include]
        argv = [*zig_argv(arch), "-c", *COMPILE_FLAGS, *include, *new, "-o", str(folder / f"{name}.o")]
        done = subprocess.run(argv, env=os.environ | zig_environment(), capture_output=True, text=True, timeout=300)
        if done.returncode:
            yield from [*done.stderr.splitlines(), f"{name}: exit status {done.returncode}"]


@pytest.mark.parametrize("programs", [probe_programs(), guest_programs()], ids=lambda programs: str(programs.name))
@pytest.mark.parametrize("arch", TARGETS)
def test_c_compiles_without_a_warning_for_every_processor(arch: str, programs: Programs, tmp_path: Path) -> None:
    """What only a 32-bit processor shows, too."""
    expect_none(compiled(arch, programs, tmp_path))


def test_every_file_of_c_is_linked_into_a_program() -> None:
    linked = {path for programs in (probe_programs(), guest_programs()) for path in programs.files()}
    expect_none(name_of(path) for path in C if path not in linked)


def test_the_phones_own_programs_are_for_every_processor() -> None:
    """They leave system calls to the C library and to probe/syscalls.c, and have no assembly."""
    guest = [path for path in C if path.parts[-2] == "src"]
    expect_none(matches(guest, re.compile(r"\b(SYS_\w+|__NR_\w+|syscall|asm|__asm__)\b")))
