"""Whether faults are delayed while a writeback runs: by where the page was and by batch size, against quiet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from base.kernel import DEFAULT_BATCH_SIZE
from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import (
    NO_DIFFERENCE,
    batch_label,
    latency_fields,
    mark_of,
    overhead_notes,
    samples_field,
    shared_words,
    short_cell,
    short_of,
    slot_label,
    times,
    times_fields,
    turns_field,
    varying_fields,
)
from reports.plots import STYLES, Plot, error_bars, legend_below, plain_log_scale, plot
from reports.point import Point, batch_rank, decided, find, group, ratio
from reports.sections.faults import slot_rank
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = ("p50", "p99")
QUIET, BUSY = "quiet", "cpu"
VARIED = ("slot", "batch_size", "writeback")
SLOTS = (("written_back", "written back"), ("ram", "in RAM"), ("in_flight", "in flight"))

SHOWS: Shows = {t.FAULTS_WRITEBACK: (m.WRITES_AHEAD,)}
HOW = "Dashed lines: p50 and p99 of the quiet phone. All plots share one scale; lower is better."
INTRO = (
    "Quiet: no writeback ran. Batch: one ran with that writeback_batch_size. In flight: the page itself was being "
    "written at that moment; it is still in RAM. Victim: such a page while nothing is written. Busy CPU: no writeback, "
    "but a thread that takes as much CPU time as the writer. x quiet, x busy CPU: how many times as long as the same "
    "page there, and in flight as a victim. Writes ahead: in flight at the backing device when the fault began."
)


def section(analysis: Analysis) -> Section | None:
    """The test of faults while writeback runs, or None where it was not run."""
    points = analysis.of(t.FAULTS_WRITEBACK)
    if not points:
        return None
    panels = [sorted(members, key=_rank) for _, members in group(points, without=VARIED)]
    return Section(
        key="faults-writeback",
        title="Faults while writeback runs",
        how=HOW,
        table=_table(panels),
        findings=[sentence for members in panels for sentence in _findings(members)],
        draw=lambda: [each for number, members in enumerate(panels, start=1) for each in _plots(members, number)],
    )


def batches(analysis: Analysis) -> list[Point]:
    """Return the faults on written-back pages while a writeback ran, batch sizes ascending."""
    points = (p for p in analysis.of(t.FAULTS_WRITEBACK) if p.param("slot") == "written_back")
    return sorted((p for p in points if _is_running(p)), key=batch_rank)


def _rank(point: Point) -> tuple[tuple[int, str], bool, float]:
    return slot_rank(point), _is_running(point), batch_rank(point)


def _is_quiet(point: Point) -> bool:
    return bool(point.param("writeback") == QUIET)


def _is_running(point: Point) -> bool:
    return point.param("writeback") not in (QUIET, BUSY)


def _condition(point: Point) -> str:
    return f"batch {batch_label(point)}" if _is_running(point) else _short_condition(point)


def _short_condition(point: Point) -> str:
    return batch_label(point) if _is_running(point) else QUIET if _is_quiet(point) else "busy CPU"


def _base(points: Sequence[Point], point: Point, control: str = QUIET) -> Point | None:
    """The record of this control to compare with; None for that record itself and where there is none."""
    if point.param("writeback") == control:
        return None
    slot = "victim" if point.param("slot") == "in_flight" else point.param("slot")
    return find(points, slot=slot, writeback=control)


def _busy(points: Sequence[Point], point: Point) -> Point | None:
    """The same beside a thread that only burns CPU time, to compare a running writeback with."""
    return _base(points, point, BUSY) if _is_running(point) else None


def _table(panels: Sequence[Sequence[Point]]) -> Table:
    base_of = {id(point): _base(members, point) for members in panels for point in members}
    busy_of = {id(point): _busy(members, point) for members in panels for point in members}
    points = [point for members in panels for point in members]
    fields: list[Field[Point]] = [
        *varying_fields(points, VARIED),
        Field(Column("page was in", numeric=False), slot_label),
        Field(Column("while", numeric=False), _condition),
        samples_field(),
        turns_field(m.FAULT_LATENCY, "p50"),
        *latency_fields(("p50", "p99", "max")),
        *times_fields(lambda point: base_of[id(point)], "quiet", DRAWN),
        *times_fields(lambda point: busy_of[id(point)], "busy CPU", DRAWN[:1]),
        Field(Column("writes ahead", wrap=6), short_of(m.WRITES_AHEAD)),
    ]
    title = f"Time of one page fault, quiet and while a writeback ran, in µs{shared_words(points, VARIED)}"
    notes = [*_proofs(points), *_missed(points), *overhead_notes(points)]
    return build("faults-writeback-table", title, INTRO, fields, points, notes)


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


def _missed(points: Sequence[Point]) -> list[str]:
    """How many pages were touched after their write, and how many before it began, of all that were to be in flight."""
    told = [
        f"{w.count(late)} and {w.count(waiting)} (batch {batch_label(point)})"
        for point in points
        if isinstance(late := point.result.facts.get("late"), int)
        and isinstance(waiting := point.result.facts.get("waiting"), int)
    ]
    return [f"Touched too late, and left out; touched before their write began: {w.listing(told)}."] if told else []


def _findings(points: Sequence[Point]) -> list[str]:
    """Tell what rounds decide: of written-back pages by batch size, per kind of page at the kernel's own one."""
    queue = _queue(points)
    told = [queue] if queue else []
    for slot, words in SLOTS:
        running = [p for p in points if p.param("slot") == slot and _is_running(p) and _base(points, p)]
        if running:
            chosen = find(running, batch_size=DEFAULT_BATCH_SIZE) or running[-1]
            said = _delay(chosen, _base(points, chosen))
            batch = f"batch {batch_label(chosen)}" if chosen.param("batch_size") is not None else "meanwhile"
            told += [f"{words}, {batch} against quiet: {said}."] if said else []
    return told


def _queue(points: Sequence[Point]) -> str:
    """How much longer a read from storage takes at each batch size, and behind how many writes; empty if untold."""
    running = sorted((p for p in points if p.param("slot") == "written_back" and _is_running(p)), key=batch_rank)
    longer: list[str] = []
    alike: list[str] = []
    for point in running:
        found = ratio(point, _base(points, point), m.FAULT_LATENCY, "p50")
        says = decided(found)
        if found is None or says is None:
            continue
        ahead = short_cell(point, m.WRITES_AHEAD)
        behind = f" behind {ahead} writes" if ahead != w.MISSING else ""
        said = f"batch {batch_label(point)} {times(found)}{behind}"
        (longer if says else alike).append(said)
    # What could be told comes first: a mail has room for that.
    told = [", ".join(longer)] if longer else []
    told += [f"{NO_DIFFERENCE} at {', '.join(alike)}"] if alike else []
    return f"written back, p50 against quiet: {'; '.join(told)}." if told else ""


def _delay(point: Point, base: Point | None) -> str:
    """How many times as long, at the median and at p99; empty where the rounds are too few to say."""
    median, tail = (ratio(point, base, m.FAULT_LATENCY, name) for name in DRAWN)
    at_median, at_tail = decided(median), decided(tail)
    if median is None or at_median is None:
        return ""
    if not at_median and not at_tail:
        return f"{NO_DIFFERENCE}, {times(median)}"
    said = times(median) if at_median else f"{NO_DIFFERENCE} at p50"
    if tail is not None and at_tail is not None:
        said += f", {times(tail)} at p99" if at_tail else f", {NO_DIFFERENCE} at p99"
    return said


def _plots(points: Sequence[Point], number: int) -> list[Plot]:
    """One plot per slot, all on the same vertical scale."""
    ends = [mark for point in points for name in DRAWN if (mark := mark_of(point, m.FAULT_LATENCY, name))]
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
            quiet = mark_of(base, m.FAULT_LATENCY, name) if base else None
            if quiet is not None:
                axes.axhline(quiet[0], color=STYLES[index][0], linewidth=1.0, linestyle=(0, (4, 3)), alpha=0.7)
        axes.set_xticks(range(len(points)), [_short_condition(point) for point in points])
        axes.set_xlim(-0.5, len(points) - 0.5)
        axes.set_ylim(*limits)
        plain_log_scale(axes, "y")
        axes.grid(False, axis="x")
        axes.set_ylabel("µs per fault")
        axes.set_xlabel("batch size of the writeback that ran")
        axes.set_title(title)
        legend_below(figure, len(DRAWN))

    described = "; ".join(
        f"{_condition(point)}: " + ", ".join(f"{name} {short_cell(point, m.FAULT_LATENCY, name)}" for name in DRAWN)
        for point in points
    )
    return plot(key, f"{title}: µs per fault, quiet and by batch size of the running writeback: {described}", draw)


def _line(axes: Axes, points: Sequence[Point], name: str, index: int) -> None:
    colour, dash, marker = STYLES[index]
    marks = [(x, mark) for x, point in enumerate(points) if (mark := mark_of(point, m.FAULT_LATENCY, name))]
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
