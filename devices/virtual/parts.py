"""A cache of things that take long to make: each part is a folder named by what went in, whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from base.errors import EnvironmentRefused
from base.paths import cache_dir

Progress = Callable[[str], None]

_MANIFEST = "manifest.json"
_LOCK_S = 900


@dataclass(frozen=True, slots=True)
class Part:
    """Something to build into the cache.

    ``inputs`` is all that the result depends on (texts and files); ``make`` fills an empty folder and says what it put
    there (JSON, for the manifest); ``vital`` are the files that are hashed before every use, the others only on demand.
    """

    name: str
    inputs: tuple[str | Path, ...]
    make: Callable[[Path], dict[str, Any]]
    vital: tuple[str, ...]
    needs_bytes: int

    @property
    def key(self) -> str:
        digest = hashlib.sha256(self.name.encode())
        for item in self.inputs:
            content = item.read_bytes() if isinstance(item, Path) else item.encode()
            digest.update(b"%d:" % len(content) + content)
        return digest.hexdigest()[:12]


def virtual_cache() -> Path:
    path = cache_dir() / "virtual"
    path.mkdir(parents=True, exist_ok=True)
    return path


def ensure(part: Part, *, progress: Progress, refresh: bool = False, thorough: bool = False) -> Path:
    """The part's folder: from the cache if it is there and undamaged, else built now, under a lock."""
    home = virtual_cache() / f"{part.name}-{part.key}"
    if not refresh and not damage(home, part, thorough=thorough):
        return home
    with _locked(progress):
        # Another process may have built it while this one waited.
        found = damage(home, part, thorough=thorough)
        if not found and not refresh:
            return home
        if found and home.exists():
            progress(f"{part.name}: the cache is damaged ({found}), building it again")
        _require_room(part)
        _build(part, home)
    return home


def manifest(home: Path) -> dict[str, Any]:
    """What was recorded when the part was built."""
    loaded: dict[str, Any] = json.loads((home / _MANIFEST).read_text())
    return loaded


def damage(home: Path, part: Part, *, thorough: bool = False) -> str:
    """What is wrong with a part in the cache, or nothing. Sizes of all files, hashes of the vital (or all) ones."""
    try:
        files: dict[str, dict[str, Any]] = manifest(home)["files"]
        for name, expected in files.items():
            path = home / name
            if path.stat().st_size != expected["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {expected['bytes']}"
            if (thorough or name in part.vital) and sha256(path) != expected["sha256"]:
                return f"{name} has changed"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return str(error) or type(error).__name__
    return ""


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(part: Part, home: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{part.name}-", dir=virtual_cache(), ignore_cleanup_errors=True) as temp:
        new = Path(temp) / "new"
        new.mkdir()
        record = part.make(new)
        files = {str(path.relative_to(new)): path for path in _files(new)}
        described = {n: {"bytes": p.stat().st_size, "sha256": sha256(p)} for n, p in sorted(files.items())}
        text = json.dumps({"part": part.name, "key": part.key, **record, "files": described}, indent=1)
        (new / _MANIFEST).write_text(text + "\n")
        if home.exists():
            home.rename(Path(temp) / "old")
        new.rename(home)


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _require_room(part: Part) -> None:
    free = shutil.disk_usage(virtual_cache()).free
    if free < part.needs_bytes:
        raise EnvironmentRefused(
            f"{virtual_cache()}: building {part.name} needs {part.needs_bytes >> 20} MiB, {free >> 20} MiB are free",
            hint="Free some room, or put the cache elsewhere with $ZRAM_LAB_CACHE.",
        )


@contextmanager
def _locked(progress: Progress) -> Iterator[None]:
    lock = FileLock(virtual_cache() / "build.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("waiting for another process that is building the virtual phone")
        try:
            lock.acquire(timeout=_LOCK_S)
        except Timeout as error:
            raise EnvironmentRefused(
                f"{lock.lock_file}: another process has been building the virtual phone for {_LOCK_S} s",
                hint="See what it does, or end it (fuser shows it), and try again.",
            ) from error
    try:
        yield
    finally:
        lock.release()
