"""Builds the probe for a phone's processor. Its sources are in ``probe/``."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from base.errors import EnvironmentRefused
from base.paths import REPO
from devices.c_build import TARGETS, Programs, build_programs, zig

SOURCES = REPO / "probe"

_ALIASES = {"armv7l": "armv7", "armv8l": "armv7", "arm64": "aarch64", "amd64": "x86_64"}


def build(arch: str) -> Path:
    """The probe for a phone whose ``uname -m`` is ``arch``.

    Raises EnvironmentRefused when there is no such target or the build fails.
    """
    name = _ALIASES.get(arch, arch)
    if name not in TARGETS:
        raise EnvironmentRefused(
            f"no probe for the architecture {arch!r}",
            hint=f"known are {', '.join(TARGETS)}; another one is a line in devices/c_build.py",
        )
    return build_programs(probe_programs(), zig(name)) / "probe"


def probe_programs() -> Programs:
    return Programs("probe", {"probe": tuple(sorted(SOURCES.glob("*.c")))})


@cache
def sha256(path: Path) -> str:
    """Of a built probe, which never changes under its name; to be compared with what a phone has."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
