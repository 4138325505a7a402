"""The end of a night: compared with the baselines, told in every form, and its hook called."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from base.errors import EXIT_NO_BASELINE, LabError
from farm.baselines import Against, against_baseline
from farm.fleet_page import fleet_page
from farm.fleet_text import fleet_text
from farm.history.trends import trends
from farm.history.update import on_index
from farm.hook import call_hook
from farm.junit import junit
from farm.kcidb import kcidb
from farm.night_log import MEASURED, NightLog
from farm.shelf import Shelf
from farm.standing import Register
from farm.story import Story, tell_night
from farm.textfile import textfile
from records.writing import replace_file

# What a night is told in, beside night.json; each is made from that document alone.
FORMS: Mapping[str, Callable[[Story], str]] = {
    "night.json": lambda story: json.dumps(story, indent=1, ensure_ascii=False) + "\n",
    "fleet.txt": fleet_text,
    "fleet.html": fleet_page,
    "night.xml": junit,
    "night.kcidb.json": kcidb,
    "zram_lab_night.prom": textfile,
}


def close_night(shelf: Shelf, log: NightLog, register: Register, say: Callable[[str], None]) -> Story:
    """Compare, tell, and mark the night as done. A form that cannot be made costs only itself. Raises StorageFailed."""
    against = compared(shelf, log, say)
    story = tell_night(shelf, log, register, against) | {"trends": trend_lines(log.folder.parents[1], shelf)}
    _write(log.folder, story, say)
    if told := call_hook(shelf.farm.notify, story, shelf.file.parent):
        say(told)
        log.add("note", text=told)
        story["notes"].append(told)
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


def trend_lines(results: Path, shelf: Shelf) -> list[str]:
    """What many nights say, a line each: open alarms, known changes that moved a figure, phones that moved alone."""
    try:
        baselines = shelf.baselines if shelf.baselines.is_dir() else None
        found = on_index(results, lambda index, _: trends(index), baselines=baselines)
    except LabError as error:
        return [f"not known: {error.for_people()}"]
    if found is None:
        return []
    lines = []
    for alarm in found.alarms:
        if alarm.state != "ended":
            what = "all phones moved: room or host?" if alarm.is_common else "worse" if alarm.is_worse else "better"
            kind = f"{alarm.kind.profile}, {alarm.kind.kernel}, {alarm.kind.plan}"
            lines.append(f"{alarm.id} {alarm.state}: {kind}: {what}, since {alarm.opened}: {'; '.join(alarm.series)}")
    lines += [f"{each.night} {each.kind.profile}: {each.what}: {'; '.join(each.series)}" for each in found.boundaries
              if each.series]  # fmt: skip
    return lines + [f"{serial} moved alone: {'; '.join(words)}" for serial, words in found.suspects.items()]


def _write(folder: Path, story: Story, say: Callable[[str], None]) -> None:
    for name, form in FORMS.items():
        try:
            replace_file(folder / name, form(story))
        except Exception as error:  # noqa: BLE001 the other forms are made, and the night gets to its end
            told = f"{name}: could not be made: {error}"
            story["notes"].append(told)
            say(told)
