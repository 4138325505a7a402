"""``./lab bisect GOOD ... BAD``: which side of an ordered list is the first that is worse, by sessions of ``./lab ab``.

Each step is a process of its own with a folder of its own, so that a phone is opened, watched and put back as ever, and
what was measured before a step that fails is kept.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tabulate import tabulate

from base.arguments import CommandParser
from base.children import Children, run_together
from base.errors import (
    EXIT_FAILED,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_NO_BASELINE,
    EnvironmentRefused,
    ProfileError,
    worst,
)
from base.paths import REPO
from base.text import clean
from commands.ab import add_measuring_options
from farm.night_runs import last_words, run_in
from records.alternated import DecidedFigure, PairedFigure, decided_figures
from records.bisection import Bisection
from records.reading import load
from records.sequential import FALSE_ALARM, MISSED, SideVerdict
from records.writing import check_writable, replace_file
from reports import wording as w
from workloads.sides import parse_sides

Measure = Callable[[Sequence[str], Path], int]
"""measures what these words of ``./lab ab`` say, leaves its run and ``LOG`` in the folder, returns the exit status"""
LOG = "ab.txt"
_PROGRAM = (sys.executable, "-m", "commands")
_BUILDS = (".patch", ".ko")
_JUDGED = (0, EXIT_FAILED, EXIT_NO_BASELINE)


@dataclass(frozen=True, slots=True)
class BisectStep:
    """One session: ``side`` against the first. ``figure`` is what decided, None where none has a ratio.

    ``verdict`` is None where the session failed; ``why`` says then how it ended.
    """

    name: str
    side: int
    folder: Path
    status: int
    verdict: SideVerdict | None = None
    figure: DecidedFigure | None = None
    why: str = ""


@dataclass(slots=True)
class _Search:
    """The sides, what each session is asked, and the sessions so far."""

    sides: Sequence[str]
    wanted: argparse.Namespace
    folder: Path
    measure: Measure
    steps: list[BisectStep] = field(default_factory=list)

    def run(self) -> tuple[int, str]:
        """Measure BAD, then the middle of what is left until one is found; returns exit status and answer."""
        search, (good, bad) = Bisection(len(self.sides)), (self._told(0), self._told(len(self.sides) - 1))
        ends = self._step("ends", len(self.sides) - 1, None)
        if ends.verdict is None:
            return worst([ends.status]), f"nothing is known: BAD against GOOD: {ends.why}"
        if ends.verdict is SideVerdict.undecided:
            return EXIT_NO_BASELINE, f"undecided whether BAD, {bad}, is worse than GOOD, {good}; no step was looked for"
        if ends.verdict is not SideVerdict.worse:
            return 0, f"BAD, {bad}, is not worse than GOOD, {good}: there is no step to look for"
        while (side := search.next_side) is not None:
            step = self._step(str(len(self.steps)), side, ends.figure)
            if step.verdict is None:
                why = f"{self._left(search)}; step {step.name} failed: {step.why}"
                return worst([step.status]), why + _chance(search)
            search.take(step.verdict)
        if search.is_found:
            found, before = self._told(search.bad), self._told(search.good)
            return EXIT_FAILED, f"the first that is worse: {found}; the one before is not: {before}{_chance(search)}"
        return EXIT_NO_BASELINE, f"{self._left(search)}; a longer --budget may decide{_chance(search)}"

    def table(self) -> str:
        """One row a session."""
        rows = [
            (step.name, self._told(step.side), step.verdict or "failed", *_figure_cells(step.figure), str(step.folder))
            for step in self.steps
        ]
        heads = ("step", "side", "verdict", "figure", "ratio to GOOD", "rounds", "folder")
        return clean(tabulate(rows, headers=heads, disable_numparse=True))

    def _step(self, name: str, side: int, figure: DecidedFigure | None) -> BisectStep:
        """Measure a side against the first: all that was asked for, or this figure only."""
        folder = self.folder / f"step-{name}"
        folder.mkdir()
        print(clean(f"step {name}: {self._told(side)}; what it says: {folder / LOG}"), flush=True)
        status = self.measure(session_words(self.sides[0], self.sides[side], self.wanted, figure), folder)
        step = _judged(name, side, folder, status, figure)
        self.steps.append(step)
        words = [str(step.verdict or step.why.partition("\n")[0]), *filter(None, _figure_cells(step.figure)[:2])]
        print(clean(f"step {name}: {', '.join(words)}"), flush=True)
        return step

    def _left(self, search: Bisection) -> str:
        told = f"the first that is worse is after {self._told(search.good)}, and {self._told(search.bad)} at the latest"
        undecided = [side for side in search.undecided if search.good < side < search.bad]
        return told + (f"; undecided: {w.listing([self._told(side) for side in undecided])}" if undecided else "")

    def _told(self, side: int) -> str:
        return f"{side + 1} ({self.sides[side]})"


def main(argv: list[str], *, measure: Measure | None = None) -> int:
    """Find the first side that is worse than the first of all; ``measure`` stands for ``./lab ab`` where given."""
    wanted = _parser().parse_args(argv)
    sides = [_side(word) for word in [*wanted.side, *(_listed(wanted.list) if wanted.list else [])]]
    _check(sides, wanted)
    steps = Bisection(len(sides)).most_steps
    most = FALSE_ALARM + steps * MISSED
    print(
        f"{len(sides)} sides: BAD against GOOD, then at most {steps} more where each is decided, each within "
        f"{wanted.budget}; chance of a wrong turn over all of them: at most {100 * most:.3g} %", flush=True,
    )  # fmt: skip
    if wanted.dry_run:
        return _dry_run(sides, wanted)
    check_writable(wanted.results)
    folder = _new_folder(wanted.results)
    search = _Search(sides, wanted, folder, measure or measured)
    status, answer = search.run()
    text = f"{search.table()}\n\n{clean(answer)}\n"
    replace_file(folder / "bisect.txt", text)
    print(f"\n{text}", end="", flush=True)
    return status


def measured(words: Sequence[str], folder: Path, *, program: Sequence[str] = _PROGRAM) -> int:
    """Run ``./lab ab`` with these words in a process of its own, to its end; returns its exit status.

    A signal that asks this process to end goes on to it, and makes the status that of an interrupted run.
    """
    asked = 0
    with Children() as children, (folder / LOG).open("wb") as output:
        child = children.start([*program, "ab", f"--results={folder}", *words], output=output)
        while child.poll() is None:
            asked = children.wait() or asked
    return EXIT_INTERRUPTED if asked and child.returncode in _JUDGED else child.returncode


def session_words(good: str, side: str, wanted: argparse.Namespace, figure: DecidedFigure | None) -> list[str]:
    """Return the arguments of ``./lab ab`` for a side, but for the folder; ``figure`` narrows what is asked."""
    metric, at = wanted.metric, list(wanted.at)
    if figure is not None:
        metric, where = figure.figure.metric.name, figure.figure.where
        at = [word for word in at if not word.startswith("where=")] + ([f"where={where}"] if where else [])
    words = [f"--question={name}" for name in wanted.question or []] + [f"--at={word}" for word in at]
    words += [f"--metric={metric}"] if metric else []
    for name in ("budget", "plan", "device", "kernel", "arch", "page_size", "seed"):
        if (value := getattr(wanted, name)) is not None:
            words.append(f"--{name.replace('_', '-')}={value}")
    return [f"--relevant={100 * wanted.relevant:.10g}%", *words, "--", good, side]


def _judged(name: str, side: int, folder: Path, status: int, wanted: DecidedFigure | None) -> BisectStep:
    """Read what a session decided: of the figure that is wanted, or of its worst one."""
    run, _ = run_in(folder)
    found: dict[PairedFigure, DecidedFigure] = {}
    if run:
        found = {each.figure: each for result in load(run).runs for each in decided_figures(result.facts)}
    is_worse = any(each.decision.verdict is SideVerdict.worse for each in found.values())
    if status not in _JUDGED or not run or (status == EXIT_FAILED and not is_worse):
        # 1 without a figure that is worse: the kernel complained, or the run's own checks failed.
        why = f"exit status {status}: {last_words(folder / LOG, status)}"
        return BisectStep(name, side, run or folder, status or EXIT_INTERNAL, why=why)
    figures = [each for each in found.values() if wanted is None or each.figure == wanted.figure]
    chosen = max(figures, key=_weight, default=None)
    verdict = chosen.decision.verdict if chosen else SideVerdict.undecided
    return BisectStep(name, side, run, status, verdict, chosen)


def _weight(found: DecidedFigure) -> tuple[int, float]:
    """Order figures: worse ones first, by what the difference is at least; then what is undecided."""
    order = {SideVerdict.worse: 2, SideVerdict.undecided: 1}
    bounds = found.decision.interval
    return order.get(found.decision.verdict, 0), max(bounds.low, 1 / bounds.high) if bounds and bounds.high else 0.0


def _figure_cells(found: DecidedFigure | None) -> tuple[str, str, str]:
    if found is None:
        return "", "", ""
    bounds = found.decision.interval
    ratio = w.bounded(found.decision.ratio, bounds.low if bounds else None, bounds.high if bounds else None)
    return found.figure.words, ratio, w.count(found.decision.rounds)


def _chance(search: Bisection) -> str:
    sessions, chance = search.decided + 1, 100 * search.wrong_turn
    return f"\nchance of a wrong turn over the {sessions} sessions decided: at most {chance:.3g} %"


def _dry_run(sides: Sequence[str], wanted: argparse.Namespace) -> int:
    """Let the first session say what it would change; the others change settings of the same kinds."""
    words = session_words(sides[0], sides[-1], wanted, None)
    return worst(run_together([[*_PROGRAM, "ab", "--dry-run", *words]]))


def _new_folder(results: Path) -> Path:
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-bisect"
    for number in range(1, 100):
        folder = results / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise EnvironmentRefused(f"{folder}: cannot be made: {error.strerror}", hint="check --results") from error
        return folder
    raise EnvironmentRefused(f"{results}: a hundred folders named {stem}", hint="check the clock, or --results")


def _listed(path: Path) -> list[str]:
    """Read a list of sides, one a line; empty lines and those that begin with # are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text in UTF-8"
        raise ProfileError(f"--list {path}: cannot read: {why}", hint="one side a line, the good one first") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _side(word: str) -> str:
    """Return a side as ``./lab ab`` knows it: the bare name of a build is one of zram's."""
    settings = re.split(r"[\s,]+", word)
    return ",".join(f"zram={each}" if each.endswith(_BUILDS) and "=" not in each else each for each in settings)


def _check(sides: Sequence[str], wanted: argparse.Namespace) -> None:
    """Raise ProfileError for fewer than two sides, and with every error of all sides and settings."""
    if len(sides) < 2:
        raise ProfileError(
            f"{len(sides)} sides; a bisection needs two at least", hint="name GOOD, what lies between, and BAD in order"
        )
    where = [word for word in wanted.at if word.startswith("where=")]
    if where and not wanted.metric:
        raise ProfileError(f"--at {where[0]}: of which metric?", hint="give --metric too")
    common = [word for word in wanted.at if word not in where]
    parse_sides("", "", common)
    errors, hint = [], ""
    for number, side in enumerate(sides, start=1):
        try:
            parse_sides("", side, common)
        except ProfileError as error:
            errors += [f"side {number}: {line.removeprefix('CAND: ')}" for line in str(error).splitlines()]
            hint = error.hint
    if errors:
        raise ProfileError("\n".join(errors), hint=hint)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="lab bisect",
        description="Finds the first side of an ordered list that is worse than the first: measures BAD against GOOD, "
        "then the middle of what is left against GOOD, each in a session of `./lab ab`. A side is what it is there, or "
        "FILE.patch or FILE.ko for a build of zram's module.",
        epilog="exit status: 0 BAD is not worse than GOOD; 1 the first that is worse was found, or the kernel "
        "complained; 12 undecided: a range is left; 4, 10, 11 and 13 as with `lab run`. docs/ab.md explains it.",
    )
    parser.add_argument("side", nargs="*", metavar="SIDE", help="GOOD, what lies between, BAD: in order")
    parser.add_argument("--list", type=Path, metavar="FILE", help="further sides from a file, one a line")
    add_measuring_options(parser)
    parser.set_defaults(results=REPO / "results")
    return parser
