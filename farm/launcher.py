"""Several phones or kernels: a process and a results folder for each, and one exit status."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from base.children import run_together
from base.errors import EXIT_FAILED, EXIT_USAGE, LabError, ProfileError, worst
from base.output import tell
from reports.comparison.render import report_comparison

_JUNIT = {"--junitxml", "--junit-xml"}


@dataclass(frozen=True, slots=True)
class Launcher:
    """What a run was called with: ``words`` is the whole command line, the rest is what it says."""

    words: Sequence[str]
    devices: Sequence[str]
    kernels: Sequence[str]
    seed: int | None
    results: Path
    junit: Path | None

    @property
    def is_several(self) -> bool:
        return len(self.devices) > 1 or len(self.kernels) > 1

    def run(self) -> int:
        """Measure on each phone or kernel; raises ProfileError when they cannot go together."""
        return self._kernels() if len(self.kernels) > 1 else self._phones()

    def dry_collection(self) -> int:
        """Collect the tests that there can be; the exit status, and why, when a selection selects none of them.

        In a process of its own, and without a phone: one that is not needed is not touched.
        """
        command = [sys.executable, "-m", "pytest", *_without(self.words, _JUNIT), "--collect-only", "-q"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            why = done.stderr if done.returncode == EXIT_USAGE else done.stdout
            tell(f"no phone was touched: {why.strip()}")
        return done.returncode

    def _phones(self) -> int:
        if twice := sorted({name for name in self.devices if self.devices.count(name) > 1}):
            raise ProfileError(f"--device {twice[0]}: named twice; a phone runs one measurement at a time")
        statuses = run_together([self._command(("--device", name), name) for name in self.devices])
        for name, status in zip(self.devices, statuses, strict=True):
            print(f"{name}: {_in_words(name, status)}", flush=True)
        return worst(statuses)

    def _kernels(self) -> int:
        """One kernel after the other, because they share the machine, then the first against the second."""
        if len(self.kernels) > len(set(self.kernels)) or len(self.devices) > 1:
            raise ProfileError(f"--kernel {' --kernel '.join(self.kernels)}: takes two different kernels and one phone")
        # The same random choices on both, so that nothing but the kernel differs.
        seed = secrets.randbelow(2**31) if self.seed is None else self.seed
        folder = self.results / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{'-'.join(self.kernels)}"
        statuses: list[int] = []
        for kernel in self.kernels:
            options = ("--kernel", kernel, "--seed", str(seed), "--results", str(folder / kernel))
            statuses += run_together([self._command(options, kernel)])
            if statuses[-1] not in (0, EXIT_FAILED):
                return worst(statuses)
        return worst([*statuses, _compare(folder, *self.kernels)])

    def _command(self, options: Sequence[str], name: str) -> list[str]:
        """Pytest as this process was called, but for these options; each has a JUnit file of its own."""
        if self.junit:
            own = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)
            options = [*options, "--junitxml", str(self.junit.with_stem(f"{self.junit.stem}-{own}"))]
        given = {word for word in options if word.startswith("--")} | (_JUNIT if self.junit else set())
        return [sys.executable, "-m", "pytest", *_without(self.words, given), *options]


def _compare(folder: Path, base: str, cand: str) -> int:
    sides = (f"{folder}/{base}/*", f"{folder}/{cand}/*")
    try:
        report_comparison(*sides, form="html", out=folder / "compare.html")
        return report_comparison(*sides, form="table")
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
