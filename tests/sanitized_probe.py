"""The probe built so that a wrong access or undefined behaviour ends it: its tests run on this build too.

The address sanitizer comes with the host's gcc. zig has none, so without gcc only undefined behaviour is looked for.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

from devices.c_build import Compiler, build_programs, zig_argv, zig_environment
from devices.probe.build import build, probe_programs

_ABORT = ("-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O1", *_ABORT)
_GCC = (*_FLAGS, "-pthread", "-fsanitize=address,undefined")
_ZIG = (*_FLAGS, "-static", "-fsanitize=undefined")
_EMPTY = "int main(void) { return 0; }\n"

BUILDS = ("as shipped", "sanitized")
"""What a fixture of these tests is parametrized with."""


@cache
def gcc() -> str:
    """The host's gcc, if its address sanitizer is installed with it and works here; else nothing."""
    found = shutil.which("gcc")
    if not found:
        return ""
    with_library = subprocess.run(
        [found, *_GCC, "-x", "c", "-", "-o", "/dev/null"], input=_EMPTY, capture_output=True, text=True, timeout=60
    )
    return "" if with_library.returncode else found


def sanitized_probe() -> Path:
    name = f"{platform.machine()}-sanitized"
    if path := gcc():
        version = subprocess.run([path, "-dumpfullversion"], capture_output=True, text=True, timeout=60, check=True)
        compiler = Compiler(name, (path, *_GCC), version.stdout)
    else:
        compiler = Compiler(name, (*zig_argv(platform.machine()), *_ZIG), "", zig_environment())
    return build_programs(probe_programs(), compiler) / "probe"


def argv_of(build_name: str) -> list[str]:
    return [str(sanitized_probe() if build_name == "sanitized" else build(platform.machine()))]
