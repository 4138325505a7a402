"""What no section shows: every other figure of every test, known or not, and the warm-ups."""

from __future__ import annotations

from collections.abc import Sequence

from reports import wording as w
from reports.analysis import Analysis, Point
from reports.cells import batch_label
from reports.contents import shown_in_section
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
    heads = (Column("test", False, 20), Column("at", False, 24), Column("figure", False, 20), Column("unit", False))
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
        (
            f"{w.clean(metric)} {found.name}",
            "ns",
            _figure(found.value),
            w.span(found.low, found.high),
            str(point.samples[metric].size),
        )
        for metric, quantiles in point.quantiles.items()
        for found in quantiles
    ]


def _figure_row(point: Point, name: str) -> tuple[str, ...]:
    summary, metric = point.figures[name], point.result.metrics[name]
    interval = w.MISSING if summary.minimum == summary.maximum else w.interval(summary.interval)
    return w.clean(name), w.clean(metric.unit), _figure(summary.median), interval, str(summary.n)


def _figure(value: float | None) -> str:
    return w.count(value) if value is None or value == int(value) else w.number(value)
