"""What no section shows: every other figure of every test, known or not, and the warm-ups."""

from __future__ import annotations

from collections.abc import Sequence

from reports import wording as w
from reports.analysis import Analysis
from reports.cells import batch_label
from reports.contents import shown_in_section
from reports.point import Point
from reports.stats import PointFigure
from reports.tables import Column, Doubts, Table


def further_table(analysis: Analysis) -> Table | None:
    """Every figure that no other table shows: of known tests what was measured besides, of others everything.

    Points with the same figures share a row: a counter that is the same everywhere says so in one line.
    """
    doubts = Doubts()
    places: dict[tuple[str, ...], list[str]] = {}
    for point in analysis.points:
        hidden = shown_in_section(point)
        rows = [_figure_row(point, name) for name in point.figures if name not in hidden]
        rows += [] if point.has_section else _sample_rows(point)
        marks = "" if point.has_section else doubts.marks(point.caveats)
        for row in rows:
            places.setdefault((w.clean(point.result.test), *row, marks), []).append(w.params(point.result.params))
    if not places:
        return None
    heads = (Column("test", False, 16), Column("at", False, 24), Column("figure", False, 20), Column("unit", False))
    return Table(
        key="further",
        title="Further figures",
        intro="Medians of everything else that was measured.",
        columns=(*heads, Column("median"), Column("interval"), Column("n"), Column("doubts", False)),
        rows=tuple((test, place_words(where), *rest) for (test, *rest), where in places.items()),
        doubts=doubts.notes(),
    )


def warmup_table(analysis: Analysis) -> Table | None:
    """Values of warm-ups, which enter no figure; the points of one sweep share a row."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for point in analysis.points:
        where = w.params(point.result.params, without=("batch_size",))
        batch = f"batch {batch_label(point)}: " if "batch_size" in point.result.params else ""
        for name, metric in point.result.warmups.items():
            row = rows.setdefault((w.clean(point.result.test), where, w.clean(name), w.clean(metric.unit)), [])
            row.append(batch + " ".join(w.number(value) for value in metric.values))
    if not rows:
        return None
    heads = (Column("test", False, 20), Column("at", False, 20), Column("figure", False, 20), Column("unit", False))
    return Table(
        key="warmups",
        title="Warm-ups",
        intro="Run before the measurement and kept apart: they enter no figure.",
        columns=(*heads, Column("values", False, 26)),
        rows=tuple((*row, ", ".join(values)) for row, values in rows.items()),
    )


def place_words(places: Sequence[str]) -> str:
    """Where a row was seen: its parameters, or how many points share it."""
    return places[0] if len(places) == 1 else f"{len(places)} points"


def _sample_rows(point: Point) -> list[tuple[str, ...]]:
    return [
        (f"{w.clean(metric)} {name}", "ns", *_told(found), str(point.samples[metric].size))
        for metric, quantiles in point.quantiles.items()
        for name, found in quantiles.items()
    ]


def _figure_row(point: Point, name: str) -> tuple[str, ...]:
    found, metric = point.figures[name], point.result.metrics[name]
    return w.clean(name), w.clean(metric.unit), *_told(found), str(found.n)


def _told(found: PointFigure) -> tuple[str, str]:
    """A figure and its interval; a count that is the same at every turn has none."""
    bounds = found.interval
    if found.value is None or bounds is None or bounds.low == bounds.high:
        whole = found.value is None or found.value == int(found.value)
        return (w.count(found.value) if whole else w.number(found.value)), w.MISSING
    value, _, interval = w.bounded(found.value, bounds.low, bounds.high).partition(" ")
    return value, interval
