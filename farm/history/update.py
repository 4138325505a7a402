"""Brings the index up to date with a results folder: what is new is read, an index that is damaged is built anew."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from base.errors import EnvironmentRefused, LabError, ReportError
from base.output import tell
from farm.history.baseline import take_baselines
from farm.history.folder import FIGURES, FolderRun, read_folder
from farm.history.index import HistoryIndex, index_path, one_writer, open_index, remove_index
from farm.history.night import judge_nights
from records.reading import RECORDS

# results/nights/NIGHT/runs/ATTEMPT/RUN is the deepest; an attempt has one run.
_DEEPEST = 5
# So many folders are read and then written at once: a scan that is stopped keeps what it had.
_AT_ONCE = 200
_DAY_S = 86_400.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Update:
    """What a scan brought. ``rebuilt`` says why the index was made anew; empty: it was not."""

    index: str
    added: int
    unreadable: Mapping[str, str]
    nights: int
    rebuilt: str = ""


def on_index(
    results: Path, work: Callable[[HistoryIndex, Update], T], *, baselines: Path | None = None, rebuild: bool = False
) -> T:
    """Bring the index of a results folder up to date and work with it; one that is damaged is made anew and said.

    ``baselines`` is the folder of pinned runs; without it those that were known stay. Raises ReportError where there is
    no such folder of results, EnvironmentRefused where the index cannot be kept.
    """
    if not results.is_dir():
        raise ReportError(f"{results}: no such folder of results", hint="name one with --results")
    path = index_path(results)
    why = "as asked" if rebuild else ""
    try:
        try:
            return _work(results, baselines, path, work, why)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            why = f"it was damaged or of another version: {error}"
            tell(f"{path}: {why}; built anew from {results}")
            return _work(results, baselines, path, work, why)
    except sqlite3.DatabaseError as error:
        raise EnvironmentRefused(f"{path}: {error}", hint="is there room, and may you write there?") from error


def _work(
    results: Path, baselines: Path | None, path: Path, work: Callable[[HistoryIndex, Update], T], rebuild: str
) -> T:
    with one_writer(path):
        if rebuild:
            remove_index(path)
        with open_index(path) as index:
            added = _add_new(index, results)
            if baselines is not None:
                with index.writing():
                    take_baselines(index, baselines)
            update = Update(str(path), added, dict(index.rows("SELECT folder, why FROM unreadable")),
                            judge_nights(index), rebuild)  # fmt: skip
    with open_index(path) as index:
        return work(index, update)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """A disk that is full and a lock that is held are no damage."""
    return not isinstance(error, sqlite3.OperationalError) or str(error).startswith("no such ")


def _add_new(index: HistoryIndex, results: Path) -> int:
    batch: list[tuple[str, FolderRun | str, int]] = []
    added = 0
    for name, size in _new(index, results):
        batch.append((name, _read(results / name), size))
        if len(batch) == _AT_ONCE:
            added += _written(index, batch)
            batch = []
    return added + _written(index, batch)


def _read(folder: Path) -> FolderRun | str:
    """A run, or why there is none."""
    try:
        run = read_folder(folder)
    except LabError as error:
        return str(error)
    if run.started > time.time() + _DAY_S:
        return f"{folder}: began after today, by its own account: was the clock right?"
    return run


def _written(index: HistoryIndex, batch: list[tuple[str, FolderRun | str, int]]) -> int:
    with index.writing():
        for name, run, size in batch:
            if isinstance(run, str):
                index.add_unreadable(name, run, size)
            else:
                index.add(name, run, size)
    return sum(not isinstance(run, str) for _, run, _ in batch)


def _new(index: HistoryIndex, results: Path) -> Iterator[tuple[str, int]]:
    """Folders that are not in the index, and those of killed runs that have grown, each with the size of its file."""
    ended = {name for (name,) in index.rows("SELECT folder FROM run WHERE status IS NOT NULL")}
    sizes = dict(
        index.rows("SELECT folder, size FROM run WHERE status IS NULL UNION ALL SELECT folder, size FROM unreadable")
    )
    attempts = {name.rpartition("/")[0] for name in ended if name.count("/") == _DEEPEST - 1}
    for name in _runs_in(results, "", ended | attempts, _DEEPEST):
        size = _size(results / name)
        if sizes.get(name) != size:
            yield name, size


def _runs_in(results: Path, within: str, ended: set[str], depth: int) -> Iterator[str]:
    """Folders with a run, by name relative to ``results``; those that have ended are not looked at again."""
    try:
        with os.scandir(results / within) as found:
            names = sorted(each.name for each in found if each.is_dir(follow_symlinks=False))
    except OSError:  # removed meanwhile, or not ours to read
        return
    for name in names:
        folder = f"{within}/{name}" if within else name
        if folder in ended or name.startswith("."):
            continue
        if any((results / folder / file).is_file() for file in (RECORDS, FIGURES)):
            yield folder
        elif depth > 1:
            yield from _runs_in(results, folder, ended, depth - 1)


def _size(folder: Path) -> int:
    for file in (RECORDS, FIGURES):
        try:
            return (folder / file).stat().st_size
        except OSError:
            continue
    return 0
