"""What a cell says of a point: medians, quantiles of latencies in µs, how many times as long as another point."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from base.units import NS_PER_US
from records import metrics as m
from reports import wording as w
from reports.analysis import Point, batch_rank, ratio
from reports.stats import FEWEST_FOR_INTERVAL, Summary
from reports.tables import Column, Field, everywhere

COSTS = (m.WALL, m.USER_CPU, m.SYS_CPU, m.CPU_BUSY, m.CONTEXT_SWITCHES)
"""the metrics that ``cost_fields`` shows"""
QUANTILES = ("p50", "p90", "p99", "p99.9", "max")
OVERLAP_NOTE = "~: no sure difference: the intervals of the two overlap, or there is none."


def batch_label(point: Point) -> str:
    """The batch size, or that this kernel has no such attribute."""
    return w.param("batch_size", point.param("batch_size"))


def first_point(points: Sequence[Point]) -> Point:
    """What ratios of a batch sweep refer to: batch 1, or the smallest batch there is."""
    return next((p for p in points if p.param("batch_size") == 1), min(points, key=batch_rank))


def ratio_cell(point: Point, base: Point) -> str:
    """Throughput against the base point; nothing where the kernel has no batches to compare."""
    return w.MISSING if base.param("batch_size") is None else w.number(ratio(point, base, m.THROUGHPUT))


def median_of(metric: m.Quantity) -> Callable[[Point], str]:
    """A cell with the median of a metric."""
    return lambda point: w.number(point.median(metric))


def count_of(metric: m.Quantity) -> Callable[[Point], str]:
    """A cell with a counter."""
    return lambda point: w.count(point.median(metric))


def interval_of(metric: m.Quantity) -> Callable[[Point], str]:
    """A cell with the interval of a metric's median."""

    def cell(point: Point) -> str:
        summary = point.summary(metric)
        return w.interval(summary.interval) if summary else w.MISSING

    return cell


def repeats_of(metric: m.Quantity) -> Callable[[Point], str]:
    """A cell with the number of repeats."""

    def cell(point: Point) -> str:
        summary = point.summary(metric)
        return str(summary.n) if summary else w.MISSING

    return cell


def rate_fields(*, repeats_in_mail: bool = True) -> list[Field[Point]]:
    """Writeback throughput with its interval and the number of repeats."""
    n = Column("n")
    return [
        everywhere(Column("MiB/s"), median_of(m.THROUGHPUT)),
        everywhere(Column("interval"), interval_of(m.THROUGHPUT)),
        Field(n, repeats_of(m.THROUGHPUT), n if repeats_in_mail else None),
    ]


def cost_fields() -> list[Field[Point]]:
    """What a writeback costs in time and CPU; in the mail the kernel's CPU time."""
    return [
        Field(Column("real s", wrap=8), median_of(m.WALL)),
        Field(Column("user s", wrap=8), median_of(m.USER_CPU)),
        everywhere(Column("sys s", wrap=8), median_of(m.SYS_CPU)),
        Field(Column("all CPUs busy s", wrap=8), median_of(m.CPU_BUSY)),
        Field(Column("context switches", wrap=8), count_of(m.CONTEXT_SWITCHES)),
    ]


def word_of(key: str) -> Callable[[Point], str]:
    """A cell with a parameter in words."""
    return lambda point: w.param(key, point.result.params.get(key, "not stated"))


def slot_label(point: Point) -> str:
    """Where the page was before the fault."""
    return w.param("slot", point.result.params.get("slot", "not stated"))


def mapping_fact(point: Point, name: str) -> dict[str, Any]:
    """A fact that is a mapping; empty where it is missing or something else."""
    found = point.result.facts.get(name)
    return found if isinstance(found, dict) else {}


def interval_note(summaries: Iterable[Summary | None]) -> str:
    """What the column of intervals holds, in one sentence."""
    found = {(s.n, s.interval.method, s.interval.confidence) for s in summaries if s and s.interval}
    named = {"order statistics": "", "bootstrap": " (bootstrap)"}
    kinds = [f"{100 * share:.3g} % for {n} repeats{named[method]}" for n, method, share in sorted(found)]
    if not kinds:
        return f"No interval: fewer than {FEWEST_FOR_INTERVAL} repeats."
    return f"Interval: where the true median lies; confidence {w.listing(kinds)}."


def microseconds(point: Point, name: str, metric: m.Quantity = m.FAULT_LATENCY) -> float | None:
    """One quantile of a point's latencies in µs, or None."""
    found = point.quantile(metric, name)
    return None if found is None or found.value is None else found.value / NS_PER_US


def latency_cell(point: Point, name: str, metric: m.Quantity = m.FAULT_LATENCY) -> str:
    """A quantile in µs, its interval on a second line."""
    found = point.quantile(metric, name)
    if found is None or found.value is None:
        return w.MISSING
    value = w.number(found.value / NS_PER_US)
    if found.low is None or found.high is None:
        return value
    return f"{value}\n{w.span(found.low / NS_PER_US, found.high / NS_PER_US)}"


def short_latency(name: str, metric: m.Quantity = m.FAULT_LATENCY) -> Callable[[Point], str]:
    """A cell with a quantile in µs and no interval."""
    return lambda point: w.number(microseconds(point, name, metric))


def samples_field() -> Field[Point]:
    """The number of latencies."""
    return everywhere(Column("n"), lambda point: str(point.size_of(m.FAULT_LATENCY)))


def latency_fields(in_mail: Container[str] = ()) -> list[Field[Point]]:
    """Every quantile with its interval; in the mail without, and only those of these names."""

    def field(name: str) -> Field[Point]:
        mail = Column(name) if name in in_mail else None
        return Field(Column(name), lambda point: latency_cell(point, name), mail, short_latency(name))

    return list(map(field, QUANTILES))


def times(point: Point, base: Point | None, name: str, metric: m.Quantity = m.FAULT_LATENCY) -> float | None:
    """How many times as long as at ``base``, at one quantile; None where one of them is not known."""
    mine, other = (p.quantile(metric, name) if p else None for p in (point, base))
    if point is base or not (mine and mine.value and other and other.value):
        return None
    return mine.value / other.value


def times_cell(point: Point, base: Point | None, name: str, metric: m.Quantity = m.FAULT_LATENCY) -> str:
    """The same as a cell, with a ~ in front where no difference is shown."""
    factor = times(point, base, name, metric)
    if factor is None or base is None:
        return w.MISSING
    return f"{'' if quantiles_differ(point, base, name, metric) else '~'}{w.number(factor)}"


def times_fields(base_of: Callable[[Point], Point | None]) -> list[Field[Point]]:
    """The slow-down against another point at every quantile."""

    def field(name: str) -> Field[Point]:
        return Field(Column(f"x {name}"), lambda point: times_cell(point, base_of(point), name), Column("x"))

    return [field(name) for name in QUANTILES]


def latency_and_times(base_of: Callable[[Point], Point | None], in_mail: Container[str]) -> list[Field[Point]]:
    """Quantiles in the mail, each with the slow-down beside it."""
    pairs = zip(QUANTILES, latency_fields(in_mail), times_fields(base_of), strict=True)
    return [field for name, *both in pairs if name in in_mail for field in both]


def overhead_notes(points: Iterable[Point]) -> list[str]:
    """What the probe itself costs, once per wording."""
    stated = dict.fromkeys(w.params(cost) for point in points if (cost := mapping_fact(point, "probe_overhead_ns")))
    told = "; ".join(stated)
    return [f"The probe's own cost per sample, in ns, is in every value and was not subtracted: {told}"] if told else []


def quantiles_differ(point: Point, base: Point, name: str, metric: m.Quantity = m.FAULT_LATENCY) -> bool:
    """Whether the intervals of one quantile of two points lie apart; False where one has none."""
    one, other = point.quantile(metric, name), base.quantile(metric, name)
    if one is None or other is None:
        return False
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low > other.high or other.low > one.high


def medians_differ(point: Point, base: Point | None, metric: m.Quantity) -> bool:
    """Whether the intervals of a metric's medians lie apart; False where one has none."""
    mine, other = (p.summary(metric) if p else None for p in (point, base))
    if mine is None or other is None or mine.interval is None or other.interval is None:
        return False
    return not mine.interval.overlaps(other.interval)


def with_interval(point: Point, metric: m.Quantity) -> str:
    """A median with its unit and, where it has one, its interval: ``49.8 MiB/s [46.3, 50.3]``."""
    summary = point.figures[metric.name]
    found = f" {w.interval(summary.interval)}" if summary.interval else ""
    return f"{w.number(summary.median)} {w.clean(point.result.metrics[metric.name].unit)}{found}"


def latency_mark(point: Point, metric: m.Quantity, name: str) -> tuple[float, float | None, float | None] | None:
    """A quantile in µs with the ends of its interval, for a plot."""
    found = point.quantile(metric, name)
    if found is None or found.value is None:
        return None
    low, high = (None if end is None else end / NS_PER_US for end in (found.low, found.high))
    return found.value / NS_PER_US, low, high


def median_mark(point: Point, metric: m.Quantity) -> tuple[float, float | None, float | None] | None:
    """A median with the ends of its interval, for a plot."""
    summary = point.summary(metric)
    if summary is None or summary.median is None:
        return None
    interval = summary.interval
    return summary.median, interval.low if interval else None, interval.high if interval else None
