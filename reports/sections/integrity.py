"""Whether every page came back as it was written."""

from __future__ import annotations

from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis
from reports.point import Point
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, build

SHOWS: Shows = {t.INTEGRITY: (m.CORRUPT, m.COMPARED)}
INTRO = "Every page has its own content and is compared byte for byte after it was written back and read again."
FIELDS: list[Field[Point]] = [
    Field(Column("pages through", numeric=False, wrap=40), lambda p: w.params(p.result.params) or p.result.test),
    Field(Column("checked"), lambda p: w.count(_checked(p))),
    Field(Column("corrupt"), lambda p: w.count(corrupt_pages(p))),
    Field(Column("result", numeric=False), lambda p: _result(p)),
]


def section(analysis: Analysis) -> Section | None:
    """The tests of integrity, or None where none was run."""
    points = analysis.of(t.INTEGRITY)
    if not points:
        return None

    checked, corrupt = sum(_checked(p) or 0 for p in points), sum(map(corrupt_pages, points))
    intact = [f"all {w.count(checked)} pages that were checked came back intact."] if checked and not corrupt else []
    return Section(
        key="data-integrity",
        title="Data integrity",
        how="",
        table=build("integrity", "Pages compared", INTRO, FIELDS, points),
        findings=intact,
    )


def corrupt_pages(point: Point) -> float:
    """Pages that came back different."""
    return sum(point.values(m.CORRUPT))


def headline(analysis: Analysis) -> str:
    """Return in a few words whether pages came back as they were; empty where none was checked."""
    points = analysis.of(t.INTEGRITY)
    checked = sum(_checked(point) or 0 for point in points)
    return f"{w.count(sum(map(corrupt_pages, points)))} of {w.count(checked)}" if checked else ""


def _checked(point: Point) -> float | None:
    return sum(point.values(m.COMPARED)) if point.figure(m.COMPARED) else None


def _result(point: Point) -> str:
    if corrupt_pages(point):
        return "CORRUPT"
    return "intact" if _checked(point) else "not known"
