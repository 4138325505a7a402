"""``./lab mutants``: which of the driver's known defects a suite finds, one build of zram's module after the other."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from tabulate import tabulate

from base.arguments import CommandParser
from base.errors import EXIT_DEVICE_LOST, EXIT_FAILED, EXIT_RESTORE_FAILED, EnvironmentRefused, ProfileError
from commands.pytest_on import pytest_command
from devices.virtual.image import ensure_image
from devices.virtual.machines import find
from devices.virtual.module_build import STOCK, Patch, build_module
from devices.virtual.module_sources import ModuleSources, ensure_sources
from devices.virtual.mutants import MUTANTS, Mutant
from devices.virtual.phone import RunningPhone, VirtualPhoneConfig, start

# What the rules were written for.
_KERNEL, _PAGE = "7.3", 4096
_SUITE = ("-m", "regression")
_LOST = (EXIT_DEVICE_LOST, EXIT_RESTORE_FAILED)
_TOLD = 200
_PROFILE = """\
name: mutant
extends: virtual
connection: {{virtual: null, adb: {{serial: "{serial}"}}}}
zram: {{module: "{module}"}}
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a suite made of one build. ``caught_by`` is the test that failed, and empty where none did."""

    mutant: str
    defect: str
    caught_by: str
    seconds: float
    said: str = ""


@dataclass(slots=True)
class _Bench:
    """A virtual phone that is booted when there is none, and the suite that is run on it."""

    suite: Sequence[str]
    folder: Path
    limit_s: float
    config: VirtualPhoneConfig
    _phone: RunningPhone | None = field(default=None)

    def try_build(self, name: str, defect: str, module: Path) -> Trial:
        """Load a build and run the suite until its first failure. Raises EnvironmentRefused if the suite cannot run."""
        phone = self._running()
        profile, junit = self.folder / "mutant.yaml", self.folder / "junit.xml"
        profile.write_text(_PROFILE.format(serial=phone.serial, module=module))
        junit.unlink(missing_ok=True)
        words = ["-x", "-q", "--device", str(profile), "--results", str(self.folder), f"--junitxml={junit}"]
        log = self.folder / f"{name}.log"
        began = time.monotonic()
        status = self._pytest([*words, *self.suite], log)
        took_s = time.monotonic() - began
        died = phone.died()
        if died or status is None or status in _LOST:
            self.clear()
        if status == 0:
            return Trial(name, defect, "", took_s)
        test, said = _first_failure(junit)
        if died or status in _LOST:
            return Trial(
                name, defect, test or "the phone did not survive", took_s, (said or died or _end_of(log))[:_TOLD]
            )
        if status is None:
            return Trial(name, defect, test or "it hung", took_s, f"not done within {self.limit_s:.0f} s")
        if status == EXIT_FAILED and test:
            return Trial(name, defect, test, took_s, said[:_TOLD])
        raise EnvironmentRefused(
            f"the suite did not run on {name}: exit status {status}: {_end_of(log)}", hint=f"what it said is in {log}"
        )

    def _pytest(self, words: Sequence[str], log: Path) -> int | None:
        """Its exit status; None when it was not done in time."""
        with log.open("wb") as out, contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(
                pytest_command("suites", words), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                timeout=self.limit_s, check=False,
            ).returncode  # fmt: skip
        return None

    def _running(self) -> RunningPhone:
        if self._phone is None:
            self._phone = start(self.config, fresh=True, progress=_say)
        return self._phone

    def clear(self) -> None:
        """Nothing runs any more; the next build has a phone that nothing was done to."""
        if self._phone is not None:
            self._phone.stop()
            self._phone = None


def main(argv: list[str]) -> int:
    """Print the table; 0 when the unchanged driver raises no alarm and each defect is caught, else 1."""
    arguments = _parser().parse_args(argv)
    if arguments.list:
        print(tabulate([[m.name, m.defect, m.like] for m in MUTANTS], headers=["name", "defect", "like"]))
        return 0
    chosen = _chosen(arguments.only)
    machine = find(_KERNEL, arguments.arch, _PAGE)
    release = ensure_image(machine, progress=_say, mirror=arguments.mirror).kernel_release
    sources = ensure_sources(machine, release, progress=_say, mirror=arguments.mirror)
    built = list(_built(sources, chosen))
    if arguments.build:
        return 0
    verdicts = list(_tried(built, arguments))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1) + "\n")
    print(_table(verdicts))
    alarms = [v for v in verdicts if v.mutant.startswith(STOCK) and v.caught_by]
    missed = [v for v in verdicts if not v.mutant.startswith(STOCK) and not v.caught_by]
    return EXIT_FAILED if alarms or missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="lab mutants", description="Which defects of zram's driver a suite finds.")
    parser.add_argument("--only", metavar="NAME,...", help="these defects; default: all")
    parser.add_argument("--list", action="store_true", help="the defects")
    parser.add_argument("--build", action="store_true", help="build them all and stop")
    parser.add_argument("--stock", type=int, default=1, metavar="N", help="runs of the unchanged driver (default: 1)")
    parser.add_argument("--limit", type=int, default=180, metavar="S", help="seconds for each run (default: 180)")
    parser.add_argument("--json", metavar="FILE", help="the table for programs")
    parser.add_argument("--arch", choices=("arm64", "x86_64"), default="arm64", help="default: %(default)s")
    parser.add_argument("--mirror", metavar="URL", help="Debian mirror (default: $ZRAM_LAB_MIRROR, else the host's)")
    parser.add_argument(
        "suite", nargs="*", metavar="PYTEST ARGS", help="behind --: what is run; default: " + " ".join(_SUITE)
    )
    return parser


def _chosen(names: str | None) -> Sequence[Mutant]:
    by_name = {mutant.name: mutant for mutant in MUTANTS}
    wanted = list(by_name) if names is None else [name for name in names.split(",") if name]
    if unknown := [name for name in wanted if name not in by_name]:
        raise ProfileError(f"--only: no defect is called {', '.join(unknown)}", hint="`./lab mutants --list` has them")
    return [by_name[name] for name in wanted]


def _built(sources: ModuleSources, chosen: Sequence[Mutant]) -> Iterator[tuple[str, str, Path]]:
    """Name, defect and module of the unchanged driver, then of each mutant."""
    rows: list[tuple[str, str, Patch | None]] = [(STOCK, "none", None)]
    rows += [(mutant.name, mutant.defect, mutant.patch(sources)) for mutant in chosen]
    for name, defect, patch in rows:
        yield name, defect, build_module(sources, patch, progress=_say).module.path


def _tried(built: Sequence[tuple[str, str, Path]], arguments: argparse.Namespace) -> Iterator[Trial]:
    with TemporaryDirectory(prefix="zram-lab-mutants-") as folder:
        config = VirtualPhoneConfig(name="mutants", kernel=_KERNEL, arch=arguments.arch, page_size=_PAGE)
        bench = _Bench(arguments.suite or _SUITE, Path(folder), arguments.limit, config)
        os.environ.pop("ANDROID_SERIAL", None)
        (_, defect, stock), *others = built
        try:
            for number in range(1, arguments.stock + 1):
                yield _told(bench.try_build(f"{STOCK} {number}", defect, stock))
            for name, defect, module in others:
                yield _told(bench.try_build(name, defect, module))
        finally:
            bench.clear()


def _told(verdict: Trial) -> Trial:
    by = f"caught by {verdict.caught_by}" if verdict.caught_by else "not caught"
    _say(f"{verdict.mutant}: {by} after {verdict.seconds:.0f} s {verdict.said}")
    return verdict


def _first_failure(junit: Path) -> tuple[str, str]:
    """Name and words of the first test that failed; both empty where none did."""
    if not junit.exists():
        return "", ""
    try:
        root = ElementTree.parse(junit).getroot()
    except ElementTree.ParseError:
        return "", ""
    for case in root.iter("testcase"):
        for kind in ("failure", "error"):
            if (found := case.find(kind)) is not None:
                words = " ".join((found.get("message") or found.text or "").split())
                return case.get("name") or "?", words
    return "", ""


def _end_of(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "; ".join(lines[-3:])


def _table(verdicts: Sequence[Trial]) -> str:
    rows = [[v.mutant, v.defect, v.caught_by or "NOT CAUGHT", f"{v.seconds:.0f}"] for v in verdicts]
    for row in rows:
        if row[0].startswith(STOCK):
            row[2] = "no alarm" if row[2] == "NOT CAUGHT" else f"FALSE ALARM: {row[2]}"
    defects = [v for v in verdicts if not v.mutant.startswith(STOCK)]
    caught = sum(bool(v.caught_by) for v in defects)
    told = f"\n\n{caught} of {len(defects)} caught, {sum(v.seconds for v in verdicts):.0f} s in all"
    return tabulate(rows, headers=["build", "defect", "caught by", "s"]) + told


def _say(message: str) -> None:
    print(f"mutants: {message}", file=sys.stderr, flush=True)
