"""The sections of a report in their order. A new one is made in reports/sections and named here."""

from __future__ import annotations

from reports.analysis import Analysis
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
from reports.sections.section import Section

_MAKERS = (
    throughput.section,
    depth.section,
    faults.section,
    faults_writeback.section,
    faults_load.section,
    backing.section,
    compressors.section,
    switches.section,
    integrity.section,
)


def sections(analysis: Analysis) -> list[Section]:
    """Those that the run has something for."""
    made = (make(analysis) for make in _MAKERS)
    return [section for section in made if section is not None]
