"""Writing a run: one folder, records appended and synced one by one, raw samples beside them.

What is on disk is complete up to the last record whatever happens next: a record is written as one line and synced
before the next measurement starts, and a line that could not be written whole is taken back.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path, PurePath
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from base import files
from base.errors import ReportError, StorageFailed
from base.files import append_line, replacing, sync_folder
from records.block_events import SUFFIX
from records.model import SCHEMA, Caveat, End, RunResult, Session, TestOutcome
from records.raw import RAW_FOLDER
from records.reading import RECORDS, load

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["RAW_FOLDER", "RECORDS", "RunFolder", "check_writable", "load", "replace_file"]

Record = Session | RunResult | TestOutcome | End

TYPE_TAGS: Mapping[type[Record], str] = {Session: "session", RunResult: "run", TestOutcome: "outcome", End: "end"}


class RunFolder:
    """The folder of one run while it is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, results_dir: Path, device_name: str, now: datetime) -> RunFolder:
        """Make ``results_dir/<UTC>-<device>``, with a number behind it if that exists; ``now`` must know its zone."""
        if now.tzinfo is None:
            raise ValueError("now: a time without a zone cannot be told in UTC")
        stem = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{_file_name(device_name)}"
        with _told_as_storage_failed(results_dir):
            results_dir.mkdir(parents=True, exist_ok=True)
            path = _make_unused(results_dir, stem)
            (path / RAW_FOLDER).mkdir()
            sync_folder(results_dir)
            sync_folder(path)
        return cls(path)

    @property
    def run_id(self) -> str:
        """Name of the folder, unique within its results folder."""
        return self.path.name

    @property
    def records(self) -> Path:
        """The file of records, ``results.jsonl``."""
        return self.path / RECORDS

    def append(self, record: Record) -> None:
        """Write one record as one line and sync it. :raises StorageFailed: with the file as it was before."""
        line = _encode(record)
        with _told_as_storage_failed(self.records):
            append_line(self.records, line)

    def keep(self, name: str, text: str) -> None:
        """Write a text file of that name into the folder, in place of one that is there. :raises StorageFailed:"""
        replace_file(self.path / name, text)

    def save_raw(self, name: str, samples: npt.NDArray[np.uint64]) -> str:
        """Keep every sample in ``raw/<name>.npy`` (uint64, ns); returns that path relative to the run's folder."""
        import numpy as np

        if samples.dtype != np.uint64 or samples.ndim != 1:
            raise ValueError(f"{name}: samples must be a flat uint64 array, not {samples.ndim}-d {samples.dtype}")
        folder = self.path / RAW_FOLDER
        with _told_as_storage_failed(folder):
            folder.mkdir(exist_ok=True)
            target = _unused_file(folder, _file_name(name))
            with replacing(target) as temporary, temporary.open("xb") as file:
                np.save(file, samples, allow_pickle=False)
        return f"{RAW_FOLDER}/{target.name}"

    def save_trace(self, name: str, packed: bytes) -> str:
        """Keep block events, packed, in ``raw/<name>.trace.gz``; returns that path relative to the run's folder."""
        folder = self.path / RAW_FOLDER
        with _told_as_storage_failed(folder):
            folder.mkdir(exist_ok=True)
            target = _unused_file(folder, _file_name(name), SUFFIX)
            with replacing(target) as temporary, temporary.open("xb") as file:
                file.write(packed)
        return f"{RAW_FOLDER}/{target.name}"


def check_writable(results_dir: Path) -> None:
    """Tell before a run what would fail at its first record. :raises StorageFailed: naming the folder.

    Makes nothing: the nearest folder that is there must take new entries.
    """
    with _told_as_storage_failed(results_dir):
        there = next(path for path in (results_dir, *results_dir.absolute().parents) if path.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is not a folder")
        with TemporaryFile(dir=there):
            pass


def replace_file(path: Path, content: str) -> None:
    """Write a rendered file so that a reader sees the old or the new one, never half of it."""
    with _told_as_storage_failed(path):
        files.replace_file(path, content)


def _encode(record: Record) -> bytes:
    tag = TYPE_TAGS[type(record)]
    head: dict[str, Any] = {"type": tag, "schema": SCHEMA} if tag == "session" else {"type": tag}
    try:
        text = json.dumps(head | _plain(record), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ReportError(
            f"{tag} record {getattr(record, 'test', '')}: {error}: NaN and infinity are not measurements",
            hint="leave the value out or record the reason as a fact",
        ) from error
    # A lone surrogate (a byte that was not UTF-8, from a phone) must not cost the record.
    return text.encode("utf-8", errors="backslashreplace")


def _plain(value: Any) -> Any:
    """Turn a record into what JSON knows. A caveat is stored under its name: its sentence may be reworded."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Caveat):
        return value.name
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, str | bytes | PurePath):
        return os.fsdecode(value)
    if isinstance(value, Sequence | Set):
        return [_plain(each) for each in (sorted(value) if isinstance(value, Set) else value)]
    to_python = getattr(value, "tolist", None)  # numpy's scalars and arrays, without importing numpy
    return to_python() if callable(to_python) else value


@contextmanager
def _told_as_storage_failed(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"{path}: cannot write: {error.strerror or error}",
            hint=f"make room or give write permission (df -h {path.parent}), or choose another folder with --results; "
            "what was recorded so far is kept",
        ) from error


def _make_unused(parent: Path, stem: str) -> Path:
    number = 1
    while True:
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _unused_file(folder: Path, stem: str, suffix: str = ".npy") -> Path:
    path, number = folder / f"{stem}{suffix}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path


def _file_name(name: str) -> str:
    """``127.0.0.1:5555`` and the like as a name that every file system and shell takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:80] or "unnamed"
