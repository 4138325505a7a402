"""Makes room: old runs shrink to their records, very old ones go; never one that somebody still needs.

What a run's folder loses first is what reports can do without: samples, logs, pages. Its records are kept packed, with
the mail and the figures that the index has of it, so that the index can be made anew.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from base.errors import LabError, StorageFailed
from base.files import open_regular, replacing, sync_folder
from farm.history.folder import FIGURES, read_folder, write_figures
from farm.history.index import HistoryIndex
from farm.history.trend import LAST
from farm.history.trends import open_alarms
from records.reading import RECORDS

FULL_NIGHTS, RECORD_NIGHTS = 14, 400
# A file of this name in a run's folder keeps the folder as it is.
KEEP = "keep"
PACKED = f"{RECORDS}.gz"
_LEFT = {PACKED, FIGURES, "mail.txt"}
# Whoever looks for the cause of an alarm needs samples of the nights that raised it, and of three before and after.
_BEFORE, _AFTER = LAST - 1 + 3, 3


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is to be done with one run's folder: ``pack`` or ``remove``, and the bytes that it gives back."""

    folder: str
    what: str
    bytes: int


def plan_pruning(
    index: HistoryIndex, results: Path, *, full: int = FULL_NIGHTS, records: int = RECORD_NIGHTS
) -> list[Pruning]:
    """Which folders shrink or go, oldest first: counted in nights from the last one.

    Kept whole: what the index has not got, runs that were killed, the last run of each phone, what an open alarm needs,
    and a folder with a file ``keep``.
    """
    kept = {folder for folder, _ in index.rows("SELECT folder, max(started) FROM run GROUP BY phone")}
    needed = _needed(index)
    found = []
    ((last,),) = index.rows("SELECT max(night) FROM run")
    for folder, night, kind in index.rows(
        "SELECT folder, night, kind FROM run WHERE status IS NOT NULL AND night <= ? ORDER BY started",
        (last or 0) - full,
    ):
        path = results / folder
        if folder in kept or night in needed.get(kind, ()) or not _is_run(path) or (path / KEEP).exists():
            continue
        what = "remove" if night <= last - records else "pack"
        size = sum(each.lstat().st_size for each in _files(path) if what == "remove" or each.name not in _LEFT)
        if size:
            found.append(Pruning(folder, what, size))
    return found


def prune(results: Path, plan: Sequence[Pruning]) -> list[str]:
    """Carry a plan out; returns what could not be done, for people. Raises StorageFailed."""
    problems = []
    for each in plan:
        path = results / each.folder
        try:
            if each.what == "remove":
                shutil.rmtree(path)
            else:
                _pack(path)
        except LabError as error:
            problems.append(str(error))
        except OSError as error:
            raise StorageFailed(f"{path}: cannot be pruned: {error.strerror or error}") from error
    return problems


def _needed(index: HistoryIndex) -> dict[int, set[int]]:
    """For each kind the nights that an open alarm rests on."""
    return {alarm.kind: set(range(alarm.opened - _BEFORE, alarm.last + _AFTER + 1)) for alarm in open_alarms(index)}


def _pack(folder: Path) -> None:
    """Each step leaves a folder that says the same: figures first, then the packed records, then the rest goes."""
    if (folder / RECORDS).exists():
        write_figures(folder, read_folder(folder))
        with open_regular(folder / RECORDS) as source, replacing(folder / PACKED) as temporary:
            _compress(source, temporary)
        (folder / RECORDS).unlink()
    for each in list(_files(folder)):
        if each.name not in _LEFT or each.parent != folder:
            each.unlink()
    for each in sorted((each for each in folder.rglob("*") if each.is_dir()), reverse=True):
        each.rmdir()
    sync_folder(folder)


def _compress(source: BinaryIO, target: Path) -> None:
    with gzip.open(target, "wb") as packed:
        shutil.copyfileobj(source, packed)


def _is_run(folder: Path) -> bool:
    """Whether it is still what the index knows: nothing else is ever removed."""
    return not folder.is_symlink() and any((folder / name).is_file() for name in (RECORDS, FIGURES))


def _files(folder: Path) -> Iterator[Path]:
    return (each for each in folder.rglob("*") if not each.is_dir() or each.is_symlink())
