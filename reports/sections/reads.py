"""How long reading zram's own files waits while a writeback runs: by file and by batch size, against quiet."""

from __future__ import annotations

from collections.abc import Sequence

from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import (
    NO_DIFFERENCE,
    batch_label,
    figure_of,
    ratio_cell,
    shared_words,
    short_cell,
    times,
    turns_field,
    varying_fields,
)
from reports.point import Point, batch_rank, decided, find, ratio
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build

QUIET = "quiet"
VARIED = ("file", "batch_size", "writeback")
SHOWS: Shows = {t.READS: (m.READ_WAIT, m.READ_LONGEST)}
INTRO = (
    "A read begins at any moment of a writeback and may wait for its end, so it waits the longer the more such a "
    "writeback writes. Quiet: no writeback ran. idle can only be written, so that is timed of it."
)


def section(analysis: Analysis) -> Section | None:
    """The test of reads, or None where it was not run."""
    found = analysis.of(t.READS)
    # In the order in which they were measured: the files that people read most come first.
    files = list(dict.fromkeys(point.param("file") for point in found))
    points = sorted(found, key=lambda point: (files.index(point.param("file")), *_rank(point)))
    if not points:
        return None
    return Section("reads", "Reads of zram files while writeback runs", "", _table(points), _findings(points))


def _rank(point: Point) -> tuple[bool, float]:
    return point.param("writeback") != QUIET, batch_rank(point)


def _quiet(points: Sequence[Point], point: Point) -> Point | None:
    return find(points, file=point.param("file"), writeback=QUIET)


def _condition(point: Point) -> str:
    return QUIET if point.param("writeback") == QUIET else f"batch {batch_label(point)}"


def _writeback(point: Point) -> str:
    """What was written at a time, and how long that took: ``256 KiB in 9.00 ms``."""
    size, took = (point.result.facts.get(name) for name in ("writeback_bytes", "writeback_ms"))
    known = isinstance(size, int) and size and isinstance(took, int | float)
    return f"{w.size(size)} in {w.number(took)} ms" if known else w.MISSING


def _table(points: Sequence[Point]) -> Table:
    fields: list[Field[Point]] = [
        *varying_fields(points, VARIED),
        Field(Column("file", numeric=False), lambda point: w.clean(point.param("file"))),
        Field(Column("while", numeric=False), _condition),
        turns_field(m.READ_WAIT),
        Field(Column("a read, µs"), figure_of(m.READ_WAIT)),
        Field(Column("longest of a turn, µs", wrap=12), figure_of(m.READ_LONGEST)),
        Field(Column("x quiet"), lambda point: ratio_cell(ratio(point, _quiet(points, point), m.READ_WAIT))),
        Field(Column("writeback", wrap=10), _writeback),
    ]
    title = f"Time of one read of a file of zram's while a writeback ran{shared_words(points, VARIED)}"
    return build("reads-table", title, INTRO, fields, points)


def _findings(points: Sequence[Point]) -> list[str]:
    """One sentence a file, by batch size; that of the first file is the one line of a screen."""
    sentences = []
    for file in dict.fromkeys(str(point.param("file")) for point in points):
        running = [p for p in points if p.param("file") == file and p.param("writeback") != QUIET]
        said = [told for point in running if (told := _wait(point, _quiet(points, point)))]
        if said:
            sentences.append(f"{w.clean(file)} against quiet: {'; '.join(said)}.")
    return sentences


def _wait(point: Point, base: Point | None) -> str:
    found = ratio(point, base, m.READ_WAIT)
    says = decided(found)
    if found is None or says is None:
        return ""
    told = times(found) if says else f"{NO_DIFFERENCE}, {times(found)}"
    return f"batch {batch_label(point)} {told} (longest {short_cell(point, m.READ_LONGEST)} µs; {_writeback(point)})"
