"""The price of having written a page back: latency of a fault by where the page was, on a quiet phone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from base.units import NS_PER_US
from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import (
    QUANTILES,
    latency_fields,
    longer,
    mark_of,
    overhead_notes,
    samples_field,
    shared_words,
    slot_label,
    times_fields,
    told,
    turns_field,
    varying_fields,
)
from reports.plots import STYLES, Plot, legend_below, plain_log_scale, plot
from reports.point import Point, find, group, ratio
from reports.repeated import quiet_faults
from reports.sections.section import Section, Shows
from reports.stats import SHARES
from reports.tables import Column, Field, Table, build

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWS: Shows = {t.FAULTS: ()}
HOW = "To the right the slow tail: each step is ten times rarer. Lower is better."
INTRO = (
    "How long a program waits for a page that was swapped out: still compressed in RAM, or written back to storage. "
    "In µs; p99: 99 of 100 faults took at most this long. A quantile is taken turn by turn."
)
SAME_INTRO = (
    "One quantity, a fault on a written-back page with nothing else going on, as each test found it: p50 in µs. What "
    "differs between these lines by more than the intervals is a doubt on all of them."
)
SLOT_ORDER = ("ram", "written_back", "in_flight")


def section(analysis: Analysis) -> Section | None:
    """The test of faults on a quiet phone, or None where it was not run."""
    groups = [sorted(members, key=slot_rank) for _, members in group(analysis.of(t.FAULTS), without=("slot",))]
    if not groups:
        return None
    same = _same_table(quiet_faults(analysis.points, analysis.run.session.provenance))
    return Section(
        key="faults",
        title="Price of a fault",
        how=HOW,
        table=_table(groups),
        findings=[sentence for points in groups for sentence in _findings(points, alone=len(groups) == 1)],
        details=[same] if same else [],
        draw=lambda: [_plot(points, f"fault-plot-{number}") for number, points in enumerate(groups, start=1)],
    )


def slot_rank(point: Point) -> tuple[int, str]:
    """Sort key: RAM, then storage, then in flight, then whatever else there is."""
    slot = str(point.param("slot"))
    return (SLOT_ORDER.index(slot) if slot in SLOT_ORDER else len(SLOT_ORDER), slot)


def _table(groups: Sequence[Sequence[Point]]) -> Table:
    base_of = {id(point): find(points, slot="ram") for points in groups for point in points}
    points = [point for members in groups for point in members]
    fields: list[Field[Point]] = [
        *varying_fields(points, ("slot",)),
        Field(Column("page was in", numeric=False), slot_label),
        samples_field(),
        turns_field(m.FAULT_LATENCY, "p50"),
        *latency_fields(),
        *times_fields(lambda point: base_of[id(point)], "RAM", ("p50", "p99")),
    ]
    title = f"Time of one page fault, in µs{shared_words(points, ('slot',))}"
    return build("faults-table", title, INTRO, fields, points, overhead_notes(points))


def _same_table(points: Sequence[Point]) -> Table | None:
    if len(points) < 2:
        return None
    fields: list[Field[Point]] = [
        Field(Column("test", numeric=False), lambda point: w.clean(point.result.test)),
        Field(Column("at", numeric=False, wrap=44), lambda point: w.params(point.result.params)),
        samples_field(),
        turns_field(m.FAULT_LATENCY, "p50"),
        *latency_fields(("p50",)),
    ]
    return build("faults-same", "The same in several tests", SAME_INTRO, fields, points)


def _findings(points: Sequence[Point], *, alone: bool) -> list[str]:
    ram, written = find(points, slot="ram"), find(points, slot="written_back")
    if ram is None or written is None or None in (p.value(m.FAULT_LATENCY, "p50") for p in (ram, written)):
        return []
    compared = longer(ratio(written, ram, m.FAULT_LATENCY, "p50"))
    against = f": {compared}" if compared else ""
    where = "" if alone else _rest(points)
    back, kept = (told(point, m.FAULT_LATENCY, "p50") for point in (written, ram))
    return [f"{back} written back, {kept} in RAM{against} at p50{where}."]


def _rest(points: Sequence[Point]) -> str:
    rest = w.params(points[0].result.params, without=("slot",))
    return f" ({rest})" if rest else ""


def _plot(points: Sequence[Point], key: str) -> Plot:
    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, point in enumerate(points):
            colour, dash, marker = _style(point, index)
            samples = point.quiet_array(m.FAULT_LATENCY)
            if samples is None or not samples.size:
                continue
            x, y = _percentile_curve(samples)
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
        f"{name} {w.number(mark[0])}" for name in QUANTILES if (mark := mark_of(point, m.FAULT_LATENCY, name))
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
    for name, share in SHARES.items():
        mark = mark_of(point, m.FAULT_LATENCY, name)
        if mark is None:
            continue
        x, (y, low, high) = 1 / (1 - share), mark
        if low is not None and high is not None:
            axes.plot([x, x], [low, high], color=colour, linewidth=3.5, alpha=0.35)
        axes.plot([x], [y], marker=marker, color=colour, markersize=4.5)
        left = share >= 0.99
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
