"""Builds the probe for a phone's processor with the zig that pip installed, once per state of its sources.

The sources are in ``probe/``; the result is a static program without an interpreter, so that it runs on any Android and
on any virtual phone. The first build of an architecture also builds its C library, which takes about a minute of one
core; after that the cached file is returned at once.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout

from base.errors import EnvironmentRefused
from base.paths import REPO, cache_dir

SOURCES = REPO / "probe"

# The names are those of ``uname -m``.
TARGETS = {
    "aarch64": "aarch64-linux-musl",
    "armv7": "arm-linux-musleabihf",
    "x86_64": "x86_64-linux-musl",
}
_ALIASES = {"armv7l": "armv7", "armv8l": "armv7", "arm64": "aarch64", "amd64": "x86_64"}

COMPILE_FLAGS = (
    "-std=c11", "-D_GNU_SOURCE", "-O2", "-fno-sanitize=all",
    "-Wall", "-Wextra", "-Wshorten-64-to-32", "-Wcast-qual", "-Wshadow", "-Werror",
)  # fmt: skip
# Segments are aligned for phones with 16 KiB pages; they also load where pages are smaller.
_LINK_FLAGS = ("-static", "-s", "-Wl,-z,max-page-size=16384")
_BUILD_SECONDS = 900
_LAST_LINES = 30


def build(arch: str) -> Path:
    """The probe for a phone whose ``uname -m`` is ``arch``.

    Raises EnvironmentRefused when there is no such target or the build fails.
    """
    name = _ALIASES.get(arch, arch)
    if name not in TARGETS:
        raise EnvironmentRefused(
            f"no probe for the architecture {arch!r}",
            hint=f"known are {', '.join(TARGETS)}; another one is a line in {__name__.replace('.', '/')}.py",
        )
    product = cache_dir() / "probe" / _key() / name / "probe"
    if product.exists():
        return product
    product.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(product.with_suffix(".lock"), timeout=_BUILD_SECONDS):
            if not product.exists():
                _compile(TARGETS[name], product)
    except Timeout as error:
        raise EnvironmentRefused(
            f"another process has been building the {name} probe for {_BUILD_SECONDS} s",
            hint=f"see who holds {error.lock_file}",
        ) from error
    return product


@cache
def sha256(path: Path) -> str:
    """Of a built probe, which never changes under its name; to be compared with what a phone has."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sources() -> list[Path]:
    return sorted(SOURCES.glob("*.c"))


def _key() -> str:
    """Changes with everything that goes into the file; hexadecimal, short enough to read."""
    digest = hashlib.sha256(repr((COMPILE_FLAGS, _LINK_FLAGS, sorted(TARGETS.items()), _zig_version())).encode())
    for path in sorted(SOURCES.glob("*.[ch]")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _zig_version() -> str:
    try:
        return version("ziglang")
    except PackageNotFoundError as error:
        raise EnvironmentRefused(
            "the compiler for the probe is missing: there is no Python package ziglang",
            hint="./lab installs it; by hand: pip install ziglang",
        ) from error


def zig_cache() -> Path:
    """Where zig keeps C libraries, and objects by their content."""
    return cache_dir() / "zig"


def zig_environment() -> dict[str, str]:
    return os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(zig_cache()), "ZIG_LOCAL_CACHE_DIR": str(zig_cache())}


def _compile(target: str, product: Path) -> None:
    """Into a temporary file beside ``product``, which then appears as a whole or not at all."""
    zig = zig_cache()
    with tempfile.TemporaryDirectory(dir=product.parent, prefix="build-") as folder:
        output = Path(folder) / "probe"
        argv = [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            target,
            *COMPILE_FLAGS,
            *_LINK_FLAGS,
            *map(str, _sources()),
        ]
        argv += ["-o", str(output)]
        try:
            done = subprocess.run(
                argv, env=zig_environment(), cwd=SOURCES, capture_output=True, text=True, timeout=_BUILD_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise EnvironmentRefused(
                f"the compiler did not finish the {target} probe within {_BUILD_SECONDS} s",
                hint=f"is the machine overloaded, or the disk of {zig} full?",
            ) from error
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
            raise EnvironmentRefused(
                f"the {target} probe does not compile (exit status {done.returncode}):\n{last}",
                hint=f"a full disk or a damaged cache: free space or remove {zig}; else a mistake in {SOURCES}",
            )
        output.replace(product)
