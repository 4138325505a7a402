"""Writeback throughput by batch size: one table of all points, and one plot per data size and page type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from base.kernel import DEFAULT_BATCH_SIZE, PAGE_4K
from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import (
    NO_DIFFERENCE,
    batch_label,
    case_field,
    first_point,
    mapping_fact,
    mark_of,
    rate_field,
    ratio_cell,
    shared_words,
    short_of,
    times,
    told,
    turns_field,
)
from reports.plots import STYLES, Plot, error_bars, legend_below, plot
from reports.point import Point, batch_rank, decided, find, group, ratio
from reports.sections.section import Section, Shows
from reports.sections.throughput_size import size_finding, size_plot, size_table
from reports.tables import Column, Field, Table, build

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A larger batch that gains less than this is not worth a reader's attention.
WORTHWHILE_GAIN = 1.10
SHOWS: Shows = {
    t.THROUGHPUT: (m.THROUGHPUT, m.WALL, m.SYS_CPU, m.CPU_WRITER, m.CPU_LOOP, m.CPU_ALL)
}  # fmt: skip
HOW = "Line: median of the turns. Bars: its interval. Dots: single turns, hollow if disturbed. All share one scale."
INTRO = (
    "Batch: how many page writes may be in flight at once (writeback_batch_size). Real and sys: seconds of one "
    "write to the writeback attribute. CPU µs/page: of all CPUs, per page of 4 KiB."
)


@dataclass(frozen=True, slots=True)
class Panel:
    """Throughput points that differ in batch size and slot order only, in that order. ``params`` is what they share."""

    params: Mapping[str, Any]
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        """``32 MiB, incompressible pages`` and any further parameter."""
        known = [w.size(self.params["data_bytes"])] if "data_bytes" in self.params else []
        known += [f"{w.clean(self.params['pages'])} pages"] if "pages" in self.params else []
        rest = w.params(self.params, without=("data_bytes", "pages"))
        return ", ".join([*known, *([rest] if rest else [])]) or "all points"

    def by_order(self) -> dict[str, list[Point]]:
        """Points per slot order, batch sizes ascending."""
        return _by_order(self.points)


def section(analysis: Analysis) -> Section | None:
    """The sweep, or None where it was not run."""
    panels = _panels(analysis.of(t.THROUGHPUT))
    if not panels:
        return None
    return Section(
        key="throughput",
        title="Writeback throughput",
        how=HOW,
        table=_table(panels, analysis.run.session.provenance.page_size_bytes),
        findings=[*_findings(panels), *size_finding(_all_sizes(panels))],
        details=[table for table in (size_table([p for panel in panels for p in panel.points]),) if table],
        draw=lambda: _plots(panels),
    )


def _by_order(points: Iterable[Point]) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(str(point.result.params.get("order", "")), []).append(point)
    return lines


def batches(analysis: Analysis) -> tuple[str, list[Point]]:
    """Return in words the case that stands for the sweep, and its points, batch sizes ascending."""
    panels = _panels(analysis.of(t.THROUGHPUT))
    if not panels:
        return "", []
    panel, points = _hardest(panels)
    return _where(panel, points), points


def headline(analysis: Analysis) -> Point | None:
    """Return the point that stands for the sweep: the hardest case at the kernel's own batch size, or the only one."""
    panels = _panels(analysis.of(t.THROUGHPUT))
    return _at_default(_hardest(panels)[1]) if panels else None


def _hardest(panels: Sequence[Panel]) -> tuple[Panel, list[Point]]:
    """Incompressible pages, the largest data set, the slot order that a phone sees."""
    panel = ([p for p in panels if p.params.get("pages") == "incompressible"] or list(panels))[-1]
    lines = panel.by_order()
    return panel, lines.get("scattered") or lines.get("sparse") or next(iter(lines.values()))


def _all_sizes(panels: Sequence[Panel]) -> list[Point]:
    """The case that stands for the sweep, at all sizes."""
    panel, points = _hardest(panels)
    same = {k: v for k, v in panel.params.items() if k != "data_bytes"} | {"order": points[0].param("order")}
    return [p for each in panels for p in each.points if all(p.param(key) == value for key, value in same.items())]


def _at_default(points: Sequence[Point]) -> Point:
    return next((p for p in points if p.param("batch_size") == DEFAULT_BATCH_SIZE), points[-1])


def _panels(points: Iterable[Point]) -> list[Panel]:
    """Order of the panels: as given by the parameters, small data sets first; the sweep's own order is shuffled."""
    panels = []
    for shared, members in group(points, without=("batch_size", "order")):
        ordered = sorted(members, key=lambda p: (str(p.result.params.get("order", "")), batch_rank(p)))
        panels.append(Panel(shared, tuple(ordered)))
    return sorted(panels, key=lambda panel: _panel_rank(panel.params))


def _panel_rank(params: Mapping[str, Any]) -> tuple[str, float, str]:
    data = params.get("data_bytes")
    return (
        str(params.get("pages", "")),
        float(data) if isinstance(data, int | float) else 0.0,
        str(sorted(params.items())),
    )


def _where(panel: Panel, points: Sequence[Point]) -> str:
    order = points[0].param("order")
    return panel.title + (f", {w.clean(order)} slot order" if order else "")


def _table(panels: Sequence[Panel], page_bytes: int) -> Table:
    """Each point is compared with the smallest batch of its panel and slot order."""
    lines = [points for panel in panels for points in panel.by_order().values()]
    base_of = {id(point): first_point(points) for points in lines for point in points}
    points = [point for line in lines for point in line]
    base = batch_label(first_point(lines[0]))
    case = case_field(points, ("batch_size",))
    gap = "\n" if case else " "

    def against_base(point: Point) -> str:
        found = base_of[id(point)]
        no_batches = found.param("batch_size") is None
        return w.MISSING if no_batches else ratio_cell(ratio(point, found, m.THROUGHPUT), gap)

    def at_once(point: Point) -> str:
        """Other than with pages of 4 KiB the number of pages says little beside a phone's that has those."""
        return w.MISSING if page_bytes == PAGE_4K else w.size(_batch(point) * page_bytes)

    fields = [
        *case,
        Field(Column("batch"), batch_label),
        Field(Column("bytes at once", wrap=8), at_once),
        rate_field(gap),
        turns_field(m.THROUGHPUT),
        Field(Column(f"x batch {base}"), against_base),
        Field(Column("real s"), short_of(m.WALL)),
        Field(Column("sys s"), short_of(m.SYS_CPU)),
        Field(Column("CPU µs/page", wrap=7), short_of(m.CPU_ALL)),
        Field(Column("of it writer", wrap=6), short_of(m.CPU_WRITER)),
        Field(Column("loop worker", wrap=6), short_of(m.CPU_LOOP)),
    ]
    title = f"Writeback throughput by batch size{shared_words(points, ('batch_size',))}"
    return build("throughput-table", title, INTRO, fields, points, _held_back(points))


def _held_back(points: Sequence[Point]) -> list[str]:
    """What the disk may have held back of the writes, as it said before and after each sweep."""
    said = []
    for point in points:
        known = mapping_fact(point, "held_back")
        before, after = (known.get(when) for when in ("before", "after"))
        if isinstance(before, dict) and isinstance(after, dict) and before:
            changed = {name: text for name, text in after.items() if before.get(name) != text}
            said.append(f"The disk before: {w.params(before)}; after: {w.params(changed) or 'the same'}.")
    return list(dict.fromkeys(said))


def _findings(panels: Sequence[Panel]) -> list[str]:
    _, points = _hardest(panels)
    base, chosen = first_point(points), _at_default(points)
    if base.param("batch_size") is None:
        return [f"{told(base, m.THROUGHPUT)}; this kernel writes one page at a time."]
    compared = ratio(chosen, base, m.THROUGHPUT)
    says, against = decided(compared), f"batch {batch_label(base)}"
    sentence = f"batch {batch_label(chosen)} wrote back {told(chosen, m.THROUGHPUT)}"
    if compared is not None and says is not None:
        sentence += f", {times(compared)} {against}" if says else f"; {NO_DIFFERENCE} to {against}, {times(compared)}"
    flat = _flat_from(points)
    return [
        f"{sentence}.",
        *_double(points),
        *([f"Batches above {batch_label(flat)} gain less than 10 %."] if flat else []),
    ]


def _double(points: Sequence[Point]) -> list[str]:
    """Whether twice the kernel's own batch size writes faster, as the question stands on the list."""
    own, double = (find(points, batch_size=batch) for batch in (DEFAULT_BATCH_SIZE, 2 * DEFAULT_BATCH_SIZE))
    compared = ratio(double, own, m.THROUGHPUT)
    says = decided(compared)
    if compared is None or says is None:
        return []
    against = f"Batch {2 * DEFAULT_BATCH_SIZE} against {DEFAULT_BATCH_SIZE}"
    word = NO_DIFFERENCE if not says else "faster" if says > 0 else "slower"
    return [f"{against}: {word}, {times(compared)}."]


def _flat_from(points: Sequence[Point]) -> Point | None:
    """The smallest batch that no larger one beats by a worthwhile margin, as far as intervals go; None if none does."""
    ordered = sorted(points, key=batch_rank)
    for index, point in enumerate(ordered[:-1]):
        gains = [ratio(larger, point, m.THROUGHPUT) for larger in ordered[index + 1 :]]
        if all(
            decided(gain) is not None and gain and gain.interval and gain.interval.high < WORTHWHILE_GAIN
            for gain in gains
        ):
            return point
    return None


def _plots(panels: Sequence[Panel]) -> list[Plot]:
    """Throughput against batch size, one plot per panel, all on the same vertical scale; what stands for all first."""
    values = [v for panel in panels for p in panel.points for v in p.values(m.THROUGHPUT)]
    top = 1.08 * max(values, default=1.0)
    first, points = _hardest(panels)
    # Parts of the data at two batch sizes are no curve over batch sizes: the plot of sizes has them.
    curves = [panel for panel in panels if 2 * len(panel.points) > len(first.points) or panel is first]
    ordered = [first, *(panel for panel in curves if panel is not first)]
    plots = [_plot(panel, f"throughput-plot-{number}", top) for number, panel in enumerate(ordered, 1)]
    order = points[0].param("order")
    by_size = size_plot(
        _all_sizes(panels), f"{w.clean(first.params.get('pages', 'all'))} pages, {w.clean(order)} slot order"
    )
    return [*plots, by_size] if by_size else plots


def _plot(panel: Panel, key: str, top: float) -> Plot:
    lines = panel.by_order()

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, (order, points) in enumerate(lines.items()):
            _line(axes, points, f"{w.clean(order)} slot order" if order else "", index, len(lines))
        axes.set_xscale("log", base=2)
        _batch_ticks(axes, panel.points)
        axes.set_ylim(0, top)
        axes.set_ylabel("MiB/s")
        axes.set_title(panel.title)
        legend_below(figure, len(lines))

    described = ", ".join(f"batch {batch_label(p)} {w.number(p.value(m.THROUGHPUT))}" for p in panel.points)
    return plot(key, f"Writeback throughput in MiB/s by batch size, {panel.title}: {described}", draw)


def _line(axes: Axes, points: Sequence[Point], label: str, index: int, lines: int) -> None:
    colour, dash, marker = STYLES[index % len(STYLES)]
    # Lines of the same batch stand side by side, else their intervals would cover each other.
    xs = [_batch(p) * (1.0 + 0.07 * (index - (lines - 1) / 2)) for p in points]
    # Single values stand outside of their line's bars, which would hide them.
    aside = 1.09 if index and index >= lines / 2 else 1 / 1.09
    for x, point in zip(xs, points, strict=True):
        for spoilt, values in _turns(point).items():
            face, edge = ("none", 0.8) if spoilt else (colour, 0.0)
            axes.plot([x * aside] * len(values), values, "o", color=colour, ms=3.6, alpha=0.4, mfc=face, mew=edge)
    marked = [(x, mark) for x, point in zip(xs, points, strict=True) if (mark := mark_of(point, m.THROUGHPUT))]
    marks = [mark for _, mark in marked]
    axes.errorbar(
        [x for x, _ in marked], [value for value, _, _ in marks], yerr=error_bars(marks), color=colour,
        linestyle=dash, marker=marker, markersize=4.5, linewidth=1.4, elinewidth=1.1, capsize=2.5, label=label,
    )  # fmt: skip


def _turns(point: Point) -> dict[bool, list[float]]:
    """The value of each turn, by whether other work disturbed it."""
    values = point.values(m.THROUGHPUT)
    spoilt = [bool(turn.disturbed) for turn in point.result.turns]
    spoilt = spoilt if len(spoilt) == len(values) else [False] * len(values)
    return {kind: [v for v, each in zip(values, spoilt, strict=True) if each == kind] for kind in (False, True)}


def _batch(point: Point) -> float:
    """Without the attribute the kernel writes one page at a time, as batch 1 does."""
    return max(1.0, batch_rank(point))


def _batch_ticks(axes: Axes, points: Sequence[Point]) -> None:
    batches = sorted({_batch(point) for point in points})
    axes.set_xticks(batches, [w.count(batch) for batch in batches])
    axes.minorticks_off()
    axes.grid(False, axis="x")
    if len(batches) == 1:
        axes.set_xlim(batches[0] / 2, batches[0] * 2)
    if any(point.param("batch_size") is None for point in points):
        axes.set_xlabel("one page at a time (no writeback_batch_size)")
    else:
        axes.set_xlabel("batch size (pages in flight at most)")
