"""What a cell or a sentence says of a point: a figure with its interval, and its ratio to another point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from base.units import NS_PER_US
from records import metrics as m
from records.intervals import FEWEST_FOR_WORDS, FEWEST_TURNS, RELEVANT, Ratio
from records.model import Caveat
from reports import wording as w
from reports.plots import Mark
from reports.point import Point, batch_rank, decided, ratio
from reports.stats import SHARES
from reports.tables import Column, Field

COSTS = (m.WALL, m.SYS_CPU, m.CPU_ALL)
"""the metrics that ``cost_fields`` shows"""
QUANTILES = (*SHARES, "max")
HOW_TO_READ = (
    f"A figure is the median over turns; in brackets the interval that holds it with 95 % (94 % with {FEWEST_TURNS} "
    "turns, none with fewer) within this run. n: turns, of those made where other work disturbed some. x: formed round "
    "by round, so that what a round has in common cancels. A difference is told in words if its whole interval lies "
    f"beyond {100 * RELEVANT:.0f} %, out of at least {FEWEST_FOR_WORDS} rounds."
)
DISTURBED = "disturbed"
NO_DIFFERENCE = "no difference could be told"
# CPU time is counted in ticks of the scheduler: less than one of them is noise.
_TICK_S = 0.01
_IN_TICKS = (m.USER_CPU, m.SYS_CPU, m.CPU_BUSY)


def scale_of(metric: m.Quantity) -> float:
    """What a metric's values are multiplied with where people read them: latencies of faults are shown in µs."""
    return 1 / NS_PER_US if metric.unit == "ns" else 1.0


def batch_label(point: Point) -> str:
    """The batch size, or that this kernel has no such attribute."""
    return w.param("batch_size", point.param("batch_size"))


def first_point(points: Sequence[Point]) -> Point:
    """What ratios of a batch sweep refer to: batch 1, or the smallest batch there is."""
    return next((p for p in points if p.param("batch_size") == 1), min(points, key=batch_rank))


def figure_cell(point: Point, metric: m.Quantity, quantile: str | None = None, *, gap: str = " ") -> str:
    """A figure with its interval; of a point without an undisturbed turn the word for it."""
    mark = mark_of(point, metric, quantile)
    if mark is None:
        measured = metric.name in point.result.metrics or metric.name in point.result.raw
        return DISTURBED if measured and 0 < point.disturbed == len(point.result.turns) else w.MISSING
    return f"< {_TICK_S}" if metric in _IN_TICKS and mark[0] < _TICK_S else w.bounded(*mark, gap=gap)


def short_cell(point: Point, metric: m.Quantity, quantile: str | None = None) -> str:
    """The same without the interval, which still decides the digits."""
    value = figure_cell(point, metric, quantile).partition(" [")[0]
    return w.MISSING if value == DISTURBED else value


def figure_of(metric: m.Quantity, quantile: str | None = None) -> Callable[[Point], str]:
    """Make a cell with a figure, and its interval on a second line."""
    return lambda point: figure_cell(point, metric, quantile, gap="\n")


def short_of(metric: m.Quantity, quantile: str | None = None) -> Callable[[Point], str]:
    """Make a cell with a figure and no interval."""
    return lambda point: short_cell(point, metric, quantile)


def count_of(metric: m.Quantity) -> Callable[[Point], str]:
    """Make a cell with a counter."""
    return lambda point: w.count(point.value(metric))


def mark_of(point: Point, metric: m.Quantity, quantile: str | None = None) -> Mark | None:
    """A figure with the ends of its interval, as people read it; None where there is none."""
    found = point.figure(metric, quantile)
    if found is None or found.value is None:
        return None
    scale, bounds = scale_of(metric), found.interval
    low, high = (bounds.low * scale, bounds.high * scale) if bounds else (None, None)
    return found.value * scale, low, high


def told(point: Point, metric: m.Quantity, quantile: str | None = None) -> str:
    """A figure with its unit and, where it has one, its interval: ``49.8 MiB/s [46.3, 50.3]``.

    Where other work disturbed too many turns that stands beside it.
    """
    value, *interval = figure_cell(point, metric, quantile).partition(" [")
    unit = "µs" if metric.unit == "ns" else metric.unit
    return f"{value} {w.clean(unit)}{''.join(interval)}{spoilt(point)}"


def spoilt(point: Point) -> str:
    """What stands beside a figure in a sentence where other work disturbed too many turns; else nothing."""
    too_many = Caveat.disturbed in point.caveats
    return f" ({point.disturbed} of {len(point.result.turns)} turns disturbed)" if too_many else ""


def rate_field(gap: str = "\n") -> Field[Point]:
    """Writeback throughput with its interval."""
    return Field(Column("MiB/s"), lambda point: figure_cell(point, m.THROUGHPUT, gap=gap))


def turns_field(metric: m.Quantity, quantile: str | None = None) -> Field[Point]:
    """How many turns or values a figure rests on, and out of how many, where some were disturbed."""

    def cell(point: Point) -> str:
        found = point.figure(metric, quantile)
        if found is None:
            return w.MISSING
        return f"{found.n}/{len(point.result.turns)}" if point.disturbed else str(found.n)

    return Field(Column("n"), cell)


def samples_field(metric: m.Quantity = m.FAULT_LATENCY) -> Field[Point]:
    """The number of samples."""
    return Field(Column("samples"), lambda point: str(point.size_of(metric)))


def cost_fields() -> list[Field[Point]]:
    """What a writeback costs in time and CPU."""
    return [
        Field(Column("real s", wrap=8), short_of(m.WALL)),
        Field(Column("sys s", wrap=8), short_of(m.SYS_CPU)),
        Field(Column("CPU µs/page", wrap=7), short_of(m.CPU_ALL)),
    ]


def word_of(key: str) -> Callable[[Point], str]:
    """Make a cell with a parameter in words."""
    return lambda point: w.param(key, point.result.params.get(key, "not stated"))


def slot_label(point: Point) -> str:
    """Where the page was before the fault."""
    return w.param("slot", point.result.params.get("slot", "not stated"))


def varying_fields(points: Sequence[Point], but: Iterable[str]) -> list[Field[Point]]:
    """A column for each parameter in which points differ, but those named."""
    keys = dict.fromkeys(key for point in points for key in point.result.params)
    varied = [key for key in keys if key not in set(but) and _differs(points, key)]
    return [Field(Column(w.param_words(key), numeric=False, wrap=14), word_of(key)) for key in varied]


def case_field(points: Sequence[Point], but: Iterable[str]) -> list[Field[Point]]:
    """The same in one column, where several would leave no room for figures."""
    varying = varying_fields(points, but)
    head = ", ".join(each.column.head for each in varying)
    column = Column(head, numeric=False, wrap=15)
    return [Field(column, lambda point: ", ".join(each.cell(point) for each in varying))] if varying else []


def shared_words(points: Sequence[Point], but: Iterable[str]) -> str:
    """The other parameters, which all points have in common: ``: data 32 MiB``; empty where there is none."""
    keys = dict.fromkeys(key for point in points for key in point.result.params)
    shared = {k: points[0].param(k) for k in keys if k not in set(but) and not _differs(points, k)}
    return f": {w.params(shared)}" if shared else ""


def _differs(points: Sequence[Point], key: str) -> bool:
    return any(point.param(key) != points[0].param(key) for point in points)


def mapping_fact(point: Point, name: str) -> dict[str, Any]:
    """A fact that is a mapping; empty where it is missing or something else."""
    found = point.result.facts.get(name)
    return found if isinstance(found, dict) else {}


def latency_fields(quantiles: Sequence[str] = QUANTILES) -> list[Field[Point]]:
    """Quantiles of a fault's latency with their intervals."""
    return [Field(Column(name), figure_of(m.FAULT_LATENCY, name)) for name in quantiles]


def times_fields(base_of: Callable[[Point], Point | None], what: str, quantiles: Sequence[str]) -> list[Field[Point]]:
    """How many times as long as at another point, at these quantiles."""

    def field(name: str) -> Field[Point]:
        return Field(
            Column(f"x {what} {name}", wrap=9),
            lambda point: ratio_cell(ratio(point, base_of(point), m.FAULT_LATENCY, name)),
        )

    return [field(name) for name in quantiles]


def ratio_cell(found: Ratio | None, gap: str = "\n") -> str:
    """A ratio with its interval."""
    if found is None:
        return w.MISSING
    low, high = (found.interval.low, found.interval.high) if found.interval else (None, None)
    return w.bounded(found.value, low, high, gap=gap)


def times(found: Ratio) -> str:
    """A ratio for a sentence: ``6.1 times [5.9, 6.3]``."""
    value, *interval = ratio_cell(found, " ").partition(" [")
    return f"{value} times{''.join(interval)}"


def longer(found: Ratio | None) -> str:
    """Say what a ratio of two times tells: longer, shorter, or nothing that could be told; empty without enough rounds.

    A number stands in it only beside its interval.
    """
    told_so = decided(found)
    if found is None or told_so is None:
        return ""
    return f"{times(found)} as long" if told_so else f"{NO_DIFFERENCE} ({times(found)})"


def overhead_notes(points: Iterable[Point]) -> list[str]:
    """What the probe itself costs, once per wording."""
    stated = dict.fromkeys(w.params(cost) for point in points if (cost := mapping_fact(point, "probe_overhead_ns")))
    told_so = "; ".join(stated)
    note = "The probe's own cost per sample, in ns, is in every value and was not subtracted: "
    return [note + told_so] if told_so else []
