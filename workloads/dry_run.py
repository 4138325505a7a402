"""What a run would do to a phone, on one screen, told by the very code of a run on a phone that is only looked at."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from tabulate import tabulate

from base.errors import LabError
from devices.capability import Capability
from devices.device import MARKER
from devices.journal import Undo
from devices.phone import open_phone
from devices.planned import Change, PlannedTransport, Push
from devices.probe.session import PROBE_FOLDER, PROBE_PATH
from devices.transport import Exec, Op, Read, Write
from records.model import Provenance, TestOutcome
from records.reading import load
from workloads.run import LabRun, OpenPhone, Progress, Wanted, open_run
from workloads.writeback import most_data

# Of a quick run on the virtual phone; real phones are faster.
_STEP_S = 2.0
_ONLY_LOOKING = partial(open_phone, planned=True)
_COLUMNS = (52, 30, 44)
_MOST_STEPS = 3


@dataclass(frozen=True, slots=True)
class PlannedTest:
    """A test that was selected, and the part of the plan that it ``measures``.

    ``lacks`` is why it would be skipped; ``changes`` are pairs: what, how undone.
    """

    function: str
    point: str
    steps: int
    lacks: str = ""
    changes: Sequence[tuple[str, str]] = ()
    measures: str = ""

    @property
    def name(self) -> str:
        return f"{self.function}[{self.point}]" if self.point else self.function


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change, what is put back for it, and by what; ``back`` is empty for what stays."""

    change: str
    back: str
    by: str


def open_dry_run(
    wanted: Wanted, progress: Progress, at_end: Callable[[Callable[[], None]], object],
    opening: OpenPhone = _ONLY_LOOKING,
) -> LabRun:  # fmt: skip
    """Open a run on a phone that is only looked at; what it records is removed by what ``at_end`` gets.

    Raises LabError as a run would: a phone that is not fit is refused.
    """
    scratch = TemporaryDirectory(prefix="zram-lab-dry-run-")
    at_end(scratch.cleanup)
    return open_run(replace(wanted, results=Path(scratch.name), earlier=wanted.results), progress, opening)


def planned_changes(run: LabRun) -> list[ChangeRow]:
    """Tell what the run would change before its first test and with each setting of zram, oldest first."""
    planned = run.device.transport
    assert isinstance(planned, PlannedTransport)
    before = _by_undo(planned.plan)
    undos, known = planned.undos, len(planned.plan)
    if Capability.writeback in run.device.capabilities:
        # As the tests set it up, for the plan to show what that takes.
        run.stage.as_swap(run.stage.pages(max(size or most_data(run.stage) for size in run.profile.sweep.sizes)))
    examples = _by_undo([*undos, *planned.plan[known:]])
    rows = []
    for number, undo in enumerate(undos):
        told = [_told(before.get(number, []))] if number in before else []
        told += [f"for each test, for example {_told(examples[number])}"] if number in examples else []
        rows.append(ChangeRow("; ".join(told), undo.what, _way_back(undo)))
    return [*rows, *_without_undo(before.get(None, []))]


def _by_undo(plan: Sequence[Undo | Change]) -> Mapping[int | None, list[Change]]:
    """The changes by the number of the undo that puts them back; None has those that are not put back."""
    undos: list[Undo] = []
    changes: dict[int | None, list[Change]] = {}
    for step in plan:
        if isinstance(step, Undo):
            undos.append(step)
        else:
            changes.setdefault(_belongs_to(step, undos), []).append(step)
    return changes


def _belongs_to(change: Change, undos: Sequence[Undo]) -> int | None:
    """Which of the undos names what is changed, or failing that the program; the newest of several."""
    if isinstance(change, Push):
        return None
    best: int | None = None
    most = (0, False)
    for number, undo in enumerate(undos):
        named = set[str]().union(*map(_subjects, undo.steps))
        same_program = any(isinstance(step, Exec) and step.argv[0] == _program(change) for step in undo.steps)
        if (shared := (len(_subjects(change) & named), same_program)) >= most and shared != (0, False):
            best, most = number, shared
    return best


def _program(op: Op) -> str | None:
    return op.argv[0] if isinstance(op, Exec) and op.argv[0] != PROBE_PATH else None


def _subjects(op: Op) -> set[str]:
    match op:
        case Read(path) | Write(path):
            return {path, path.rpartition("/")[0]} if path.startswith("/sys/") else {path}
        case Exec((_, *words)):
            return {name for word in words if (name := word.rpartition("=")[2]) and name[0] not in "-0123456789"}
    return set()


def _told(changes: Iterable[Change]) -> str:
    told: dict[str, None] = {}
    for folder, group in groupby(changes, key=lambda op: op.path.rpartition("/")[0] if isinstance(op, Write) else ""):
        ops = list(group)
        writes = [f"{op.path.rpartition('/')[2]}={shlex.quote(op.value)}" for op in ops if isinstance(op, Write)]
        told |= {f"{folder}: {', '.join(writes)}": None} if folder else dict.fromkeys(map(_shown, ops))
    return "; ".join(told)


def _shown(op: Change) -> str:
    """A change in one line: the probe by its name alone."""
    return str(op).replace(f"{PROBE_PATH} ", "probe ")


def _way_back(undo: Undo) -> str:
    steps = [_shown(step) for step in undo.steps]
    more = f"; and {len(steps) - _MOST_STEPS} more" if len(steps) > _MOST_STEPS else ""
    read = "; then read back" if undo.expect else ""
    return "; ".join(steps[:_MOST_STEPS]) + more + read


def _without_undo(changes: Sequence[Change]) -> Iterable[ChangeRow]:
    marks = [op for op in changes if not isinstance(op, Push) and MARKER in str(op)]
    rest = [op for op in changes if op not in marks]
    if marks:
        yield ChangeRow(f"a mark that a run has the phone: {MARKER}", "removed last", f"rm -f {MARKER}")
    if rest:
        yield ChangeRow(_told(rest), "", f"stays: {PROBE_FOLDER} has the run's program, a number of the phone, samples")


def describe(run: LabRun, tests: Sequence[PlannedTest]) -> str:
    """Say what a run of these tests would change, write and take."""
    profile, facts, measured = run.profile, run.provenance, [test for test in tests if not test.lacks]
    booted = ", booted for this" if run.phone.virtual else ""
    of_tests = dict.fromkeys(pair for test in measured for pair in test.changes)
    changes = [
        *planned_changes(run),
        *(ChangeRow(f"meanwhile: {what}", back, "the same journal") for what, back in of_tests),
    ]
    changes.append(ChangeRow("/dev/kmsg: a mark for each test", "", "stays in the kernel's log"))
    app_writes = ", and what app switches write" if any("app_switch" in test.function for test in measured) else ""
    head = [
        ("phone", f"{facts.model} ({run.device.serial}), kernel {facts.kernel_release}{booted}"),
        ("profile, plan", f"{profile.name}, {run.wanted.plan}"),
        ("writes", f"at most {_mib(profile.writes_of({test.measures for test in measured}))}{app_writes}; "
         f"limits.written_per_run {_mib(profile.limits.written_per_run)}"),
        ("takes", expected_time(facts, run.wanted.plan, measured, run.wanted.earlier or run.wanted.results)),
    ]  # fmt: skip
    table = tabulate(
        [(row.change, row.back, row.by) for row in changes],
        headers=("change", "put back", "how"), tablefmt="simple", maxcolwidths=list(_COLUMNS),
    )  # fmt: skip
    return "\n".join([
        "dry run: nothing was changed on the phone", tabulate(head, tablefmt="plain"), "", table, "", *_listed(tests)
    ])  # fmt: skip


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"


def _listed(tests: Sequence[PlannedTest]) -> Iterable[str]:
    steps = sum(test.steps for test in tests if not test.lacks)
    yield f"tests: {len(tests)}, {steps} steps"
    for function, group in groupby(tests, key=lambda test: test.function):
        points = list(group)
        skipped = sorted({test.lacks for test in points if test.lacks})
        named = ", ".join(f"{test.point}{' (skipped)' if test.lacks else ''}" for test in points if test.point)
        because = f" [skipped: {'; '.join(skipped)}]" if skipped else ""
        yield f"  {function}{': ' if named else ''}{named}{because}"


def expected_time(facts: Provenance, plan: str, tests: Sequence[PlannedTest], results: Path) -> str:
    """Tell how long these tests take: as in the newest run of the same phone and plan, else by their steps."""
    for folder in sorted((path.parent for path in results.glob("*/results.jsonl")), reverse=True):
        try:
            found = load(folder)
        except LabError:  # what cannot be read tells no time
            continue
        if found.session.plan == plan and _same_phone(found.session.provenance, facts) and found.complete:
            known = _seconds(found.outcomes)
            missing = [test for test in tests if test.name not in known]
            if len(missing) == len(tests):
                continue
            total = sum(known[test.name] for test in tests if test.name in known)
            guess = sum(test.steps for test in missing) * _STEP_S
            also = f", {len(missing)} tests that it did not have guessed at {_STEP_S:g} s a step" if missing else ""
            return f"about {_minutes(total + guess)}, as in {folder.name} (same phone and plan{also})"
    steps = sum(test.steps for test in tests)
    return f"about {_minutes(steps * _STEP_S)}: {steps} steps at {_STEP_S:g} s each, which is assumed"


def _same_phone(one: Provenance, other: Provenance) -> bool:
    return all(
        getattr(one, name) == getattr(other, name) for name in ("serial", "kernel_release", "arch", "accelerator")
    )


def _seconds(outcomes: Iterable[TestOutcome]) -> Mapping[str, float]:
    return {outcome.test: outcome.seconds for outcome in outcomes if outcome.outcome in ("passed", "failed")}


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(seconds, 1):.0f} s"
