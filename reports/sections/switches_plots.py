"""Plots of app switches: latency by kind and batch size, course of memory over time, how many apps stay alive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from base.units import NS_PER_MS
from records import courses as c
from records import metrics as m
from reports import wording as w
from reports.cells import batch_label
from reports.plots import INCHES, STYLES, Plot, plain_log_scale, plot
from reports.point import Point

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Values = npt.NDArray[np.float64]

KINDS = ("hot", "warm", "cold")
MS_PER_S = 1000.0
KIB_PER_MIB = 1024.0
PAGES_PER_MIB = 256.0
# More points than this cannot be told apart in a small figure.
MOST_POINTS = 400
AVAILABLE = (("available", c.SAMPLE_AVAILABLE, KIB_PER_MIB),)
SWAPPED = (
    ("zram takes", c.SAMPLE_ZRAM_MEMORY, KIB_PER_MIB),
    ("swap used", c.SAMPLE_SWAP_USED, KIB_PER_MIB),
    ("written back", c.SAMPLE_WRITTEN_BACK, PAGES_PER_MIB),
)
# One above the other, each on its own scale: what is in swap is often little beside all memory.
PANELS = (AVAILABLE, SWAPPED)


def plots(number: int, points: Sequence[Point], chosen: Sequence[Point]) -> list[Plot]:
    """All plots of one set of runs; ``chosen`` are those worth a line of their own, without writeback first."""
    drawn = [*_latency_plots(number, points), *_timelines(number, chosen)]
    alive = [point for point in chosen if _course(point, c.SAMPLE_ALIVE) is not None]
    return [*drawn, _survival_plot(f"switches-alive-plot-{number}", alive)] if alive else drawn


def _is_off(point: Point) -> bool:
    return bool(point.param("writeback") == "off")


def _label(point: Point) -> str:
    if _is_off(point):
        return "no writeback"
    batch = point.param("batch_size")
    return (
        f"{w.clean(point.param('writeback'))}, batch {batch_label(point)}"
        if batch is not None
        else w.clean(point.param("writeback"))
    )


def _latency_plots(number: int, points: Sequence[Point]) -> list[Plot]:
    """One plot per trigger, each with the run without writeback on its left; one scale."""
    known = [point for point in points if point.size_of(c.SWITCH_NS)]
    values = [float(v) / NS_PER_MS for point in known for v in point.samples[c.SWITCH_NS.name] if v]
    if not values:
        return []
    limits = (0.8 * min(values), 1.25 * max(values))
    off = [point for point in known if _is_off(point)]
    triggers = list(dict.fromkeys(str(point.param("writeback")) for point in known if not _is_off(point)))
    panels = [[*off, *(p for p in known if str(p.param("writeback")) == trigger)] for trigger in triggers] or [off]
    return [
        _latency_plot(f"switches-plot-{number}-{index}", members, limits)
        for index, members in enumerate(panels, start=1)
    ]


def _latency_plot(key: str, points: Sequence[Point], limits: tuple[float, float]) -> Plot:
    trigger = next((w.clean(point.param("writeback")) for point in points if not _is_off(point)), "off")

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for x, point in enumerate(points):
            for kind in range(len(KINDS)):
                _switches(axes, x, point, kind)
        axes.set_xticks(range(len(points)), ["off" if _is_off(point) else batch_label(point) for point in points])
        axes.set_xlim(-0.6, len(points) - 0.4)
        axes.set_ylim(*limits)
        plain_log_scale(axes, "y")
        axes.grid(False, axis="x")
        axes.set_ylabel("ms per switch")
        axes.set_xlabel("batch size of the writeback")
        axes.set_title(f"Writeback {trigger}" if trigger != "off" else "No writeback")
        handles, labels = axes.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=len(KINDS))

    described = "; ".join(f"{_label(point)} {w.number(point.value(m.SWITCH_LATENCY))}" for point in points)
    return plot(key, f"Switch latency in ms by kind and batch size, medians: {described}", draw)


def _switches(axes: Axes, x: int, point: Point, kind: int) -> None:
    import numpy as np

    latency, kinds = point.samples[c.SWITCH_NS.name], point.array(c.SWITCH_KIND)
    if kinds is None or kinds.size != latency.size:
        return
    values = latency[kinds == kind].astype(float) / NS_PER_MS
    if not values.size:
        return
    colour, _, marker = STYLES[kind]
    at = x + 0.25 * (kind - 1)
    # Spread evenly in order of measurement: no two dots hide each other, and the same run looks the same again.
    spread = np.linspace(-0.07, 0.07, values.size) if values.size > 1 else np.zeros(1)
    axes.plot(at + spread, values, marker, color=colour, markersize=3, alpha=0.35, mew=0)
    median = float(np.median(values))
    axes.plot([at - 0.1, at + 0.1], [median, median], color=colour, linewidth=2.2, marker=marker, markevery=[0],
              markersize=0, label=KINDS[kind])  # fmt: skip
    axes.annotate(
        w.number(median), (at + 0.1, median), xytext=(2, 0), textcoords="offset points", fontsize=8, color="black",
        va="center",
    )  # fmt: skip


def _course(point: Point, row: c.Course) -> tuple[Values, Values] | None:
    """Seconds and values of a sampled course, thinned to what can be seen; None where it is not whole."""
    import numpy as np

    clock, values = point.array(c.SAMPLE_AT), point.array(row)
    if clock is None or values is None or clock.size != values.size or not clock.size:
        return None
    kept = np.unique(np.linspace(0, clock.size - 1, num=min(clock.size, MOST_POINTS)).round().astype(np.int64))
    return clock[kept].astype(float) / MS_PER_S, values[kept].astype(float)


def _timelines(number: int, chosen: Sequence[Point]) -> list[Plot]:
    """The run without writeback and the one that wrote back most, on the same scales."""
    known = [point for point in chosen if _course(point, AVAILABLE[0][1]) is not None]
    writers = [point for point in known if not _is_off(point)]
    shown = [point for point in known if _is_off(point)]
    shown += [max(writers, key=lambda point: point.value(m.FLASH_WRITTEN) or 0.0)] if writers else []
    if not shown:
        return []
    last = max(float(seconds.max()) for point in shown for seconds, _, _, _ in _lines(point, AVAILABLE))
    tops = [
        1.15 * max((float(mib.max()) for point in shown for _, mib, _, _ in _lines(point, panel)), default=1.0) or 1.0
        for panel in PANELS
    ]
    return [
        _timeline(f"switches-time-plot-{number}-{index}", point, last, tops)
        for index, point in enumerate(shown, start=1)
    ]


def _lines(point: Point, panel: Sequence[tuple[str, c.Course, float]]) -> Iterator[tuple[Values, Values, str, int]]:
    """Seconds, MiB, name and style of each course of a panel that is known."""
    for name, source, scale in panel:
        if course := _course(point, source):
            yield course[0], course[1] / scale, name, (*AVAILABLE, *SWAPPED).index((name, source, scale))


def _timeline(key: str, point: Point, last: float, tops: Sequence[float]) -> Plot:
    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
        for axes, panel, top in zip((upper, lower), PANELS, tops, strict=True):
            for seconds, mib, name, style in _lines(point, panel):
                colour, dash, _ = STYLES[style]
                axes.plot(seconds, mib, color=colour, linestyle=dash, linewidth=1.5, label=name)
            axes.set_ylim(0, top)
            axes.set_ylabel("MiB")
        _events(upper, lower, point, tops)
        lower.set_xlim(0, 1.01 * last)
        lower.set_xlabel("s since the start")
        upper.set_title(f"Memory: {_label(point)}")
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2)

    least = point.value(m.AVAILABLE)
    caption = (
        f"Course of memory, {_label(point)}: available, taken by zram, swap used, written back; "
        f"{w.count(point.value(m.KILLED))} kills, least available {w.number(least)} MiB"
    )
    return plot(key, caption, draw, (INCHES[0], 4.2))


def _events(upper: Axes, lower: Axes, point: Point, tops: Sequence[float]) -> None:
    kills, writebacks = _times(point, c.KILL_AT), _times(point, c.WRITEBACK_AT)
    if writebacks:
        at = [0.04 * tops[1]] * len(writebacks)
        lower.plot(writebacks, at, "^", color="#444444", markersize=4.5, label="writeback")
    if kills:
        at = [0.93 * tops[0]] * len(kills)
        upper.plot(kills, at, "X", color="#a00000", markersize=6.5, mew=0, label="kill")
        for axes, top in zip((upper, lower), tops, strict=True):
            axes.vlines(kills, 0, top, color="#a00000", linewidth=0.8, alpha=0.45)


def _times(point: Point, row: c.Course) -> list[float]:
    found = point.array(row)
    return [] if found is None else (found.astype(float) / MS_PER_S).tolist()


def _survival_plot(key: str, points: Sequence[Point]) -> Plot:
    from matplotlib.ticker import MaxNLocator

    courses = [(point, course) for point in points[: len(STYLES)] if (course := _course(point, c.SAMPLE_ALIVE))]
    most = max(float(values.max()) for _, (_, values) in courses)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, (point, (seconds, values)) in enumerate(courses):
            colour, dash, _ = STYLES[index]
            # Lines that are equal for a while lie beside each other.
            shift = 0.05 * (index - (len(courses) - 1) / 2)
            axes.step(
                seconds, values + shift, where="post", color=colour, linestyle=dash, linewidth=1.8, label=_label(point)
            )
        axes.set_ylim(0, most + 0.6)
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("s since the start")
        axes.set_ylabel("apps alive")
        axes.set_title("Apps that stay alive")
        figure.legend(loc="outside lower center", ncols=2)

    told = "; ".join(f"{_label(point)}: {w.count(float(values[-1]))} at the end" for point, (_, values) in courses)
    return plot(key, f"Apps alive over time: {told}", draw)
