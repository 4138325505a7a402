"""The rules for C that a machine can check: one style for the probe and for the virtual phone's own programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devices.c_build import COMPILE_FLAGS, TARGETS, zig_argv, zig_environment
from tests.test_gates import C, expect_none, name_of, run_tool

CLANG_FORMAT = str(Path(sys.executable).with_name("clang-format"))


def test_all_c_is_found() -> None:
    assert {path.parts[-2] for path in C} == {"probe", "src"}


def test_c_is_formatted() -> None:
    """``.venv/bin/clang-format -i FILE`` mends what this finds."""
    said = run_tool(CLANG_FORMAT, "--dry-run", "-Werror", *map(name_of, C))
    expect_none(line for line in said if "clang-format-violations" in line or "exit status" in line)


def test_each_file_of_c_says_what_licence_it_is_under() -> None:
    """As the kernel has it: in the first line, // in a .c file and /* */ in a header."""
    form = {".c": r"// SPDX-License-Identifier: Apache-2\.0", ".h": r"/\* SPDX-License-Identifier: Apache-2\.0 \*/"}
    expect_none(
        f"{name_of(path)}:1: no licence in the kernel's form"
        for path in C
        if not re.fullmatch(form[path.suffix], path.read_text().splitlines()[0])
    )


@pytest.mark.parametrize("arch", TARGETS)
def test_the_probe_compiles_without_a_warning_for_every_processor(arch: str, tmp_path: Path) -> None:
    """What only a 32-bit processor shows, too. Without linking: the C library of a target takes a minute to build."""
    sources = [str(path) for path in C if path.parts[-2] == "probe" and path.suffix == ".c"]
    argv = [*zig_argv(arch), "-c", *COMPILE_FLAGS, *sources, "-o", str(tmp_path / "all.o")]
    done = subprocess.run(argv, env=os.environ | zig_environment(), capture_output=True, text=True, timeout=300)
    expect_none([*done.stderr.splitlines(), f"exit status {done.returncode}"] if done.returncode else [])
