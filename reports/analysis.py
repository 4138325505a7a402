"""A stored run with everything computed once that text, HTML and plots show: summaries, quantiles, doubts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reports.errors import ReportError
from reports.model import Caveat, RunResult
from reports.reading import Run
from reports.stats import FEWEST_FOR_INTERVAL, Quantile, Summary, first_is_slow, quantiles, summarise

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

THROUGHPUT = "writeback_throughput"
FAULTS = "fault_latency"
INTEGRITY = "data_integrity"
LATENCY = "fault.latency"
MIB_PER_S = "writeback.throughput"

# What is counted is the same at every repeat: one value says it all.
COUNTED_UNITS = frozenset({"pages", "count", "bytes", "B"})


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a sweep, computed. ``caveats`` leaves out those that hold for the whole run."""

    result: RunResult
    figures: Mapping[str, Summary]
    samples: Mapping[str, npt.NDArray[np.uint64]]
    quantiles: Mapping[str, tuple[Quantile, ...]]
    caveats: tuple[Caveat, ...]

    def median(self, metric: str) -> float | None:
        """The median of a metric, or None where it was not measured."""
        summary = self.figures.get(metric)
        return summary.median if summary else None

    def quantile(self, metric: str, name: str) -> Quantile | None:
        """One quantile of raw samples, or None where there are none."""
        return next((q for q in self.quantiles.get(metric, ()) if q.name == name), None)


@dataclass(frozen=True, slots=True)
class Panel:
    """Throughput points that differ in batch size and slot order only, in that order. ``params`` is what they share."""

    params: Mapping[str, Any]
    points: tuple[Point, ...]

    def by_order(self) -> dict[str, list[Point]]:
        """Points per slot order, batch sizes ascending."""
        lines: dict[str, list[Point]] = {}
        for point in self.points:
            lines.setdefault(str(point.result.params.get("order", "")), []).append(point)
        return lines


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the renderers read."""

    run: Run
    points: tuple[Point, ...]
    session_caveats: tuple[Caveat, ...]
    problems: tuple[str, ...]
    panels: tuple[Panel, ...] = ()
    faults: tuple[tuple[Point, ...], ...] = ()
    integrity: tuple[Point, ...] = ()
    others: tuple[Point, ...] = field(default=())


def analyse(run: Run) -> Analysis:
    """Compute everything about a run. Samples that cannot be read become problems, never a failure."""
    session_caveats = _unique((*_provenance_caveats(run), *run.session.caveats))
    problems = list(run.problems)
    points = tuple(_point(run, result, set(session_caveats), problems) for result in run.runs)
    throughput = [p for p in points if p.result.test == THROUGHPUT and MIB_PER_S in p.figures]
    faults = [p for p in points if p.result.test == FAULTS and LATENCY in p.quantiles]
    integrity = tuple(p for p in points if p.result.test == INTEGRITY and "integrity.corrupt" in p.figures)
    shown = {id(p) for p in (*throughput, *faults, *integrity)}
    return Analysis(
        run=run,
        points=points,
        session_caveats=session_caveats,
        problems=tuple(problems),
        panels=_panels(throughput),
        faults=tuple(tuple(sorted(g, key=_slot_rank)) for _, g in group(faults, without=("slot",))),
        integrity=integrity,
        others=tuple(p for p in points if id(p) not in shown),
    )


def group(points: Iterable[Point], without: Sequence[str]) -> list[tuple[dict[str, Any], list[Point]]]:
    """Points that agree in all parameters but the named ones, in order of first appearance."""
    groups: list[tuple[dict[str, Any], list[Point]]] = []
    for point in points:
        shared = {key: value for key, value in point.result.params.items() if key not in without}
        for known, members in groups:
            if known == shared:
                members.append(point)
                break
        else:
            groups.append((shared, [point]))
    return groups


def batch_rank(point: Point) -> float:
    """Sort key: no attribute (one page at a time) first, then by size."""
    batch = point.result.params.get("batch_size")
    return float(batch) if isinstance(batch, int | float) else 0.0


def _panels(points: Iterable[Point]) -> tuple[Panel, ...]:
    """Order of the panels: as given by the parameters, small data sets first; the sweep's own order is shuffled."""
    panels = []
    for shared, members in group(points, without=("batch_size", "order")):
        ordered = sorted(members, key=lambda p: (str(p.result.params.get("order", "")), batch_rank(p)))
        panels.append(Panel(shared, tuple(ordered)))
    return tuple(sorted(panels, key=lambda panel: _panel_rank(panel.params)))


def _panel_rank(params: Mapping[str, Any]) -> tuple[str, float, str]:
    data = params.get("data_bytes")
    return (
        str(params.get("pages", "")),
        float(data) if isinstance(data, int | float) else 0.0,
        str(sorted(params.items())),
    )


def _slot_rank(point: Point) -> tuple[bool, str]:
    slot = str(point.result.params.get("slot", ""))
    return slot != "ram", slot


def _point(run: Run, result: RunResult, known: set[Caveat], problems: list[str]) -> Point:
    figures = {name: summarise(m.values, m.better, run.session.seed) for name, m in result.metrics.items()}
    samples = {}
    for metric in result.raw:
        try:
            samples[metric] = run.samples(result, metric)
        except ReportError as error:
            if not any(result.raw[metric] in problem for problem in problems):
                problems.append(str(error))
    found = {metric: quantiles(array) for metric, array in samples.items()}
    caveats = _unique((*result.caveats, *_seen_in_figures(result, found)))
    return Point(result, figures, samples, found, tuple(c for c in caveats if c not in known))


def _seen_in_figures(result: RunResult, found: Mapping[str, tuple[Quantile, ...]]) -> list[Caveat]:
    repeated = [metric for metric in result.metrics.values() if metric.unit not in COUNTED_UNITS]
    seen = []
    if any(0 < len(metric.values) < FEWEST_FOR_INTERVAL for metric in repeated):
        seen.append(Caveat.few_repeats)
    if any(first_is_slow(metric.values, metric.better) for metric in repeated):
        seen.append(Caveat.first_run_slow)
    if any(q.low is None and q.name != "max" for each in found.values() for q in each):
        seen.append(Caveat.few_samples)
    return seen


def _provenance_caveats(run: Run) -> list[Caveat]:
    provenance = run.session.provenance
    caveats = [Caveat.virtual] if provenance.virtual else []
    if provenance.virtual and (provenance.accelerator or "").lower().startswith("tcg"):
        caveats.append(Caveat.emulated_cpu)
    return caveats


def _unique(caveats: Iterable[Caveat]) -> tuple[Caveat, ...]:
    return tuple(dict.fromkeys(caveats))
