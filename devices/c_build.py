"""Builds programs out of C into the cache, once per state of their sources: the probe, the virtual phone's programs.

The compiler is the zig that pip installed. Its programs are static and have no interpreter, so that they run on any
Android and on any virtual phone. The first build for a processor also builds its C library, which takes about a minute
of one core; after that the cached files are returned at once.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout

from base.errors import EnvironmentRefused
from base.files import why_not_private
from base.paths import REPO, cache_dir

# The names are those of ``uname -m``.
TARGETS = {
    "aarch64": "aarch64-linux-musl",
    "armv7": "arm-linux-musleabihf",
    "x86_64": "x86_64-linux-musl",
}

COMPILE_FLAGS = (
    *("-std=c11", "-D_GNU_SOURCE", "-O2", "-fno-sanitize=all"),
    *("-Wall", "-Wextra", "-Wshorten-64-to-32", "-Wcast-qual", "-Wshadow", "-Werror"),
)
# Segments are aligned for phones with 16 KiB pages; they also load where pages are smaller.
_LINK_FLAGS = ("-static", "-s", "-Wl,-z,max-page-size=16384")
_BUILD_SECONDS = 900
_LAST_LINES = 30


@dataclass(frozen=True, slots=True)
class Programs:
    """``name`` is what the cache and messages call them; ``sources`` are the files that each program is linked from.

    All headers beside the sources and in ``include`` count as read.
    """

    name: str
    sources: Mapping[str, tuple[Path, ...]]
    include: tuple[Path, ...] = ()

    def files(self) -> list[Path]:
        """Everything that goes into them."""
        sources = {path for paths in self.sources.values() for path in paths}
        folders = {path.parent for path in sources} | set(self.include)
        return sorted(sources | {path for folder in folders for path in folder.glob("*.h")})


@dataclass(frozen=True, slots=True)
class Compiler:
    """``argv`` compiles and links C files for ``processor``; its output may be another one when ``version`` is."""

    processor: str
    argv: tuple[str, ...]
    version: str
    environment: Mapping[str, str] = field(default_factory=dict)


def zig(processor: str) -> Compiler:
    """For one of TARGETS."""
    argv = (*zig_argv(processor), *COMPILE_FLAGS, *_LINK_FLAGS)
    return Compiler(processor, argv, _zig_version(), zig_environment())


def zig_argv(processor: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "ziglang", "cc", "-target", TARGETS[processor])


def zig_environment() -> dict[str, str]:
    """zig keeps C libraries, and objects by their content, in our cache."""
    folder = str(cache_dir() / "zig")
    return {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}


def build_programs(programs: Programs, compiler: Compiler) -> Path:
    """The folder that holds each of the programs under its name, from the cache or built now.

    Raises EnvironmentRefused when they do not compile.
    """
    what = f"{compiler.processor} {programs.name}"
    home = cache_dir() / programs.name / _key(programs, compiler) / compiler.processor
    for folder in (home.parents[1], home.parent):
        folder.mkdir(mode=0o755, exist_ok=True)
    if home.exists():
        return _trusted(home)
    try:
        with FileLock(home.with_suffix(".lock"), timeout=_BUILD_SECONDS):
            if not home.exists():
                _build(programs, compiler, home, what)
    except Timeout as error:
        raise EnvironmentRefused(
            f"another process has been building the {what} for {_BUILD_SECONDS} s",
            hint=f"see who holds {error.lock_file}",
        ) from error
    return _trusted(home)


def _trusted(home: Path) -> Path:
    """They are run as root on phones, so nobody else may have put them there."""
    for path in (*home.parents[:2], home, *home.iterdir()):
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            path.chmod(0o755)
        elif reason := "it is a link" if stat.S_ISLNK(found.st_mode) else why_not_private(found):
            raise EnvironmentRefused(
                f"{path}: {reason}; what lies there is run on phones as root",
                hint=f"remove {home}, then it is built again; or set ZRAM_LAB_CACHE to a folder of your own",
            )
    return home


def _key(programs: Programs, compiler: Compiler) -> str:
    """Changes with everything that goes into the files; hexadecimal, short enough to read."""
    # The first word is where this Python lies.
    what = (compiler.argv[1:], compiler.version, sorted(programs.sources))
    digest = hashlib.sha256(repr(what).replace(str(REPO), "").encode())
    for path in programs.files():
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _zig_version() -> str:
    try:
        return version("ziglang")
    except PackageNotFoundError as error:
        raise EnvironmentRefused(
            "the compiler is missing: there is no Python package ziglang",
            hint="./lab installs it; by hand: pip install ziglang",
        ) from error


def _build(programs: Programs, compiler: Compiler, home: Path, what: str) -> None:
    """Into a temporary folder beside ``home``, which then appears as a whole or not at all."""
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="build-") as folder:
        new = Path(folder) / "new"
        new.mkdir()
        for name, sources in programs.sources.items():
            include = [f"-I{path}" for path in programs.include]
            argv = [*compiler.argv, *include, *map(str, sources), "-o", str(new / name)]
            _run(argv, compiler.environment, what)
            (new / name).chmod(0o755)
        new.rename(home)


def _run(argv: list[str], environment: Mapping[str, str], what: str) -> None:
    try:
        done = subprocess.run(
            argv, env=os.environ | environment, cwd=REPO, capture_output=True, text=True, timeout=_BUILD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentRefused(
            f"the compiler did not finish the {what} within {_BUILD_SECONDS} s",
            hint=f"is the machine overloaded, or the disk of {cache_dir()} full?",
        ) from error
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise EnvironmentRefused(
            f"the {what} does not compile (exit status {done.returncode}):\n{last}",
            hint=f"a full disk or a damaged cache: free space or remove {cache_dir() / 'zig'}; else a mistake in it",
        )
