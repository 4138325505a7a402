"""Throughput against the size of what is written back: a short writeback may be another thing than a long one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from records import metrics as m
from reports import wording as w
from reports.cells import batch_label, case_field, figure_cell, mark_of, ratio_cell, short_of, times, turns_field
from reports.plots import STYLES, Plot, error_bars, legend_below, plot
from reports.point import Point, batch_rank, decided, group, ratio
from reports.tables import Column, Field, Table, build

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTRO = (
    "The same pages at the same batch size, as much of them as stated. Parts of the data are written back in the same "
    "rounds as all of them. Ratios are to the largest size."
)


def series(points: Sequence[Point]) -> list[list[Point]]:
    """Points that differ in size alone, smallest first, of each case that has several sizes."""
    found = [sorted(members, key=_size) for _, members in group(points, ("data_bytes",))]
    return sorted((line for line in found if len({_size(p) for p in line}) > 1), key=lambda line: batch_rank(line[0]))


def size_table(points: Sequence[Point]) -> Table | None:
    """Throughput by size, for each case; None where there is one size only."""
    lines = series(points)
    if not lines:
        return None
    ordered = [point for line in lines for point in line]
    largest = {id(point): line[-1] for line in lines for point in line}
    fields: list[Field[Point]] = [
        *case_field(ordered, ("batch_size", "data_bytes")),
        Field(Column("batch"), batch_label),
        Field(Column("data"), lambda point: w.size(_size(point))),
        Field(Column("MiB/s"), lambda point: figure_cell(point, m.THROUGHPUT, gap="\n")),
        turns_field(m.THROUGHPUT),
        Field(Column("x largest"), lambda point: ratio_cell(ratio(point, largest[id(point)], m.THROUGHPUT))),
        Field(Column("real s"), short_of(m.WALL)),
    ]
    return build("throughput-size", "Writeback throughput by size", INTRO, fields, ordered)


def size_finding(points: Sequence[Point]) -> list[str]:
    """Say what the smallest size does to throughput, at the largest batch that has several sizes."""
    lines = series(points)
    if not lines:
        return []
    smallest, largest = lines[-1][0], lines[-1][-1]
    found = ratio(smallest, largest, m.THROUGHPUT)
    told = decided(found)
    if found is None or told is None:
        return []
    words = times(found) if told else f"no difference could be told, {times(found)}"
    sizes = f"{w.size(_size(smallest))} against {w.size(_size(largest))}"
    return [f"{sizes} at batch {batch_label(largest)}: {words} the throughput."]


def size_plot(points: Sequence[Point], where: str) -> Plot | None:
    """Draw throughput against size, a line for each batch size; None where there is one size only."""
    lines = series(points)
    if not lines:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, line in enumerate(lines):
            colour, dash, marker = STYLES[index % len(STYLES)]
            marked = [(_size(p), mark) for p in line if (mark := mark_of(p, m.THROUGHPUT))]
            marks = [mark for _, mark in marked]
            axes.errorbar(
                [x for x, _ in marked], [mark[0] for mark in marks], yerr=error_bars(marks), color=colour,
                linestyle=dash, marker=marker, markersize=4.5, linewidth=1.4, elinewidth=1.1, capsize=2.5,
                label=f"batch {batch_label(line[0])}",
            )  # fmt: skip
        sizes = sorted({_size(point) for line in lines for point in line})
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [w.size(size) for size in sizes])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_ylabel("MiB/s")
        axes.set_xlabel("written back at once")
        axes.set_title(where)
        legend_below(figure, len(lines))

    described = ", ".join(
        f"batch {batch_label(p)} {w.size(_size(p))} {w.number(p.value(m.THROUGHPUT))}" for line in lines for p in line
    )
    return plot("throughput-size-plot", f"Writeback throughput in MiB/s by size, {where}: {described}", draw)


def _size(point: Point) -> float:
    size = point.param("data_bytes")
    return float(size) if isinstance(size, int | float) else 0.0
