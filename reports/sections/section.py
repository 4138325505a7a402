"""What a section hands to the renderers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from records.metrics import Quantity
from records.tests import MeasuredTest
from reports.analysis import Analysis
from reports.plots import Plot
from reports.tables import Table

Shows = Mapping[MeasuredTest, tuple[Quantity, ...]]
"""the metrics that a section shows of each of its tests; all others go into the general table"""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a report: a table, and what to take away from it.

    ``how`` tells how to read its plots, which are drawn only when a page wants them. ``findings`` are sentences; the
    first is the one line that a screen has for this section. ``details`` are tables for those who want to know more.
    """

    key: str
    title: str
    how: str
    table: Table
    findings: Sequence[str]
    details: Sequence[Table] = ()
    draw: Callable[[], Sequence[Plot]] = tuple


class SectionModule(Protocol):
    """What each module of this package offers."""

    SHOWS: Shows

    def section(self, analysis: Analysis) -> Section | None:
        """Make the section, or return None where the run has nothing for it."""
