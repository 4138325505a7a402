"""What a section hands to the renderers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from records.metrics import Quantity
from records.tests import MeasuredTest
from reports.analysis import Analysis
from reports.plots import Plot
from reports.tables import Doubts, Table

Shows = Mapping[MeasuredTest, tuple[Quantity, ...]]
"""the metrics that a section shows of each of its tests; all others go into the general table"""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a report. ``how`` tells how to read its plots, ``findings`` is what to take away from it.

    ``measured`` completes the sentence "zram writeback to a backing device: ...". The compact tables of a mail are made
    with the letters of the whole mail; plots are drawn only when a page wants them.
    """

    key: str
    title: str
    how: str
    measured: str
    tables: Sequence[Table]
    findings: Sequence[str]
    mail: Callable[[Doubts], Sequence[Table]]
    draw: Callable[[], Sequence[Plot]] = tuple


class SectionModule(Protocol):
    """What each module of this package offers."""

    SHOWS: Shows

    def section(self, analysis: Analysis) -> Section | None:
        """Make the section, or return None where the run has nothing for it."""
