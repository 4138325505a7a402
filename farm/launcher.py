"""Several phones or machines: a process and a results folder for each, and one exit status."""

from __future__ import annotations

import json
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from tabulate import tabulate

from base.children import Children, run_together
from base.errors import (
    EXIT_DEVICE_LOST,
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_USAGE,
    LabError,
    ProfileError,
    worst,
)
from base.output import tell
from base.paths import REPO
from base.text import clean
from devices.phone import resolve_target
from farm.night_runs import last_words
from farm.standing import safe_name
from records.writing import check_writable
from reports.comparison.render import report_comparison
from reports.matrix import machine_run, report_matrix

# How a run ends that says nothing about the next machine: not had, or died of what was measured.
_OF_ONE_MACHINE = {0, EXIT_FAILED, EXIT_REFUSED, EXIT_DEVICE_LOST}
_JUNIT = {"--junitxml", "--junit-xml"}


@dataclass(frozen=True, slots=True)
class Launcher:
    """What a run was called with: ``words`` is the whole command line, the rest is what it says.

    ``machines`` are those of the virtual phone, as options and their values. ``program`` is what measures.
    """

    words: Sequence[str]
    devices: Sequence[str]
    machines: Sequence[Mapping[str, str]]
    seed: int | None
    results: Path
    junit: Path | None
    program: Sequence[str] = (sys.executable, "-m", "pytest")

    @property
    def is_several(self) -> bool:
        return len(self.devices) > 1 or len(self.machines) > 1

    def run(self) -> int:
        """Measure on each phone or machine; raises ProfileError when they cannot go together."""
        return self._machines() if len(self.machines) > 1 else self._phones()

    def dry_collection(self) -> int:
        """Collect the tests that there can be; the exit status, and why, when a selection selects none of them.

        In a process of its own, and without a phone: one that is not needed is not touched.
        """
        command = [*self.program, *_without(self.words, _JUNIT), "--collect-only", "-q"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            why = done.stderr if done.returncode == EXIT_USAGE else done.stdout
            tell(f"no phone was touched: {why.strip()}")
        return done.returncode

    @property
    def typed(self) -> str:
        """The command line as a person types it: without what ``./lab`` adds for pytest."""
        # What `./lab ab` was told comes in one option, with the line that a person typed.
        if told := next((word for word in self.words if word.startswith("--ab=")), None):
            return str(json.loads(told.partition("=")[2])["command"])
        words = [word for word in _without(self.words, {"--rootdir", "-c"}) if word != str(REPO / "suites")]
        return shlex.join(["./lab", "run", *words])

    def _phones(self) -> int:
        if twice := sorted({name for name in self.devices if self.devices.count(name) > 1}):
            raise ProfileError(f"--device {twice[0]}: named twice; a phone runs one measurement at a time")
        commands = {name: self._command(("--device", name), name) for name in self.devices}
        if "--dry-run" in self.words:
            return worst(run_together(commands.values()))
        check_writable(self.results)
        folder = self.results / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{len(commands)}-phones"
        folder.mkdir(parents=True, exist_ok=True)
        ends = _side_by_side_on_phones(commands, folder)
        rows = [
            (name, _in_words(name, end.status), f"{end.seconds / 60:.1f} min", end.report) for name, end in ends.items()
        ]
        print(f"\n{clean(tabulate(rows, headers=('phone', 'ended', 'took', 'report')))}", flush=True)
        return worst(end.status for end in ends.values())

    def _machines(self) -> int:
        """One machine after the other, because they share the computer, then each against the first and all at once."""
        if "--dry-run" in self.words:
            raise ProfileError("--dry-run: measures nothing to compare; name one machine")
        names = [machine_name(machine, self.machines) for machine in self.machines]
        if len(names) > len(set(names)) or len(self.devices) > 1:
            raise ProfileError(
                f"{' and '.join(names)}: several machines must differ, and are of one virtual phone",
                hint="name each value of --kernel, --arch and --page-size once, and at most one --device",
            )
        for machine in self.machines:
            resolve_target(next(iter(self.devices), None), machine=machine)  # what there is not is refused now
        # The same random choices on all, so that nothing but the machine differs.
        seed = secrets.randbelow(2**31) if self.seed is None else self.seed
        folder = self.results / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{len(names)}-machines"
        statuses: dict[str, int] = {}
        for name, machine in zip(names, self.machines, strict=True):
            tell(f"machine {len(statuses) + 1} of {len(names)}: {name}")
            chosen = [word for key, value in machine.items() for word in (option_of(key), value)]
            options = (*chosen, "--seed", str(seed), "--results", str(folder / name))
            statuses[name] = run_together([self._command(options, name)])[0]
            if statuses[name] not in _OF_ONE_MACHINE:
                break
        return worst([*statuses.values(), *_side_by_side(folder, statuses)])

    def _command(self, options: Sequence[str], name: str) -> list[str]:
        """Pytest as this process was called, but for these options; each has a JUnit file of its own."""
        if self.junit:
            own = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)
            options = [*options, "--junitxml", str(self.junit.with_stem(f"{self.junit.stem}-{own}"))]
        given = {word for word in options if word.startswith("--")} | (_JUNIT if self.junit else set())
        return [*self.program, *_without(self.words, given), *options]


@dataclass(frozen=True, slots=True)
class RunOnPhone:
    """How one of several runs ended, after how long, and where its report is."""

    status: int
    seconds: float
    report: str


def _side_by_side_on_phones(commands: Mapping[str, Sequence[str]], folder: Path) -> dict[str, RunOnPhone]:
    """Start all at once and wait for all; what each prints goes to a file, and a line here says how it ended."""
    began_s, ends = time.monotonic(), dict[str, RunOnPhone]()
    logs = {name: folder / f"{safe_name(name)}.txt" for name in commands}
    with Children() as children:
        running = {}
        for name, command in commands.items():
            with logs[name].open("wb") as output:
                running[name] = children.start(command, output=output)
            print(f"{clean(name)}: begins; what it says: {logs[name]}", flush=True)
        while running:
            for name, child in list(running.items()):
                if child.poll() is None:
                    continue
                del running[name]
                report = _report_in(logs[name])
                ends[name] = RunOnPhone(child.returncode, time.monotonic() - began_s, report)
                said = f": {last_words(logs[name], child.returncode)}" if child.returncode > 0 else ""
                print(f"{clean(name)}: {_in_words(name, child.returncode)}{said}", flush=True)
            if running:
                children.wait()
    return {name: ends[name] for name in commands}


def _report_in(log: Path) -> str:
    """The report that a run named at its end."""
    lines = clean(log.read_text(encoding="utf-8", errors="replace")).splitlines()
    return next((line.removeprefix("report: ") for line in reversed(lines) if line.startswith("report: ")), "")


def machines(options: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Every combination of the values that each option was given; one without options where none was given any."""
    given = {key: values for key, values in options.items() if values}
    return [dict(zip(given, values, strict=True)) for values in product(*given.values())]


def option_of(key: str) -> str:
    """``--page-size`` for page_size."""
    return f"--{key.replace('_', '-')}"


def machine_name(machine: Mapping[str, str], among: Sequence[Mapping[str, str]]) -> str:
    """Name a machine by what differs among these: ``arm64-16k``; by all of it where nothing does."""
    differing = [value for key, value in machine.items() if len({other[key] for other in among}) > 1]
    return "-".join(differing or machine.values())


def _side_by_side(folder: Path, statuses: Mapping[str, int]) -> list[int]:
    """Compare each machine that has a run with the first, then show all; returns exit statuses."""
    base, *others = [name for name, status in statuses.items() if status in (0, EXIT_FAILED)] or [""]
    found = [_compare(folder, base, other) for other in others] if base == next(iter(statuses)) else []
    try:
        text = report_matrix([machine_run(name, folder / name, status) for name, status in statuses.items()], folder)
    except LabError as error:
        tell(error.for_people())
        return [*found, error.exit_status]
    print(f"\n{text}\nmatrix: {folder / 'matrix.html'}", flush=True)
    return found


def _compare(folder: Path, base: str, cand: str) -> int:
    print(f"\n{base} (BASE) against {cand} (CAND)", flush=True)
    sides = (f"{folder}/{base}/*", f"{folder}/{cand}/*")
    try:
        report_comparison(*sides, form="html", out=folder / f"compare-{cand}.html", across_machines=True)
        return report_comparison(*sides, form="table", across_machines=True)
    except LabError as error:
        tell(error.for_people())
        return error.exit_status


def _without(words: Sequence[str], options: set[str]) -> list[str]:
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if word in options:
            next(left, None)
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept


def _in_words(name: str, status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {signal.Signals(-status).name}; `./lab restore --device {name}` puts the phone back"
