"""A stored run with everything computed once that text, HTML and plots show: summaries, quantiles, doubts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from base.errors import ReportError
from records.model import Caveat, RunResult
from records.reading import StoredRun
from reports.catalogue import SHOWN
from reports.stats import FEWEST_FOR_INTERVAL, Quantile, Summary, first_is_slow, quantiles, summarise

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# What is counted is the same at every repeat: one value says it all.
COUNTED_UNITS = frozenset({"pages", "count", "bytes", "B"})
# Read once at a point, on purpose.
READ_ONCE = frozenset({"zram.ratio", "load.cpu_busy"})
# Neither a time nor a rate: a first value that stands out is no slow start.
UNITS_WITHOUT_SPEED = frozenset({"requests", "%", "x"})


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a sweep, computed. ``caveats`` leaves out those that hold for the whole run.

    ``samples`` holds every raw array that could be read, ``quantiles`` those of arrays that are samples of one
    distribution: a course over time has none.
    """

    result: RunResult
    figures: Mapping[str, Summary]
    samples: Mapping[str, npt.NDArray[np.uint64]]
    quantiles: Mapping[str, tuple[Quantile, ...]]
    caveats: tuple[Caveat, ...]

    @property
    def has_section(self) -> bool:
        """Whether a section of the report is made for this test and finds in this record what it needs."""
        shown = SHOWN.get(self.result.test)
        if shown is None:
            return False
        samples = self.samples.get(shown.needs)
        return bool(samples.size) if samples is not None else self.median(shown.needs) is not None

    def median(self, metric: str) -> float | None:
        """The median of a metric, or None where it was not measured."""
        summary = self.figures.get(metric)
        return summary.median if summary else None

    def quantile(self, metric: str, name: str) -> Quantile | None:
        """One quantile of raw samples, or None where there are none."""
        return next((q for q in self.quantiles.get(metric, ()) if q.name == name), None)

    def param(self, key: str) -> Any:
        """A parameter, or None."""
        return self.result.params.get(key)


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the renderers read."""

    run: StoredRun
    points: tuple[Point, ...]
    session_caveats: tuple[Caveat, ...]
    problems: tuple[str, ...]

    def of(self, test: str) -> list[Point]:
        """The points of a test that its section of the report can show, in order of measurement."""
        return [point for point in self.points if point.result.test == test and point.has_section]


def analyse(run: StoredRun) -> Analysis:
    """Compute everything about a run. Samples that cannot be read become problems, never a failure."""
    session_caveats = _unique((*_provenance_caveats(run), *run.session.caveats))
    problems = list(run.problems)
    points = tuple(_point(run, result, set(session_caveats), problems) for result in run.runs)
    return Analysis(run, points, session_caveats, tuple(problems))


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


def find(points: Iterable[Point], **params: Any) -> Point | None:
    """The first point with these parameters, or None."""
    return next((p for p in points if all(p.param(key) == value for key, value in params.items())), None)


def batch_rank(point: Point) -> float:
    """Sort key: no attribute (one page at a time) first, then by size."""
    batch = point.param("batch_size")
    return float(batch) if isinstance(batch, int | float) else 0.0


def ratio(point: Point, base: Point | None, metric: str) -> float | None:
    """Median over median."""
    mine, other = point.median(metric), base.median(metric) if base else None
    return mine / other if mine is not None and other else None


def _point(run: StoredRun, result: RunResult, known: set[Caveat], problems: list[str]) -> Point:
    figures = {name: summarise(m.values, m.better, run.session.seed) for name, m in result.metrics.items()}
    samples = {}
    for metric in result.raw:
        try:
            samples[metric] = run.samples(result, metric)
        except ReportError as error:
            if not any(result.raw[metric] in problem for problem in problems):
                problems.append(str(error))
    if _is_one_run(result):
        return Point(result, figures, samples, {}, tuple(c for c in _unique(result.caveats) if c not in known))
    found = {metric: quantiles(array) for metric, array in samples.items()}
    caveats = _unique((*result.caveats, *_seen_in_figures(result, found)))
    return Point(result, figures, samples, found, tuple(c for c in caveats if c not in known))


def _is_one_run(result: RunResult) -> bool:
    shown = SHOWN.get(result.test)
    return shown is not None and shown.one_run


def _seen_in_figures(result: RunResult, found: Mapping[str, tuple[Quantile, ...]]) -> list[Caveat]:
    repeated = [m for name, m in result.metrics.items() if m.unit not in COUNTED_UNITS and name not in READ_ONCE]
    seen = []
    if any(0 < len(metric.values) < FEWEST_FOR_INTERVAL for metric in repeated):
        seen.append(Caveat.few_repeats)
    if any(first_is_slow(m.values, m.better) for m in repeated if m.unit not in UNITS_WITHOUT_SPEED):
        seen.append(Caveat.first_run_slow)
    if any(q.low is None and q.name != "max" for each in found.values() for q in each):
        seen.append(Caveat.few_samples)
    return seen


def _provenance_caveats(run: StoredRun) -> list[Caveat]:
    provenance = run.session.provenance
    caveats = [Caveat.virtual] if provenance.virtual else []
    if provenance.virtual and (provenance.accelerator or "").lower().startswith("tcg"):
        caveats.append(Caveat.emulated_cpu)
    return caveats


def _unique(caveats: Iterable[Caveat]) -> tuple[Caveat, ...]:
    return tuple(dict.fromkeys(caveats))
