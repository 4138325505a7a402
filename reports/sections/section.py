"""What a section hands to the renderers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.plots import Plot
from reports.tables import Doubts, Table


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
