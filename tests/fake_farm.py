"""A farm without phones: its file, how its phones behave (tests/fake_run.py), and nightlies over it.

``python -m tests.fake_farm ARGUMENTS`` is ``./lab nightly ARGUMENTS`` with a program and a look that need no phone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from commands.nightly import main as nightly
from farm.checkup import Check, Checkup, Fitness
from farm.shelf import ShelfPhone
from records.model import End, TestOutcome
from records.writing import RunFolder
from tests.fake_run import FOLDER, LEDGER, PROGRAM, SCENARIO, TEMPLATE, note, scenario
from tests.reports_sample import RATES, session, throughput


def write_farm(folder: Path, serials: Sequence[str], *, name: str = "fakes", more: str = "", **phones: Any) -> Path:
    """Write a farm's file with these phones, and how they behave; returns the file."""
    folder.mkdir(exist_ok=True)
    lines = [f"farm: {name}", "plan: quick", "keep: {least_free: 0}", "phones:"]
    lines += [f"  - {{serial: {each}, tags: {{odd: {'yes' if n % 2 else 'no'}}}}}" for n, each in enumerate(serials)]
    path = folder / f"{name}.yaml"
    path.write_text("\n".join([*lines, more, ""]), encoding="utf-8")
    (folder / SCENARIO).write_text(json.dumps(phones), encoding="utf-8")
    if not (folder / TEMPLATE).exists():
        _write_template(folder)
    return path


def ledger(folder: Path, what: str = "") -> list[dict[str, Any]]:
    """What happened to phones, in order; of one kind where that is named."""
    path = folder / LEDGER
    lines = path.read_text().splitlines() if path.exists() else []
    return [each for each in map(json.loads, lines) if each["what"].startswith(what)]


def checks_of(folder: Path) -> Check:
    """The look at phones of this folder's farm."""
    return partial(_check, folder)


def _check(folder: Path, phone: ShelfPhone, plan: str) -> Checkup:
    """Answer as the phone's scenario has it, look by look; without one it is fit."""
    note(folder, "look", phone.serial)
    looks = sum(each["phone"] == phone.serial for each in ledger(folder, "look"))
    answers = scenario(folder, phone.serial).get("looks", [0])
    status = answers[min(looks, len(answers)) - 1]
    facts = {"profile": "virtual", "kernel_release": "7.3"}
    if status:
        return Checkup(Fitness.broken if status == 13 else Fitness.unfit, f"{phone.serial} is away", status, facts)
    return Checkup(Fitness.fit, facts=facts)


def _write_template(folder: Path) -> None:
    scratch = RunFolder(folder / "template")
    scratch.path.mkdir()
    scratch.append(session("template"))
    for batch, rates in RATES.items():
        scratch.append(throughput(batch, "sparse", rates))
    scratch.append(TestOutcome("test_writeback_throughput", "Throughput", "passed", "", 0.1))
    scratch.append(End(0, datetime.now(UTC).isoformat()))
    (scratch.path / "results.jsonl").rename(folder / TEMPLATE)
    scratch.path.rmdir()


if __name__ == "__main__":
    sys.exit(nightly(sys.argv[1:], program=PROGRAM, check=checks_of(Path(os.environ[FOLDER])), pause_s=0.05))
