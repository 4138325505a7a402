"""The end of a night: compared with the baselines, told in every form, and its hook called."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from base.errors import EXIT_NO_BASELINE, LabError
from farm.baselines import Against, against_baseline
from farm.fleet_text import fleet_text
from farm.night_log import MEASURED, NightLog
from farm.shelf import Shelf
from farm.standing import Register
from farm.story import Story, tell_night
from records.writing import replace_file

# What a night is told in, beside night.json; each is made from that document alone.
FORMS: Mapping[str, Callable[[Story], str]] = {
    "night.json": lambda story: json.dumps(story, indent=1, ensure_ascii=False) + "\n",
    "fleet.txt": fleet_text,
}


def close_night(shelf: Shelf, log: NightLog, register: Register, say: Callable[[str], None]) -> Story:
    """Compare, tell, and mark the night as done. A form that cannot be made costs only itself. Raises StorageFailed."""
    against = compared(shelf, log, say)
    story = tell_night(shelf, log, register, against)
    _write(log.folder, story, say)
    log.add("done", status=story["status"], counts=story["counts"], summary=story["summary"])
    return story


def compared(shelf: Shelf, log: NightLog, say: Callable[[str], None]) -> dict[str, Against]:
    """Compare each measured phone's run with its baseline; not at all where the file names none and none was pinned."""
    if "baseline" not in shelf.farm.model_fields_set and not shelf.baselines.is_dir():
        return {}
    found = {}
    for serial, night in log.state.phones.items():
        if night.end in MEASURED and night.run:
            found[serial] = against_baseline(shelf.baselines, log.folder / night.run, shelf.farm.baseline.by)
            if found[serial].status == EXIT_NO_BASELINE:
                say(f"{serial}: not compared: {found[serial].reason.splitlines()[0]}")
    return found


def _write(folder: Path, story: Story, say: Callable[[str], None]) -> None:
    for name, form in FORMS.items():
        try:
            replace_file(folder / name, form(story))
        except (LabError, ValueError, KeyError, OSError) as error:
            with suppress(LabError):
                story["notes"].append(f"{name}: could not be made: {error}")
            say(f"{name}: could not be made: {error}")
