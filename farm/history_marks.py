"""What people say of the history: alarms that somebody knows of, and runs that are pinned as a baseline.

It is in no results folder, so it lies with the state, which is not deleted: one line each, appended and synced.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from base.errors import StorageFailed
from base.files import append_line, read_lines
from base.paths import private_folder, state_dir
from farm.history_folder import Kind


def acknowledge(alarm: str, reason: str) -> None:
    """Note that somebody knows of an alarm. Raises StorageFailed."""
    _append({"what": "acknowledged", "alarm": alarm, "reason": reason})


def acknowledged() -> Mapping[str, str]:
    """Alarms that somebody knows of, each with who and why."""
    return {
        str(mark.get("alarm")): f"{mark.get('who')}: {mark.get('reason')}"
        for mark in _marks()
        if mark.get("what") == "acknowledged"
    }


def pin(kind: Kind, folders: Sequence[str], name: str) -> None:
    """Pin runs as the baseline of phones of this kind, by folder relative to the results; the last pin counts.

    Raises StorageFailed.
    """
    _append({"what": "pinned", "kind": _key(kind), "folders": list(folders), "name": name})


def pinned_folders(kind: Kind) -> Sequence[str]:
    """The runs that are pinned for phones of this kind; none where nobody pinned any."""
    return next((mark["folders"] for mark in reversed(_marks()) if mark.get("kind") == _key(kind)), [])


def all_pinned() -> frozenset[str]:
    """Every run that was pinned at any time."""
    return frozenset(folder for mark in _marks() for folder in mark.get("folders", ()))


def _key(kind: Kind) -> list[str]:
    return [kind.profile, kind.kernel, kind.build, kind.plan]


def _file() -> Path:
    return private_folder(state_dir() / "farm") / "history-marks.jsonl"


def _append(mark: Mapping[str, Any]) -> None:
    path = _file()
    line = json.dumps({**mark, "who": getpass.getuser(), "at": time.time()}, ensure_ascii=False)
    try:
        append_line(path, line.encode(), mode=0o600)
    except OSError as error:
        raise StorageFailed(f"{path}: cannot write: {error.strerror}", hint="is there room?") from error


def _marks() -> list[dict[str, Any]]:
    try:
        return [line.record for line in read_lines(_file(), private=True) if line.record is not None]
    except FileNotFoundError:
        return []
