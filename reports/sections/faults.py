"""The price of having written a page back: latency of a fault by where the page was, on a quiet phone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from base.units import NS_PER_US
from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis, Point, find, group
from reports.cells import QUANTILES, latency_fields, microseconds, overhead_notes, samples_field, slot_label, times
from reports.plots import STYLES, Plot, legend_below, plain_log_scale, plot
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build, build_for_mail, everywhere

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWS: Shows = {t.FAULTS: ()}
HOW = (
    "How long a program waits for a page that was swapped out: still compressed in RAM, or written back to storage. "
    "To the right the slow tail: each step is ten times rarer. Lower is better."
)
INTRO = (
    "A fault brings one page back: from RAM, where zram kept it compressed, or from the storage that it was written "
    "back to. p99: 99 of 100 faults took at most this long. In brackets: where the true value lies (95 %). x RAM: "
    "the price of having written the page back, at the median."
)
SLOT_ORDER = ("ram", "written_back", "in_flight")


def section(analysis: Analysis) -> Section | None:
    """The test of faults on a quiet phone, or None where it was not run."""
    groups = [sorted(members, key=slot_rank) for _, members in group(analysis.of(t.FAULTS), without=("slot",))]
    if not groups:
        return None
    return Section(
        key="faults",
        title="Page fault latency",
        how=HOW,
        measured="latency of page faults",
        tables=[_table(points, number) for number, points in enumerate(groups, start=1)],
        findings=[sentence for points in groups for sentence in _findings(points)],
        mail=lambda doubts: [
            build_for_mail(f"Latency of a page fault in us{_rest(points)}", _fields(points), points, doubts)
            for points in groups
        ],
        draw=lambda: [_plot(points, f"fault-plot-{number}") for number, points in enumerate(groups, start=1)],
    )


def slot_rank(point: Point) -> tuple[int, str]:
    """Sort key: RAM, then storage, then in flight, then whatever else there is."""
    slot = str(point.param("slot"))
    return (SLOT_ORDER.index(slot) if slot in SLOT_ORDER else len(SLOT_ORDER), slot)


def _fields(points: Sequence[Point]) -> list[Field[Point]]:
    base = find(points, slot="ram")
    return [
        everywhere(Column("page was in", numeric=False), slot_label),
        samples_field(),
        *latency_fields(in_mail=QUANTILES),
        everywhere(Column("x RAM"), lambda point: w.number(times(point, base, "p50"))),
    ]


def _rest(points: Sequence[Point]) -> str:
    rest = w.params(points[0].result.params, without=("slot",))
    return f": {rest}" if rest else ""


def _table(points: Sequence[Point], number: int) -> Table:
    title = f"Time of one page fault, in µs{_rest(points)}"
    return build(f"faults-{number}", title, INTRO, _fields(points), points, overhead_notes(points))


def _findings(points: Sequence[Point]) -> list[str]:
    ram, written = find(points, slot="ram"), find(points, slot="written_back")
    if ram is None or written is None:
        return []
    factor = times(written, ram, "p50")
    if factor is None:
        return []
    rest = w.params(points[0].result.params, without=("slot",))
    return [
        f"A fault on a written-back page took {w.number(microseconds(written, 'p50'))} µs at the median against "
        f"{w.number(microseconds(ram, 'p50'))} µs from RAM, {w.number(factor, 2)} times as long"
        + (f" ({rest})." if rest else ".")
    ]


def _plot(points: Sequence[Point], key: str) -> Plot:
    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, point in enumerate(points):
            colour, dash, marker = _style(point, index)
            x, y = _percentile_curve(point.samples[m.FAULT_LATENCY.name])
            label = f"page in {slot_label(point)}"
            axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.6, label=label, drawstyle="steps-post")
            _quantile_marks(axes, point, colour, marker)
        axes.set_xscale("log")
        _percentile_ticks(axes, max(point.size_of(m.FAULT_LATENCY) for point in points))
        plain_log_scale(axes, "y")
        axes.set_ylabel("µs per fault")
        axes.set_xlabel("share of faults that took at most this long")
        rest = w.params(points[0].result.params, without=("slot",))
        axes.set_title("Page fault latency" + (f", {rest}" if rest else ""))
        legend_below(figure, len(points))

    described = "; ".join(_in_words(point) for point in points)
    return plot(key, f"Page fault latency by percentile, logarithmic: {described}", draw)


def _in_words(point: Point) -> str:
    told = ", ".join(
        f"{name} {w.number(value)}" for name in QUANTILES if (value := microseconds(point, name)) is not None
    )
    return f"{slot_label(point)}: {told} µs"


def _style(point: Point, index: int) -> tuple[str, str, str]:
    """RAM and storage look the same in every plot, also where one of them is missing."""
    slot = point.param("slot")
    return STYLES[SLOT_ORDER.index(slot) if slot in SLOT_ORDER else max(index, len(SLOT_ORDER)) % len(STYLES)]


def _percentile_curve(samples: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Latency in µs over 1 / (1 - share), so that every 9 more takes the same room and the tail can be read.

    At most some 300 of the ranks are drawn, evenly spread over that scale: more cannot be seen.
    """
    import numpy as np

    n = samples.size
    beyond = np.unique(np.round(np.geomspace(1, n, num=300)).astype(np.int64))[::-1]
    ordered = np.sort(samples)
    return n / beyond.astype(float), ordered[n - beyond].astype(float) / NS_PER_US


def _quantile_marks(axes: Axes, point: Point, colour: str, marker: str) -> None:
    for found in point.quantiles[m.FAULT_LATENCY.name]:
        if found.value is None or found.share >= 1:
            continue
        x, y = 1 / (1 - found.share), found.value / NS_PER_US
        if found.low is not None and found.high is not None:
            axes.plot([x, x], [found.low / NS_PER_US, found.high / NS_PER_US], color=colour, linewidth=3.5, alpha=0.35)
        axes.plot([x], [y], marker=marker, color=colour, markersize=4.5)
        left = found.share >= 0.99
        axes.annotate(
            w.number(y), (x, y), xytext=(-4 if left else 3, 5), textcoords="offset points", fontsize=8,
            color=colour, ha="right" if left else "left",
        )  # fmt: skip


def _percentile_ticks(axes: Axes, samples: int) -> None:
    ticks = [
        (2.0, "50 %"),
        (10.0, "90 %"),
        (100.0, "99 %"),
        (1e3, "99.9 %"),
        (1e4, "99.99 %"),
        (1e5, "99.999 %"),
    ]
    shown = [tick for tick in ticks if tick[0] <= samples]
    axes.set_xticks([x for x, _ in shown], [label for _, label in shown])
    axes.minorticks_off()
    axes.set_xlim(0.93, samples * 1.2)
