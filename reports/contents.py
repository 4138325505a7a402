"""The sections of a report in their order, and which metrics they show. A new one is made in reports/sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from records.model import Caveat
from reports.analysis import Analysis
from reports.point import Point
from reports.sections import (
    alternated,
    backing,
    compressors,
    depth,
    faults,
    faults_load,
    faults_writeback,
    integrity,
    reads,
    switches,
    throughput,
)
from reports.sections.section import Section, SectionModule

_MODULES: tuple[SectionModule, ...] = (
    alternated,
    throughput,
    depth,
    faults,
    faults_writeback,
    faults_load,
    reads,
    backing,
    compressors,
    switches,
    integrity,
)
_SHOWN = {test.name: frozenset(row.name for row in rows) for each in _MODULES for test, rows in each.SHOWS.items()}


def sections(analysis: Analysis) -> list[Section]:
    """Make those sections that the run has something for.

    Where other work disturbed too many turns of all its points, a section says that and nothing else.
    """
    made = []
    for module in _MODULES:
        found = module.section(analysis)
        if found is not None:
            points = [point for test in module.SHOWS for point in analysis.of(test)]
            spoilt = bool(points) and all(Caveat.disturbed in point.caveats for point in points)
            made.append(replace(found, findings=[_spoilt(points)]) if spoilt else found)
    return made


def _spoilt(points: Sequence[Point]) -> str:
    disturbed, turns = sum(point.disturbed for point in points), sum(len(point.result.turns) for point in points)
    return f"other work disturbed {disturbed} of {turns} turns: nothing is told of this."


def shown_in_section(point: Point) -> frozenset[str]:
    """Return the metrics of this point that its section shows; what no section shows belongs in the general table."""
    return _SHOWN.get(point.result.test, frozenset()) if point.has_section else frozenset()
