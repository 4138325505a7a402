"""Running programs out of an unpacked Debian root, with that root's own loader and libraries."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from base.errors import EnvironmentRefused

LOADER = "ld-linux-x86-64.so.2"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def argv_in_root(root: Path, program: str, *, name: str | None = None) -> list[str]:
    """How to call ``program`` (a path inside ``root``), whatever libraries the host has; ``name`` becomes argv[0]."""
    as_name = ["--argv0", name] if name else []
    return [str(root / _LIBRARIES / LOADER), "--library-path", _library_path(root), *as_name, str(root / program)]


def libraries(root: Path, programs: Sequence[str]) -> set[Path]:
    """The shared libraries that the programs need, as real files inside ``root``, by the names they are asked for."""
    loader = str(root / _LIBRARIES / LOADER)
    needed: set[Path] = set()
    for program in programs:
        argv = [loader, "--library-path", _library_path(root), "--list", str(root / program)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        missing = re.findall(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE)
        if done.returncode or missing:
            raise EnvironmentRefused(
                f"{root / program}: cannot be run on this host: {', '.join(missing) or done.stderr.strip()}",
                hint="./lab phone build --refresh fetches the packages anew.",
            )
        needed.update(Path(path) for path in re.findall(r"=> (\S+) \(0x", done.stdout))
    return {path for path in needed if path.name != LOADER}


def _library_path(root: Path) -> str:
    return f"{root / _LIBRARIES}:{root / _LIBRARIES / 'android'}"
