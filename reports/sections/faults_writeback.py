"""Whether faults are delayed while a writeback runs: by where the page was and by batch size, against quiet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from base.kernel import DEFAULT_BATCH_SIZE
from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis, Point, batch_rank, find, group
from reports.cells import (
    OVERLAP_NOTE,
    batch_label,
    latency_and_times,
    latency_fields,
    latency_mark,
    microseconds,
    overhead_notes,
    quantiles_differ,
    samples_field,
    slot_label,
    times,
    times_fields,
)
from reports.plots import STYLES, Plot, error_bars, legend_below, plain_log_scale, plot
from reports.sections.faults import slot_rank
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build, build_for_mail

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = ("p50", "p99")
# A slow-down below this is told as none, one below the next as small.
NO_DELAY, SMALL_DELAY = 1.10, 1.50
QUIET = "quiet"

SHOWS: Shows = {t.FAULTS_WRITEBACK: ()}
HOW = (
    "Faults while a long writeback runs and while none does, taken in turns so that drift falls on both alike. "
    "Dashed lines: p50 and p99 of the quiet phone. Bars: where the true value lies. All plots share one scale; lower "
    "is better."
)
INTRO = (
    "Quiet: no writeback ran. Batch: one ran with that writeback_batch_size. In flight: the page itself was being "
    "written at that moment. p99: 99 of 100 faults took at most this long; in brackets where the true value lies (95 "
    "%)."
)
TIMES_INTRO = (
    "Each quantile during a writeback, divided by the same quantile of the quiet phone. 1 means not delayed. A page "
    "in flight is still in RAM when the fault comes, so it is compared with RAM."
)


def section(analysis: Analysis) -> Section | None:
    """The test of faults while writeback runs, or None where it was not run."""
    points = analysis.of(t.FAULTS_WRITEBACK)
    if not points:
        return None
    varied = ("slot", "batch_size", "writeback")
    panels = [(params, sorted(members, key=_rank)) for params, members in group(points, without=varied)]
    tables = []
    for number, (params, members) in enumerate(panels, start=1):
        what = f": {w.params(params)}" if params else ""
        tables.append(_table(number, what, members))
        if any(_base(members, point) for point in members):
            tables.append(_times_table(number, what, members))
    return Section(
        key="faults-writeback",
        title="Page faults while writeback runs",
        how=HOW,
        measured="page faults while writeback runs",
        tables=tables,
        findings=[sentence for _, members in panels for sentence in _findings(members)],
        mail=lambda doubts: [
            build_for_mail(_mail_title(params), _mail_fields(members), members, doubts) for params, members in panels
        ],
        draw=lambda: [each for number, (_, members) in enumerate(panels, start=1) for each in _plots(members, number)],
    )


def _rank(point: Point) -> tuple[tuple[int, str], bool, float]:
    return slot_rank(point), not _is_quiet(point), batch_rank(point)


def _is_quiet(point: Point) -> bool:
    return bool(point.param("writeback") == QUIET)


def _condition(point: Point) -> str:
    return QUIET if _is_quiet(point) else f"batch {batch_label(point)}"


def _base(points: Sequence[Point], point: Point) -> Point | None:
    """The quiet record to compare with; None for a quiet record itself and where there is none."""
    if _is_quiet(point):
        return None
    slot = "ram" if point.param("slot") == "in_flight" else point.param("slot")
    return find(points, slot=slot, writeback=QUIET)


def _short_condition(point: Point) -> str:
    return QUIET if _is_quiet(point) else batch_label(point)


ROW_FIELDS: list[Field[Point]] = [
    Field(Column("page was in", numeric=False), slot_label, Column("slot", numeric=False)),
    Field(Column("while", numeric=False), _condition, Column("batch"), _short_condition),
]


def _mail_title(params: Mapping[str, Any]) -> str:
    what = f", {w.params(params)}" if params else ""
    return f"Page fault in us while writeback runs (x: against quiet; ~: intervals overlap){what}"


def _mail_fields(points: Sequence[Point]) -> list[Field[Point]]:
    against_quiet = latency_and_times(lambda point: _base(points, point), ("p50", "p99", "p99.9"))
    return [*ROW_FIELDS, samples_field(), *against_quiet]


def _table(number: int, what: str, points: Sequence[Point]) -> Table:
    fields = [*ROW_FIELDS, samples_field(), *latency_fields()]
    title = f"Time of one page fault, quiet and while a writeback ran, in µs{what}"
    return build(
        f"faults-writeback-{number}", title, INTRO, fields, points, [*_proofs(points), *overhead_notes(points)]
    )


def _times_table(number: int, what: str, points: Sequence[Point]) -> Table:
    fields = [*ROW_FIELDS, *times_fields(lambda point: _base(points, point))]
    running = [point for point in points if _base(points, point)]
    title = f"Times as long as on the quiet phone{what}"
    return build(f"faults-writeback-times-{number}", title, TIMES_INTRO, fields, running, [OVERLAP_NOTE])


def _proofs(points: Sequence[Point]) -> list[str]:
    """How sure it is that pages were in flight when they were touched."""
    shares = {
        batch_label(point): share
        for point in points
        if isinstance(share := point.result.facts.get("share_in_flight"), int | float)
    }
    if not shares:
        return []
    percent = {batch: f"{100 * share:.0f} %" for batch, share in shares.items()}
    if len(set(percent.values())) == 1:
        told = next(iter(percent.values()))
    else:
        told = w.listing(f"{share} (batch {batch})" for batch, share in percent.items())
    return [f"In flight is proven for {told} of these pages; the others may still have waited for their turn."]


def _findings(points: Sequence[Point]) -> list[str]:
    sentences: list[str] = []
    for slot, words in (
        ("ram", "a page in RAM"),
        ("written_back", "a written-back page"),
        ("in_flight", "a page in flight"),
    ):
        running = [p for p in points if p.param("slot") == slot and _base(points, p)]
        if not running:
            continue
        chosen = next((p for p in running if p.param("batch_size") == DEFAULT_BATCH_SIZE), running[-1])
        sentence = _sentence(chosen, _base(points, chosen), words, first=not sentences)
        sentences += [sentence] if sentence else []
    return sentences


def _sentence(point: Point, base: Point | None, words: str, first: bool) -> str | None:
    median, tail = times(point, base, "p50"), times(point, base, "p99")
    if median is None or base is None:
        return None
    batch = point.param("batch_size")
    with_batch = f" with batch {w.clean(batch)}" if batch is not None else ""
    who = f"While a writeback{with_batch} ran, a fault on {words}" if first else f"A fault on {words}"
    against = " as one in RAM on the quiet phone" if point.param("slot") == "in_flight" else ""
    figures = f"{w.number(median, 2)} times as long{against} at the median"
    figures += f" and {w.number(tail, 2)} times at p99" if tail is not None else ""
    return f"{who} took {figures}: {_delay_words(point, base)}."


def _delay_words(point: Point, base: Point) -> str:
    """Whether faults are delayed; a difference that is not sure counts as none."""
    median, tail = (
        times(point, base, name) or 1.0 if quantiles_differ(point, base, name) else 1.0 for name in ("p50", "p99")
    )
    worst = max(median, tail)
    if worst < NO_DELAY:
        return "no sure delay"
    if median < NO_DELAY:
        return "most faults are not delayed, the slowest ones are"
    return "delayed a little" if worst < SMALL_DELAY else "delayed"


def _plots(points: Sequence[Point], number: int) -> list[Plot]:
    """One plot per slot, all on the same vertical scale."""
    ends = [mark for point in points for name in DRAWN if (mark := latency_mark(point, m.FAULT_LATENCY, name))]
    low = 0.55 * min((low if low is not None else value for value, low, _ in ends), default=1.0)
    high = 1.4 * max((high if high is not None else value for value, _, high in ends), default=10.0)
    slots = dict.fromkeys(str(point.param("slot")) for point in points)
    plots: list[Plot] = []
    for slot in slots:
        members = [point for point in points if str(point.param("slot")) == slot]
        base = next((b for point in members if (b := _base(points, point))), None)
        plots.append(_plot(members, base, f"faults-writeback-plot-{number}-{len(plots) + 1}", (low, high)))
    return plots


def _plot(points: Sequence[Point], base: Point | None, key: str, limits: tuple[float, float]) -> Plot:
    slot = slot_label(points[0])
    title = f"Page {'in flight' if slot == 'in flight' else f'in {slot}'}"

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, name in enumerate(DRAWN):
            _line(axes, points, name, index)
            quiet = microseconds(base, name) if base else None
            if quiet is not None:
                axes.axhline(quiet, color=STYLES[index][0], linewidth=1.0, linestyle=(0, (4, 3)), alpha=0.7)
        axes.set_xticks(range(len(points)), [QUIET if _is_quiet(point) else batch_label(point) for point in points])
        axes.set_xlim(-0.5, len(points) - 0.5)
        axes.set_ylim(*limits)
        plain_log_scale(axes, "y")
        axes.grid(False, axis="x")
        axes.set_ylabel("µs per fault")
        axes.set_xlabel("batch size of the writeback that ran")
        axes.set_title(title)
        legend_below(figure, len(DRAWN))

    described = "; ".join(
        f"{_condition(point)}: " + ", ".join(f"{name} {w.number(microseconds(point, name))}" for name in DRAWN)
        for point in points
    )
    return plot(key, f"{title}: µs per fault, quiet and by batch size of the running writeback: {described}", draw)


def _line(axes: Axes, points: Sequence[Point], name: str, index: int) -> None:
    colour, dash, marker = STYLES[index]
    marks = [(x, mark) for x, point in enumerate(points) if (mark := latency_mark(point, m.FAULT_LATENCY, name))]
    axes.errorbar(
        [x for x, _ in marks], [value for _, (value, _, _) in marks], yerr=error_bars([mark for _, mark in marks]),
        color=colour, linestyle=dash, marker=marker, markersize=4.5, linewidth=1.4, elinewidth=1.3, capsize=2.5,
        label=name,
    )  # fmt: skip
    for x, (value, _, _) in marks:
        # The upper line is labelled above, the lower one below, so that no label lies between them.
        axes.annotate(
            w.number(value), (x, value), xytext=(0, 6 if index else -12), textcoords="offset points", fontsize=8,
            color=colour, ha="center",
        )  # fmt: skip
