"""The process that measures one phone in a night: what it is called with, and what it left."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from base.errors import LabError
from base.text import clean
from devices.profiles.reading import known
from farm.shelf import ShelfPhone
from records.reading import RECORDS, load


def run_in(folder: Path) -> tuple[Path | None, int | None]:
    """The run that an attempt left in its folder, and how it ended; None for what is not there.

    One attempt has one run; of more, which nobody made, the last.
    """
    found: tuple[Path | None, int | None] = (None, None)
    for path in sorted(folder.glob(f"*/{RECORDS}")):
        with suppress(LabError):
            end = load(path.parent).end
            found = path.parent, end.exit_status if end else None
    return found


def device_of(phone: ShelfPhone) -> str:
    """What ``./lab run --device`` calls it: its profile, whose phone ANDROID_SERIAL then names, or its serial."""
    return phone.profile or phone.serial


def environment_of(phone: ShelfPhone) -> Mapping[str, str]:
    """What its run's process gets: which phone, and at which adb server where that is not this computer's."""
    environment = dict(os.environ)
    if phone.serial not in known():
        environment["ANDROID_SERIAL"] = phone.serial
    if phone.server:
        host, _, port = phone.server.rpartition(":")
        environment |= {"ANDROID_ADB_SERVER_HOST": host, "ANDROID_ADB_SERVER_PORT": port}
    return environment


def last_words(log: Path, status: int) -> str:
    """What a run told at last: the lines of its last message, or that it was killed."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    try:
        lines = clean(log.read_text(encoding="utf-8", errors="replace")).splitlines()[-200:]
    except OSError:
        lines = []
    told = [number for number, line in enumerate(lines) if line.startswith("lab: ")]
    if told:
        first, *more = lines[told[-1] :]
        return "\n".join([first.removeprefix("lab: "), *(line for line in more[:1] if line.startswith("  -> "))])
    return next((line.strip() for line in reversed(lines) if line.strip()), f"exit status {status}")
