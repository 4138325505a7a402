"""Writeback throughput by batch size: one table and one plot per data size and page type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from base.kernel import DEFAULT_BATCH_SIZE, PAGE_4K
from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis, Point, batch_rank, group, ratio
from reports.cells import (
    batch_label,
    first_point,
    interval_note,
    median_mark,
    median_of,
    rate_fields,
    ratio_cell,
    with_interval,
    word_of,
)
from reports.plots import STYLES, Plot, error_bars, legend_below, plot
from reports.sections.section import Section, Shows
from reports.tables import Column, Doubts, Field, Table, build, build_for_mail, everywhere

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A larger batch that gains less than this is not worth a reader's attention.
WORTHWHILE_GAIN = 1.10
SHOWS: Shows = {t.THROUGHPUT: (m.THROUGHPUT, m.WALL, m.USER_CPU, m.SYS_CPU)}
HOW = (
    "How fast zram moves compressed pages from RAM to its backing device. Line: median. Bars: where the true median "
    "lies. Faint dots: every single repeat. All plots share one scale."
)
BATCH_INTRO = (
    "Batch: how many page writes may be in flight at once (writeback_batch_size). All figures are medians; real, "
    "user and sys are the seconds that one write to the writeback attribute took. "
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
    page_bytes = analysis.run.session.provenance.page_size_bytes

    def mail(doubts: Doubts) -> list[Table]:
        lines = [(panel, order, points) for panel in panels for order, points in panel.by_order().items()]
        return [
            build_for_mail(f"Throughput: {panel.title}{_in_order(order)}", _fields(points, page_bytes), points, doubts)
            for panel, order, points in lines
        ]

    return Section(
        key="throughput",
        title="Writeback throughput",
        how=HOW,
        measured="throughput by batch size",
        tables=[_table(panel, number, page_bytes) for number, panel in enumerate(panels, start=1)],
        findings=_findings(analysis, panels),
        mail=mail,
        draw=lambda: _plots(panels),
    )


def _by_order(points: Iterable[Point]) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(str(point.result.params.get("order", "")), []).append(point)
    return lines


def headline(analysis: Analysis) -> Point | None:
    """Return the point that stands for the sweep: the hardest case at the kernel's own batch size, or the only one."""
    panels = _panels(analysis.of(t.THROUGHPUT))
    return _at_default(_hardest(panels)[1]) if panels else None


def _hardest(panels: Sequence[Panel]) -> tuple[Panel, list[Point]]:
    """Incompressible pages, the largest data set, the slot order that a phone sees."""
    panel = ([p for p in panels if p.params.get("pages") == "incompressible"] or list(panels))[-1]
    lines = panel.by_order()
    return panel, lines.get("random") or next(iter(lines.values()))


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


def _in_order(order: str) -> str:
    return f", {w.clean(order)} slot order" if order else ""


def _fields(points: Sequence[Point], page_bytes: int) -> list[Field[Point]]:
    """Each point is compared with the smallest batch of its slot order; a table of the mail has one order."""
    bases = {order: first_point(members) for order, members in _by_order(points).items()}
    base = batch_label(next(iter(bases.values())))

    def against_base(point: Point) -> str:
        return ratio_cell(point, bases[str(point.result.params.get("order", ""))])

    def at_once(point: Point) -> str:
        """Other than with pages of 4 KiB the number of pages says little beside a phone's that has those."""
        return w.MISSING if page_bytes == PAGE_4K else w.size(_batch(point) * page_bytes)

    return [
        Field(Column("slot order", False), word_of("order")),
        everywhere(Column("batch"), batch_label),
        Field(Column("bytes at once", wrap=8), at_once),
        *rate_fields(),
        Field(Column(f"x batch {base}"), against_base, Column(f"x {base}")),
        everywhere(Column("real s"), median_of(m.WALL)),
        everywhere(Column("user s"), median_of(m.USER_CPU)),
        everywhere(Column("sys s"), median_of(m.SYS_CPU)),
    ]


def _table(panel: Panel, number: int, page_bytes: int) -> Table:
    intro = BATCH_INTRO + interval_note(p.summary(m.THROUGHPUT) for p in panel.points)
    title = f"Writeback throughput by batch size: {panel.title}"
    return build(f"throughput-{number}", title, intro, _fields(panel.points, page_bytes), panel.points)


def _findings(analysis: Analysis, panels: Sequence[Panel]) -> list[str]:
    panel, points = _hardest(panels)
    base = first_point(points)
    phone = "this virtual phone" if analysis.run.session.provenance.virtual else "this phone"
    order = points[0].param("order")
    where = panel.title + _in_order(str(order or ""))
    chosen = _at_default(points)
    rate = with_interval(chosen, m.THROUGHPUT)
    if base.param("batch_size") is None:
        rate = with_interval(base, m.THROUGHPUT)
        return [f"On {phone}, writeback reached {rate} ({where}); this kernel writes one page at a time."]
    if chosen is base:
        return [f"On {phone}, batch {batch_label(chosen)} wrote back {rate} ({where})."]
    compared = f"{w.number(ratio(chosen, base, m.THROUGHPUT), 2)} times batch {batch_label(base)}" + (
        ", yet their intervals overlap" if _overlap(chosen, base) else ""
    )
    sentences = [f"On {phone}, batch {batch_label(chosen)} wrote back {rate}, {compared} ({where})."]
    flat = _flat_from(points)
    if flat is not None:
        sentences.append(f"Batches above {batch_label(flat)} gain less than 10 %.")
    return sentences


def _flat_from(points: Sequence[Point]) -> Point | None:
    """The smallest batch that no larger one beats by a worthwhile margin; None if that is the largest one."""
    ordered = sorted(points, key=batch_rank)
    for index, point in enumerate(ordered[:-1]):
        mine = point.median(m.THROUGHPUT)
        best = max(p.median(m.THROUGHPUT) or 0.0 for p in ordered[index + 1 :])
        if mine and best <= WORTHWHILE_GAIN * mine:
            return point
    return None


def _overlap(one: Point, other: Point) -> bool:
    first, second = one.figures[m.THROUGHPUT.name].interval, other.figures[m.THROUGHPUT.name].interval
    return first is not None and second is not None and first.overlaps(second)


def _plots(panels: Sequence[Panel]) -> list[Plot]:
    """Throughput against batch size, one plot per panel, all on the same vertical scale."""
    values = [v for panel in panels for p in panel.points for v in p.values(m.THROUGHPUT)]
    top = 1.08 * max(values, default=1.0)
    return [_plot(panel, f"throughput-plot-{number}", top) for number, panel in enumerate(panels, 1)]


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

    described = ", ".join(f"batch {batch_label(p)} {w.number(p.median(m.THROUGHPUT))}" for p in panel.points)
    return plot(key, f"Writeback throughput in MiB/s by batch size, {panel.title}: {described}", draw)


def _line(axes: Axes, points: Sequence[Point], label: str, index: int, lines: int) -> None:
    colour, dash, marker = STYLES[index % len(STYLES)]
    # Lines of the same batch stand side by side, else their intervals would cover each other.
    xs = [_batch(p) * (1.0 + 0.07 * (index - (lines - 1) / 2)) for p in points]
    # Single values stand outside of their line's bars, which would hide them.
    aside = 1.09 if index and index >= lines / 2 else 1 / 1.09
    for x, point in zip(xs, points, strict=True):
        values = point.values(m.THROUGHPUT)
        axes.plot([x * aside] * len(values), values, "o", color=colour, markersize=3.6, alpha=0.4, mew=0)
    marks = [mark for point in points if (mark := median_mark(point, m.THROUGHPUT))]
    axes.errorbar(
        xs, [value for value, _, _ in marks], yerr=error_bars(marks), color=colour, linestyle=dash, marker=marker,
        markersize=4.5, linewidth=1.4, elinewidth=1.1, capsize=2.5, label=label,
    )  # fmt: skip


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
