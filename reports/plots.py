"""The plots of the HTML report as inline SVG: one small figure each, so that they reflow on a narrow screen.

Lines differ in colour, dash and marker, so that they can be told apart in grey and by the colour-blind (colours:
Okabe and Ito). Text stays text. matplotlib is imported when the first plot is drawn, not before.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports import wording as w
from reports.analysis import LATENCY, MIB_PER_S, Analysis, Panel, Point
from reports.tables import NS_PER_US, panel_title

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES = (4.7, 3.3)
STYLES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", ":", "^"), ("#CC79A7", "-.", "D"))
SETTINGS: Any = {
    # A dollar sign in a phone's name is no formula.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "reports",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "grid.color": "#d5d5d5",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """An SVG element, what it shows in words for those who cannot see it, and how to read it."""

    key: str
    svg: str
    caption: str


def throughput_plots(analysis: Analysis) -> list[Plot]:
    """Throughput against batch size, one plot per panel, all on the same vertical scale."""
    values = [v for panel in analysis.panels for p in panel.points for v in p.result.metrics[MIB_PER_S].values]
    top = 1.08 * max(values, default=1.0)
    return [
        _throughput_plot(panel, f"throughput-plot-{number}", top) for number, panel in enumerate(analysis.panels, 1)
    ]


def fault_plots(analysis: Analysis) -> list[Plot]:
    """Latency by percentile, RAM against written-back, one plot per further combination of parameters."""
    return [_fault_plot(points, f"fault-plot-{number}") for number, points in enumerate(analysis.faults, 1)]


def _throughput_plot(panel: Panel, key: str, top: float) -> Plot:
    import matplotlib as mpl

    with mpl.rc_context(SETTINGS):
        figure, axes = _figure()
        batches: set[float] = set()
        lines = panel.by_order()
        for index, (order, points) in enumerate(lines.items()):
            colour, dash, marker = STYLES[index % len(STYLES)]
            # Lines of the same batch stand side by side, else their intervals would cover each other.
            shift = 1.0 + 0.07 * (index - (len(lines) - 1) / 2)
            xs = [_batch(p) * shift for p in points]
            batches.update(map(_batch, points))
            # Single values stand outside of their line's bars, which would hide them.
            aside = 1.09 if index and index >= len(lines) / 2 else 1 / 1.09
            for x, point in zip(xs, points, strict=True):
                values = point.result.metrics[MIB_PER_S].values
                axes.plot([x * aside] * len(values), values, "o", color=colour, markersize=3.6, alpha=0.4, mew=0)
            medians = [p.median(MIB_PER_S) or 0.0 for p in points]
            label = f"{w.clean(order)} slot order" if order else None
            axes.errorbar(
                xs, medians, yerr=_bars(points), color=colour, linestyle=dash, marker=marker, markersize=4.5,
                linewidth=1.4, elinewidth=1.1, capsize=2.5, label=label,
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        _batch_ticks(axes, sorted(batches), any(p.result.params.get("batch_size") is None for p in panel.points))
        axes.set_ylim(0, top)
        axes.set_ylabel("MiB/s")
        axes.set_title(panel_title(panel))
        if len(lines) > 1:
            figure.legend(loc="outside lower center", ncols=len(lines))
        svg = _svg(figure, key)
    described = ", ".join(
        f"batch {w.param('batch_size', p.result.params.get('batch_size'))} {w.number(p.median(MIB_PER_S))}"
        for p in panel.points
    )
    return Plot(key, svg, f"Writeback throughput in MiB/s by batch size, {panel_title(panel)}: {described}")


def _fault_plot(points: Sequence[Point], key: str) -> Plot:
    import matplotlib as mpl

    with mpl.rc_context(SETTINGS):
        figure, axes = _figure()
        largest = max(p.samples[LATENCY].size for p in points)
        for index, point in enumerate(points):
            colour, dash, marker = _slot_style(point, index)
            x, y = _percentile_curve(point.samples[LATENCY])
            slot = w.param("slot", point.result.params.get("slot", "not stated"))
            axes.plot(
                x, y, color=colour, linestyle=dash, linewidth=1.6, label=f"page in {slot}", drawstyle="steps-post"
            )
            _quantile_marks(axes, point, colour, marker)
        axes.set_xscale("log")
        axes.set_yscale("log")
        _percentile_ticks(axes, int(largest))
        _plain_latency_ticks(axes)
        axes.set_ylabel("µs per fault")
        axes.set_xlabel("share of faults that took at most this long")
        rest = w.params(points[0].result.params, without=("slot",))
        axes.set_title("Page fault latency" + (f", {rest}" if rest else ""))
        figure.legend(loc="outside lower center", ncols=len(points))
        svg = _svg(figure, key)
    described = "; ".join(_fault_words(point) for point in points)
    return Plot(key, svg, f"Page fault latency by percentile, logarithmic: {described}")


def _fault_words(point: Point) -> str:
    named = [q for q in point.quantiles[LATENCY] if q.value is not None]
    told = ", ".join(f"{q.name} {w.number((q.value or 0.0) / NS_PER_US)}" for q in named)
    return f"{w.param('slot', point.result.params.get('slot', 'not stated'))}: {told} µs"


def _figure() -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _bars(points: Sequence[Point]) -> list[list[float]]:
    below, above = [], []
    for point in points:
        summary = point.figures[MIB_PER_S]
        median, interval = summary.median or 0.0, summary.interval
        below.append(median - interval.low if interval else 0.0)
        above.append(interval.high - median if interval else 0.0)
    return [below, above]


def _batch(point: Point) -> float:
    """Without the attribute the kernel writes one page at a time, as batch 1 does."""
    batch = point.result.params.get("batch_size")
    return float(batch) if isinstance(batch, int | float) and batch > 0 else 1.0


def _batch_ticks(axes: Axes, batches: Sequence[float], without_attribute: bool) -> None:
    labels = [w.count(batch) for batch in batches]
    axes.set_xticks(batches, labels)
    axes.minorticks_off()
    axes.grid(False, axis="x")
    if len(batches) == 1:
        axes.set_xlim(batches[0] / 2, batches[0] * 2)
    if without_attribute:
        axes.set_xlabel("one page at a time (no writeback_batch_size)")
    else:
        axes.set_xlabel("batch size (pages in flight at most)")


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
    for found in point.quantiles[LATENCY]:
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


def _plain_latency_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: w.number(value, 1)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _slot_style(point: Point, index: int) -> tuple[str, str, str]:
    """RAM and storage look the same in every plot, also where one of them is missing."""
    known = ("ram", "written_back")
    slot = point.result.params.get("slot")
    return STYLES[known.index(slot) if slot in known else max(index, len(known)) % len(STYLES)]


def _svg(figure: Figure, key: str) -> str:
    """The bare svg element; ids get the plot's name in front because several share one page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id|clip-path|xlink:href|href)="(url\()?#?([\w.-]+)', rf'\1="\2{key}-\3', svg)
    svg = re.sub(rf'((?:xlink:)?href=")({key}-)', r"\1#\2", svg).replace(f"url({key}-", f"url(#{key}-")
    svg = re.sub(
        r'^<svg[^>]*?(viewBox="[^"]*")[^>]*>',
        r'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" aria-hidden="true" \1>',
        svg,
    )
    return svg
