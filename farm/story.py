"""A night as one document, ``night.json``: what every report of it is made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from base.errors import LabError
from farm.baselines import Against
from farm.night_end import counts_of, status_of
from farm.night_log import NIGHT_SCHEMA, NightLog, PhoneEnd, PhoneNight, now
from farm.shelf import Shelf
from farm.standing import Register, State
from records.metrics import METRICS, Values
from records.reading import StoredRun, load
from records.tests import TESTS

Story = dict[str, Any]


def tell_night(shelf: Shelf, log: NightLog, register: Register, against: Mapping[str, Against]) -> Story:
    """Return the document. Paths are absolute: phones that another night measured have their runs there."""
    state, standings = log.state, register.read()
    counts = counts_of(state, against)
    phones = []
    for serial, night in state.phones.items():
        shelved = next((phone for phone in shelf.farm.phones if phone.serial == serial), None)
        phones.append({
            "serial": serial, "stands_in_for": night.stands_in_for,
            "tags": dict(shelved.all_tags) if shelved else {}, "end": str(night.end),
            "why": night.why, "run": str(log.folder / night.run) if night.run else "",
            "measured_by": Path(night.elsewhere).parents[2].name if night.elsewhere else "",
            "attempts": [
                {**asdict(each), "kind": str(each.kind) if each.kind else None} for each in night.attempts
            ],
            "facts": night.facts, "notes": night.notes, **_of_run(log.folder, night),
            "against": asdict(against[serial]) if serial in against else None,
            "health": str(standings[serial].state if serial in standings else State.good),
        })  # fmt: skip
    story = {
        "type": "night", "schema": NIGHT_SCHEMA, "night": state.night, "folder": str(log.folder),
        "farm": shelf.farm.farm, "plan": state.planned["plan"], "seed": state.planned.get("seed"),
        "began": state.planned["when"], "ended": now(), "until": state.planned.get("until"),
        "stopped": state.stopping, "status": status_of(state, against, shelf.farm.quota), "counts": counts,
        "quota": shelf.farm.quota, "notes": list(state.notes), "phones": phones,
    }  # fmt: skip
    return {**story, "summary": summary(counts), "needs_a_person": list(_needs_a_person(phones))}


def summary(counts: Mapping[str, int]) -> str:
    """Return the sentence that says it all."""
    parts = [f"{counts['measured']} of {counts['picked']} measured"]
    parts += [f"{counts['regressions']} regression{'s' * (counts['regressions'] != 1)}"] * (counts["regressions"] > 0)
    for end, words in (
        (PhoneEnd.not_restored, "not restored"), (PhoneEnd.failed, "failed"), (PhoneEnd.flaky, "flaky"),
        (PhoneEnd.lost, "lost"), (PhoneEnd.quarantined, "quarantined"), (PhoneEnd.refused, "refused"),
        (PhoneEnd.wrong, "asked wrongly"), (PhoneEnd.cut, "cut"),
    ):  # fmt: skip
        if counts[end]:
            parts.append(f"{counts[end]} {words}")
    if counts["not_compared"]:
        parts.append(f"{counts['not_compared']} not compared")
    return ", ".join(parts)


def _needs_a_person(phones: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """What nobody but a person can mend, with what to do."""
    for phone in phones:
        serial, end = phone["serial"], phone["end"]
        if end == PhoneEnd.not_restored:
            do = f"./lab restore --device {serial}, then ./lab farm release {serial} --reason ..."
        elif phone["health"] == State.bad:
            do = f"look at it, then ./lab farm release {serial} --reason ..."
        elif end == PhoneEnd.wrong:
            do = "correct the farm's file or the profile"
        else:
            continue
        yield {"serial": serial, "what": phone["why"] or end, "do": do}


def _of_run(folder: Path, night: PhoneNight) -> dict[str, Any]:
    """What the run that counts says: how each test ended, its main figures, what kernel it was."""
    run = None
    if night.run:
        with suppress(LabError):
            run = load(folder / night.run)
    if run is None:
        return {"outcomes": [], "figures": [], "kernel": None}
    facts = run.session.provenance
    kernel = {
        "profile": facts.profile, "release": facts.kernel_release, "version": facts.kernel_build, "arch": facts.arch,
        "build": facts.build,
    }  # fmt: skip
    outcomes = [asdict(each) for each in run.outcomes]
    return {"outcomes": outcomes, "figures": list(_figures(run)), "kernel": kernel}


def _figures(run: StoredRun) -> Iterator[dict[str, Any]]:
    """The medians that the run was made for, over turns that nothing disturbed."""
    for result in run.runs:
        test = TESTS.get(result.test)
        for name, metric in result.metrics.items() if test and test.primary else ():
            row = METRICS.get(name)
            if row is None or not row.judged or row.values is not Values.repeats:
                continue
            quiet = [value for value, turn in zip(metric.values, result.turns, strict=False) if not turn.disturbed]
            if values := quiet if result.turns else list(metric.values):
                params = {key: value for key, value in result.params.items() if value is not None}
                yield {"test": result.test, "metric": name, "params": params, "median": median(values),
                       "unit": metric.unit, "n": len(values)}  # fmt: skip
