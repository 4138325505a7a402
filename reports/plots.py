"""How every plot of the HTML report looks: inline SVG, one small figure each, so that they reflow on a narrow screen.

Lines differ in colour, dash and marker, so that they can be told apart in grey and by the colour-blind (colours:
Okabe and Ito). Text stays text. matplotlib is imported when the first plot is drawn, not before.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from reports import wording as w

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

INCHES = (4.7, 3.3)
STYLES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", ":", "^"), ("#CC79A7", "-.", "D"))
LEGEND_COLUMNS = 4
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

# A value and the two ends of its interval, None where it has none.
Mark = tuple[float, float | None, float | None]


@dataclass(frozen=True, slots=True)
class Plot:
    """An SVG element, what it shows in words for those who cannot see it, and how to read it."""

    key: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of mark of a dot plot: its name in the legend, its style in STYLES, filled or hollow."""

    name: str
    style: int
    hollow: bool = False


def plot(key: str, caption: str, draw: Callable[[Figure], None], inches: tuple[float, float] = INCHES) -> Plot:
    """Make a figure in the report's style, let ``draw`` fill it, and export it; ``key`` is unique in the page."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(SETTINGS), warnings.catch_warnings():
        # Labels that leave no room, and signs that the font lacks, spoil a drawing and nothing else.
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=inches, layout="constrained")
        canvas = FigureCanvasSVG(figure)
        draw(figure)
        return Plot(key, _svg(canvas, key), caption)


def legend_below(figure: Figure, entries: int) -> None:
    """The legend under the axes, where it covers nothing."""
    if entries > 1:
        figure.legend(loc="outside lower center", ncols=min(entries, LEGEND_COLUMNS))


def plain_log_scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with as many plain numbers as find room; the limits must be set before."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = sorted(axes.get_xlim() if which == "x" else axes.get_ylim())
    room = 1 if which == "y" else 30
    steps = ((10, (1, 2, 3, 5, 7)), (1000 / room, (1, 2, 5)), (1e6 / room, (1, 3)))
    subs = next((subs for span, subs in steps if high <= span * low), (1,))
    axis.set_major_locator(LogLocator(base=10, subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: w.number(value, 1)))
    axis.set_minor_formatter(NullFormatter())
    if len(subs) > 1:
        axis.set_minor_locator(NullLocator())


def error_bars(marks: Sequence[Mark]) -> list[list[float]]:
    """Lengths below and above, as matplotlib wants them; 0 where there is no interval."""
    below = [0.0 if low is None else max(0.0, value - low) for value, low, _ in marks]
    above = [0.0 if high is None else max(0.0, high - value) for value, _, high in marks]
    return [below, above]


def dot_plot(
    key: str, caption: str, title: str, unit: str, series: Sequence[Series], rows: Mapping[str, Mapping[str, Mark]],
    *, log: bool = False, limits: tuple[float, float] | None = None,
) -> Plot:  # fmt: skip
    """One row per thing that is compared, one mark per series with its interval; the first row is on top.

    ``limits`` of the values, for plots that share their scale.
    """
    longest = max((len(line) for label in rows for line in label.split("\n")), default=0)
    height = 1.35 + len(rows) * max(0.3, 0.11 * len(series))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, each in enumerate(series):
            shift = 0.16 * (index - (len(series) - 1) / 2)
            found = [(y + shift, marks[each.name]) for y, marks in enumerate(rows.values()) if each.name in marks]
            _dots(axes, each, [y for y, _ in found], [mark for _, mark in found])
        axes.set_yticks(range(len(rows)), list(rows), fontsize=8.5 if longest <= 22 else 8)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.set_xlabel(unit)
        axes.set_title(title, loc="left")
        if limits is not None:
            axes.set_xlim(*limits)
        if log:
            plain_log_scale(axes, "x")
        elif limits is None:
            axes.set_xlim(left=0)
        legend_below(figure, len(series))

    return plot(key, caption, draw, (INCHES[0], max(2.0, height)))


def _dots(axes: Axes, series: Series, ys: Sequence[float], marks: Sequence[Mark]) -> None:
    colour, _, marker = STYLES[series.style % len(STYLES)]
    axes.errorbar(
        [value for value, _, _ in marks], ys, xerr=error_bars(marks), linestyle="none", color=colour, marker=marker,
        markersize=5.5, markerfacecolor="white" if series.hollow else colour, elinewidth=1.3, capsize=2.5,
        label=series.name,
    )  # fmt: skip


def _svg(canvas: FigureCanvasSVG, key: str) -> str:
    """The bare svg element; ids get the plot's name in front because several share one page."""
    out = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    # Not savefig: it draws everything twice.
    canvas.print_svg(out, metadata=nothing)  # type: ignore[no-untyped-call]
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
