"""A stored run with everything computed once that text, HTML and plots show: summaries, quantiles, doubts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from base.errors import ReportError
from records.courses import Course
from records.metrics import Quantity, row_of
from records.model import Caveat, RunResult
from records.reading import StoredRun
from records.tests import TESTS, MeasuredTest
from reports.stats import FEWEST_FOR_INTERVAL, Quantile, Summary, first_is_slow, quantiles, summarise

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


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
        test = TESTS.get(self.result.test)
        if test is None or test.needs is None:
            return False
        samples = self.array(test.needs)
        return bool(samples.size) if samples is not None else self.median(test.needs) is not None

    def summary(self, metric: Quantity) -> Summary | None:
        """Return what is known of a metric's repeats, or None where it was not measured."""
        return self.figures.get(metric.name)

    def median(self, metric: Quantity) -> float | None:
        """Return the median of a metric, or None where it was not measured."""
        summary = self.summary(metric)
        return summary.median if summary else None

    def values(self, metric: Quantity) -> Sequence[float]:
        """Return every repeat of a metric in order of measurement; empty where it was not measured."""
        found = self.result.metrics.get(metric.name)
        return found.values if found else ()

    def quantile(self, metric: Quantity, name: str) -> Quantile | None:
        """Return one quantile of raw samples, or None where there are none."""
        return next((q for q in self.quantiles.get(metric.name, ()) if q.name == name), None)

    def array(self, row: Quantity | Course) -> npt.NDArray[np.uint64] | None:
        """Return the raw samples of a metric or one array of a course, or None where it could not be read."""
        return self.samples.get(row.name)

    def size_of(self, row: Quantity | Course) -> int:
        """Return how many raw samples there are."""
        found = self.array(row)
        return 0 if found is None else int(found.size)

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

    def of(self, test: MeasuredTest) -> list[Point]:
        """Return the points of a test that its section of the report can show, in order of measurement."""
        return [point for point in self.points if point.result.test == test.name and point.has_section]


def analyse(run: StoredRun) -> Analysis:
    """Compute everything about a run. Samples that cannot be read become problems, never a failure."""
    session_caveats = _unique((*run.session.provenance.caveats, *run.session.caveats))
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


def ratio(point: Point, base: Point | None, metric: Quantity) -> float | None:
    """Median over median."""
    mine, other = point.median(metric), base.median(metric) if base else None
    return mine / other if mine is not None and other else None


def _point(run: StoredRun, result: RunResult, known: set[Caveat], problems: list[str]) -> Point:
    figures = {name: summarise(m.values, m.better, run.session.seed) for name, m in result.metrics.items()}
    samples = {}
    for metric, name in result.raw.items():
        if name in run.not_there:
            continue
        try:
            samples[metric] = run.samples(result, metric)
        except ReportError as error:
            problems.append(str(error))
    if _is_one_run(result):
        return Point(result, figures, samples, {}, tuple(c for c in _unique(result.caveats) if c not in known))
    found = {metric: quantiles(array) for metric, array in samples.items()}
    caveats = _unique((*result.caveats, *_seen_in_figures(result, found)))
    return Point(result, figures, samples, found, tuple(c for c in caveats if c not in known))


def _is_one_run(result: RunResult) -> bool:
    test = TESTS.get(result.test)
    return test is not None and test.one_run


def _seen_in_figures(result: RunResult, found: Mapping[str, tuple[Quantile, ...]]) -> list[Caveat]:
    rows = [(row_of(name, metric.unit, metric.better), metric) for name, metric in result.metrics.items()]
    seen = []
    if any(row.needs_repeats and 0 < len(metric.values) < FEWEST_FOR_INTERVAL for row, metric in rows):
        seen.append(Caveat.few_repeats)
    if any(row.has_speed and first_is_slow(metric.values, metric.better) for row, metric in rows):
        seen.append(Caveat.first_run_slow)
    if any(q.low is None and q.name != "max" for each in found.values() for q in each):
        seen.append(Caveat.few_samples)
    return seen


def _unique(caveats: Iterable[Caveat]) -> tuple[Caveat, ...]:
    return tuple(dict.fromkeys(caveats))
