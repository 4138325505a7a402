"""A comparison as one HTML page that needs nothing else: no network, no other file, no script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from base.text import clean as printable
from reports import wording as w
from reports.comparison import words
from reports.comparison.compare import Comparison
from reports.comparison.tables import (
    difference_table,
    grouped,
    information_table,
    missing_table,
    shared,
    verdict_tables,
)
from reports.comparison.verdicts import Compared, Verdict
from reports.html import template
from reports.plots import INCHES, Plot, plain_log_scale, plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour and marker, so that they can be told apart in grey and by the colour-blind (Okabe and Ito).
LOOKS = {
    Verdict.worse: ("#D55E00", "v"),
    Verdict.better: ("#0072B2", "^"),
    Verdict.same: ("#009E73", "s"),
    Verdict.undecided: ("#707070", "o"),
    Verdict.disturbed: ("#CC79A7", "x"),
}
ROW_INCHES = 0.24
# Ratios that differ by less are shown on ticks at even steps: powers of ten say nothing there.
CLOSE = 4


def render_html(comparison: Comparison) -> str:
    """The page. Every string is escaped: names and messages come from phones."""
    page = template("compare.html.j2").render(
        title=words.title(comparison),
        findings=words.findings(comparison),
        alarms=words.alarms(comparison),
        problems=[w.clean(problem) for problem in comparison.problems],
        doubts=words.doubts(comparison),
        how=words.how(comparison),
        differs=difference_table(comparison),
        verdicts=list(zip(verdict_tables(comparison), ratio_plots(comparison), strict=True)),
        missing=missing_table(comparison),
        information=information_table(comparison),
    )
    return printable(page)


def ratio_plots(comparison: Comparison) -> list[Plot | None]:
    """Ratios with their intervals, one plot per table of verdicts; None where no ratio is known."""
    return [
        _ratio_plot(f"ratios-{number}", [each for each in group if each.ratio], comparison.relevant)
        for number, group in enumerate(grouped(comparison), 1)
    ]


def _ratio_plot(key: str, group: Sequence[Compared], relevant: float) -> Plot | None:
    if not group:
        return None
    figure = group[0].figure
    hidden = shared([each.figure.pair.params for each in group])
    labels = [
        " ".join(filter(None, (w.params(each.figure.pair.params, without=hidden), each.figure.quantile))) or "all"
        for each in group
    ]
    described = "; ".join(
        f"{label} {w.number(each.ratio)} {each.verdict.value}" for label, each in zip(labels, group, strict=True)
    )
    title = f"{words.capital(words.metric_words(figure.metric))}, CAND over BASE"

    def draw(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        axes.axvspan(1 / (1 + relevant), 1 + relevant, color="#e8e8e8", lw=0)
        axes.axvline(1.0, color="#555555", lw=0.8)
        for y, each in enumerate(group):
            _mark(axes, y, each)
        axes.set_yticks(range(len(group)), labels, fontsize=8)
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.grid(False, axis="y")
        _ratio_ticks(axes)
        axes.set_xlabel(f"ratio ({figure.better} is better; grey: less than {words.percent(relevant)})")
        axes.set_title(title)
        handles, names = axes.get_legend_handles_labels()
        found = dict(zip(names, handles, strict=True))
        canvas.legend(list(found.values()), list(found), loc="outside lower center", ncols=len(found))

    height = max(2.0, 1.3 + ROW_INCHES * len(group))
    return plot(key, f"{title}: {described}", draw, (INCHES[0] * 1.3, height))


def _ratio_ticks(axes: Axes) -> None:
    """Logarithmic, so that half and double are equally far from 1; plain numbers, also where all ratios are close."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    plain_log_scale(axes, "x")
    low, high = axes.get_xlim()
    if high < CLOSE * low:
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())


def _mark(axes: Axes, y: int, each: Compared) -> None:
    colour, marker = LOOKS[each.verdict]
    if each.interval is not None:
        axes.plot(each.interval, [y, y], color=colour, lw=1.6)
    axes.plot([each.ratio or 1.0], [y], color=colour, marker=marker, ls="none", ms=5.5, label=each.verdict.value)
