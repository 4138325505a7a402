"""Which night it is: a new one, or one that is there and was not told to its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from base.deadline import Deadline, wait_until
from base.errors import DeviceTimeout, EnvironmentRefused, LabError, ProfileError
from farm.night_log import NIGHTS, NightLog, NightState, is_running, nights_in, read_night
from farm.shelf import Shelf

# A night without an end of its own is taken up again for so long; after that a new one is begun.
_RESUMABLE = timedelta(hours=12)
_LEFT_BEHIND_S = 10.0

Say = Callable[[str], None]


def begun(results: Path, shelf: Shelf, planned: Mapping[str, Any], say: Say) -> NightLog:
    """Take up this farm's night that was cut off and whose time is not over, or begin a new one."""
    name = shelf.farm.farm
    for folder in reversed(nights_in(results)):
        try:
            state = read_night(folder)
        except LabError as error:
            say(f"{error}; it is left alone")
            continue
        if state.planned.get("farm") != name:
            continue
        if _is_running(folder, state):
            say(f"night {folder.name} is running: what it measures meanwhile is not measured twice")
        elif _goes_on(state) and (log := NightLog.reopen(folder)):
            say(f"night {folder.name} was cut off and goes on")
            return _resumed(log)
        break
    return NightLog.begin(results, {"farm": name, **planned}, f"{datetime.now():%Y-%m-%d}-{name}")


def resumed(results: Path, shelf: Shelf, night: str) -> NightLog:
    """Take up the night that was named. Raises ReportError, EnvironmentRefused when it is running, ProfileError."""
    folder = Path(night) if "/" in night else results / NIGHTS / night
    state = read_night(folder)
    if state.planned.get("farm") != shelf.farm.farm:
        raise ProfileError(
            f"--resume {night}: that night is of {state.planned.get('farm')}, {shelf.file} is of {shelf.farm.farm}",
            hint="name the file that it was begun with",
        )
    log = None if _is_running(folder, state) else NightLog.reopen(folder)
    if log is None:
        raise EnvironmentRefused(
            f"{folder}: this night is running", hint="wait for its end; its log is night.jsonl in that folder"
        )
    return _resumed(log)


def _is_running(folder: Path, state: NightState) -> bool:
    """Whether the night has a process.

    One that was killed while it started a child leaves its lock with that child for a moment, until the child has
    become the program that it is to be.
    """
    if is_running(folder) and not Path(f"/proc/{state.pid}").exists():
        with suppress(DeviceTimeout):
            wait_until(f"{folder}: its lock", lambda: not is_running(folder), Deadline.after(_LEFT_BEHIND_S))
    return is_running(folder)


def _resumed(log: NightLog) -> NightLog:
    log.add("resumed", pid=os.getpid())
    return log


def _goes_on(state: NightState) -> bool:
    if state.done is not None:
        return False
    try:
        if until := state.planned.get("until"):
            return datetime.now().astimezone() < datetime.fromisoformat(str(until))
        age = datetime.now().astimezone() - datetime.fromisoformat(str(state.planned["when"]))
    except (ValueError, TypeError):
        return False
    # A clock that was set back makes a night that begins later than now.
    return age < _RESUMABLE
