"""Two sides that were measured in turn: what each was, and what was decided of each figure after which round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from records import metrics as m
from records import tests as t
from records.alternated import DecidedFigure, decided_figures
from records.intervals import RELEVANT
from records.model import Caveat
from records.sequential import SideVerdict
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import COSTS, scale_of
from reports.point import Point
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build

TESTS = (t.AB_WRITEBACK, t.AB_DEPTH, t.AB_FAULTS, t.AB_SWITCH)
SHOWS: Shows = {
    t.AB_WRITEBACK: (m.THROUGHPUT, *COSTS),
    t.AB_DEPTH: (m.IN_FLIGHT_MEAN, m.IN_FLIGHT_MAX),
    t.AB_FAULTS: (m.FAULT_LATENCY,),
    t.AB_SWITCH: (m.SWITCH_LATENCY,),
}
INTRO = (
    "Each round measured both sides, in the order A B, B A. The ratio is CAND over BASE, the geometric mean over "
    "rounds; its interval holds with 95 % at all looks together, one after each round. Ended by: a decision on every "
    "figure, the budget, or the plan where no more looks are allowed for."
)
_ORDER = {SideVerdict.worse: 0, SideVerdict.better: 1, SideVerdict.undecided: 2, SideVerdict.same: 3}


@dataclass(frozen=True, slots=True)
class _Row:
    """A figure, and what ended the rounds of its question."""

    found: DecidedFigure
    ended_by: Any
    caveats: tuple[Caveat, ...]

    @property
    def verdict(self) -> SideVerdict:
        return self.found.decision.verdict


FIELDS: list[Field[_Row]] = [
    Field(Column("figure", numeric=False, wrap=24), lambda row: row.found.figure.words),
    Field(Column("unit", numeric=False), lambda row: _unit(row.found)),
    Field(Column("BASE"), lambda row: _value(row.found, row.found.base)),
    Field(Column("CAND"), lambda row: _value(row.found, row.found.cand)),
    Field(Column("ratio"), lambda row: _ratio(row.found)),
    Field(Column("verdict", numeric=False), lambda row: str(row.verdict)),
    Field(Column("rounds"), lambda row: w.count(row.found.decision.rounds)),
    Field(Column("ended by", numeric=False), lambda row: w.clean(row.ended_by)),
]


def section(analysis: Analysis) -> Section | None:
    """The figures of two sides, or None where none were measured in turn."""
    table = decisions(analysis)
    if table is None:
        return None
    rows = list(_rows(analysis))
    return Section(
        key="two-sides", title="Two sides in turn", how="", table=table,
        findings=[_answer(rows), *(f"{_sides(analysis)}.".split("\n"))],
    )  # fmt: skip


def decisions(analysis: Analysis) -> Table | None:
    """One row a figure, what is worse first, or the turns where no figure has a ratio; None without two sides."""
    rows = sorted(_rows(analysis), key=lambda row: _ORDER[row.verdict])
    if rows:
        return build("alternated", _sides(analysis), INTRO, FIELDS, rows)
    # No round left both sides in peace.
    made = [
        (w.param("side", p.param("side")), w.count(len(p.result.turns)), w.count(p.disturbed))
        for p in _points(analysis)
    ]
    columns = (Column("side", numeric=False), Column("turns"), Column("disturbed"))
    return Table("alternated", _sides(analysis), "", columns, tuple(made)) if made else None


def _rows(analysis: Analysis) -> Iterator[_Row]:
    """Both sides and all slots of a question hold the same figures: each is told once."""
    told: set[tuple[str, str]] = set()
    for point in _points(analysis):
        for found in decided_figures(point.result.facts):
            name = (found.figure.metric.name, found.figure.where)
            if name not in told:
                told.add(name)
                yield _Row(found, point.result.facts.get("ended_by"), point.caveats)


def _points(analysis: Analysis) -> list[Point]:
    return [point for test in TESTS for point in analysis.of(test)]


def _sides(analysis: Analysis) -> str:
    """What each side is, and what counts as a difference."""
    words = {point.param("side"): point.result.facts.get("settings") for point in _points(analysis)}
    told = [point.result.facts.get("relevant") for point in _points(analysis)]
    share = next((each for each in told if isinstance(each, int | float)), RELEVANT)
    sides = "; ".join(f"{w.param('side', side)}: {w.clean(what)}" for side, what in words.items())
    return f"{sides}; of interest from {100 * share:g} %"


def _answer(rows: Sequence[_Row]) -> str:
    """The verdicts in one line."""
    if not rows:
        return "undecided: in no round were both sides undisturbed."
    parts = []
    for verdict in _ORDER:
        names = [f"{row.found.figure.words} ({_ratio(row.found)})" for row in rows if row.verdict is verdict]
        if names:
            parts.append(f"{verdict}: {w.listing(names)}")
    return "; ".join(parts) + "."


def _unit(found: DecidedFigure) -> str:
    return "µs" if found.figure.metric.unit == "ns" else found.figure.metric.unit


def _value(found: DecidedFigure, value: float) -> str:
    return w.number(value * scale_of(found.figure.metric))


def _ratio(found: DecidedFigure) -> str:
    bounds = found.decision.interval
    return w.bounded(found.decision.ratio, bounds.low if bounds else None, bounds.high if bounds else None)
