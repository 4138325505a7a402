"""The sections of a report in their order, and which metrics they show. A new one is made in reports/sections."""

from __future__ import annotations

from reports.analysis import Analysis
from reports.point import Point
from reports.sections import (
    backing,
    compressors,
    depth,
    faults,
    faults_load,
    faults_writeback,
    integrity,
    switches,
    throughput,
)
from reports.sections.section import Section, SectionModule

_MODULES: tuple[SectionModule, ...] = (
    throughput,
    depth,
    faults,
    faults_writeback,
    faults_load,
    backing,
    compressors,
    switches,
    integrity,
)
_SHOWN = {test.name: frozenset(row.name for row in rows) for each in _MODULES for test, rows in each.SHOWS.items()}


def sections(analysis: Analysis) -> list[Section]:
    """Make those sections that the run has something for."""
    made = (each.section(analysis) for each in _MODULES)
    return [section for section in made if section is not None]


def shown_in_section(point: Point) -> frozenset[str]:
    """Return the metrics of this point that its section shows; what no section shows belongs in the general table."""
    return _SHOWN.get(point.result.test, frozenset()) if point.has_section else frozenset()
