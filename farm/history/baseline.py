"""Pinned baselines in the index: the copies of runs that a slow drift is held against.

``FOLDER/<kind>/<name>/<run>`` is a copy of a run, and ``<name>/pinned.json`` says when it was pinned. The newest name
counts for phones of its profile, kernel, build and plan.
"""

from __future__ import annotations

import json
from pathlib import Path

from base.errors import LabError
from base.output import tell
from farm.history.folder import read_folder
from farm.history.index import HistoryIndex
from records.reading import RECORDS

ABOUT = "pinned.json"


def take_baselines(index: HistoryIndex, folder: Path) -> None:
    """Bring the pinned runs of a folder into the index, in place of those that were there; within ``writing``.

    Pinned runs never change, so one that is known is not read again. What cannot be read is told and left out.
    """
    there = {str(about.parent): _when(about) for about in folder.glob(f"*/*/{ABOUT}")}
    known = {name for (name,) in index.rows("SELECT DISTINCT pin FROM baseline")}
    for name in known - there.keys():
        index.write("DELETE FROM baseline WHERE pin = ?", [(name,)])
    for name in sorted(there.keys() - known):
        for records in sorted(Path(name).glob(f"*/{RECORDS}")):
            try:
                index.add_baseline(name, there[name], read_folder(records.parent))
            except LabError as error:
                tell(error.for_people())
    if known != there.keys():
        index.write("INSERT OR IGNORE INTO unjudged SELECT max(night) FROM run HAVING max(night) NOTNULL", [()])


def _when(about: Path) -> str:
    try:
        return str(json.loads(about.read_text(encoding="utf-8"))["when"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
