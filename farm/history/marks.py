"""What people say of the history: which alarms somebody knows of, who and why.

It is in no results folder, so it lies with the state, which is not deleted: one line each, appended and synced.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from base.errors import StorageFailed
from base.files import append_line, read_lines
from base.paths import private_folder, state_dir


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
