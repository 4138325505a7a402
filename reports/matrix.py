"""Several machines side by side: a row each, a column for each question, from their stored runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from base.errors import ReportError
from base.text import clean as printable
from records import metrics as m
from records import tests as t
from records.model import Caveat, TestOutcome
from records.reading import RECORDS, load
from records.writing import replace_file
from reports import wording as w
from reports.analysis import Analysis, analyse
from reports.cells import batch_label, short_cell, told
from reports.html import template
from reports.point import Point, find
from reports.sections import depth, integrity, throughput
from reports.tables import Column, Field, build
from reports.text import TERMINAL_WIDTH, table_text

_INTRO = (
    "One row a machine, all with the same seed. Batch: how many writes of a page may be in flight at once. In "
    "flight: mean at the disk. Fault: p50 on a written-back page. Corrupt: pages that came "
    "back different, of those compared. -: skipped or not asked for."
)


@dataclass(frozen=True, slots=True)
class MachineRun:
    """A machine as it was called, and what was found of its run; ``why_not`` is why there is none."""

    name: str
    analysis: Analysis | None
    why_not: str = ""

    @property
    def headlines(self) -> tuple[Point | None, Point | None, Point | None]:
        """Return the points of throughput, depth and faults that stand for the run."""
        if self.analysis is None:
            return None, None, None
        faults = find(self.analysis.of(t.FAULTS), slot="written_back")
        return throughput.headline(self.analysis), depth.headline(self.analysis), faults

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """Doubts about the run as a whole and about the figures of the row."""
        if self.analysis is None:
            return ()
        own = [caveat for point in self.headlines if point for caveat in point.caveats]
        return tuple(dict.fromkeys((*self.analysis.session_caveats, *own)))


def machine_run(name: str, folder: Path, status: int) -> MachineRun:
    """Find the run in this machine's folder; a machine without one is told by its exit status."""
    found = sorted(folder.glob(f"*/{RECORDS}"))
    if not found:
        return MachineRun(name, None, f"no run: exit status {status}")
    try:
        return MachineRun(name, analyse(load(found[-1])))
    except ReportError as error:
        return MachineRun(name, None, str(error))


def report_matrix(runs: Sequence[MachineRun], folder: Path) -> str:
    """Write matrix.txt and matrix.html into the folder; return the text. :raises StorageFailed: if there is no room."""
    table = build("matrix", "Machines side by side", _INTRO, _FIELDS, runs, list(_not_passed(runs)))
    text = printable(table_text(table, TERMINAL_WIDTH) + "\n")
    replace_file(folder / "matrix.txt", text)
    replace_file(folder / "matrix.html", printable(template("matrix.html.j2").render(table=table)))
    return text


def _phone(run: MachineRun) -> str:
    if run.analysis is None:
        return w.MISSING
    facts = run.analysis.run.session.provenance
    return f"{w.clean(facts.arch)}, {w.size(facts.page_size_bytes)} pages, {w.clean(facts.kernel_release)}"


def _rate(run: MachineRun) -> str:
    point = run.headlines[0]
    return told(point, m.THROUGHPUT).replace(" [", "\n[") if point else w.MISSING


def _batch(run: MachineRun) -> str:
    point = run.headlines[0]
    if run.analysis is None or point is None:
        return w.MISSING
    label, page = batch_label(point), w.size(run.analysis.run.session.provenance.page_size_bytes)
    return label if point.param("batch_size") is None else f"{label} x {page}"


def _depth(run: MachineRun) -> str:
    point = run.headlines[1]
    return short_cell(point, m.IN_FLIGHT_MEAN) if point else w.MISSING


def _fault(run: MachineRun) -> str:
    point = run.headlines[2]
    return short_cell(point, m.FAULT_LATENCY, "p50") if point else w.MISSING


def _tests(run: MachineRun) -> str:
    if run.analysis is None:
        return run.why_not
    ended = [w.clean(outcome.outcome) for outcome in run.analysis.run.outcomes]
    return ", ".join(f"{ended.count(how)} {how}" for how in sorted(set(ended))) or w.MISSING


_FIELDS: list[Field[MachineRun]] = [
    Field(Column("machine", numeric=False, wrap=16), lambda run: w.clean(run.name)),
    Field(Column("is", numeric=False, wrap=22), _phone),
    Field(Column("batch"), _batch),
    Field(Column("written back", wrap=14), _rate),
    Field(Column("in flight", wrap=6), _depth),
    Field(Column("fault µs", wrap=5), _fault),
    Field(Column("corrupt", wrap=9), lambda run: integrity.headline(run.analysis) if run.analysis else w.MISSING),
    Field(Column("tests", numeric=False, wrap=14), _tests),
]


def _not_passed(runs: Sequence[MachineRun]) -> Iterator[str]:
    """Why tests did not pass, once for all tests of a machine with the same reason."""
    for run in runs:
        reasons: dict[tuple[str, str], list[str]] = {}
        for outcome in run.analysis.run.outcomes if run.analysis else ():
            if outcome.outcome != "passed":
                key = outcome.outcome, w.clean(outcome.reason, w.LONGEST_PARAM)
                reasons.setdefault(key, []).append(_told(outcome))
        for (ended, reason), tests in reasons.items():
            yield f"{w.clean(run.name)} {ended}: {w.listing(dict.fromkeys(tests))} ({reason})"


def _told(outcome: TestOutcome) -> str:
    """Its title, and which of several it was: ``Every page is unchanged [swap]``."""
    _, bracket, which = outcome.test.partition("[")
    return w.clean(f"{outcome.title} {bracket}{which}" if outcome.title else outcome.test)
