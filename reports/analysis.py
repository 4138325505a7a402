"""A stored run with everything computed once that text, HTML and plots show: figures, quantiles, doubts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from base.errors import ReportError
from records import metrics as m
from records.metrics import METRICS, Values, row_of
from records.model import Caveat, Metric, RunResult
from records.reading import StoredRun
from records.tests import TESTS, MeasuredTest
from reports.point import Point, turn_name
from reports.repeated import disagreeing
from reports.stats import FEWEST_FOR_INTERVAL, PointFigure, figure, first_is_slow, pooled_quantiles, quantiles

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[np.uint64]]

# A writeback that is shorter measures its start and its end as much as itself.
SHORTEST_WRITEBACK_S = 0.3
_BY_TURN = (Values.repeats, Values.steady)


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
    points = [_point(run, result, set(session_caveats), problems) for result in run.runs]
    doubtful = {id(point) for point in disagreeing(points, run.session.provenance)}
    told = tuple(
        replace(point, caveats=_unique((*point.caveats, Caveat.differs_elsewhere))) if id(point) in doubtful else point
        for point in points
    )
    return Analysis(run, told, session_caveats, tuple(problems))


def _point(run: StoredRun, result: RunResult, known: set[Caveat], problems: list[str]) -> Point:
    samples = {}
    for name, path in result.raw.items():
        if path in run.not_there:
            continue
        try:
            samples[name] = run.samples(result, name)
        except ReportError as error:
            problems.append(str(error))
    figures = {name: _figure(result, name, metric, samples) for name, metric in result.metrics.items()}
    found = {} if _is_one_run(result) else _quantiles(result, samples)
    caveats = _unique((*result.caveats, *_seen_in(result)))
    return Point(result, figures, samples, found, tuple(c for c in caveats if c not in known))


def _is_one_run(result: RunResult) -> bool:
    test = TESTS.get(result.test)
    return test is not None and test.one_run


def _quiet(result: RunResult) -> list[int]:
    """Indices of the turns that enter figures."""
    return [index for index, turn in enumerate(result.turns) if not turn.disturbed]


def _figure(result: RunResult, name: str, metric: Metric, samples: Arrays) -> PointFigure:
    row = row_of(name, metric.unit, metric.better)
    if row.values in _BY_TURN:
        if not result.turns or len(metric.values) != len(result.turns):
            return figure(metric.values)
        quiet = _quiet(result)
        return figure([metric.values[i] for i in quiet], [result.turns[i].round for i in quiet])
    if row.values is Values.events and (turns := _turns_of(result, name, len(metric.values), samples)) is not None:
        import numpy as np

        values = np.asarray(metric.values, dtype=float)
        by_turn = [(i, values[turns == i]) for i in _quiet(result)]
        kept = [(i, float(np.median(found))) for i, found in by_turn if found.size]
        return figure([value for _, value in kept], [result.turns[i].round for i, _ in kept])
    return replace(figure(metric.values), interval=None)


def _quantiles(result: RunResult, samples: Arrays) -> dict[str, dict[str, PointFigure]]:
    found = {}
    for name, array in samples.items():
        if name not in METRICS and name in _turn_names(samples):
            continue
        turns = _turns_of(result, name, array.size, samples)
        if turns is None:
            found[name] = pooled_quantiles(array)
        else:
            found[name] = quantiles([(result.turns[i].round, array[turns == i]) for i in _quiet(result)])
    return found


def _turns_of(result: RunResult, name: str, size: int, samples: Arrays) -> npt.NDArray[np.uint64] | None:
    """The index of each sample's turn, from the array beside it; None where there is none that fits."""
    turns = samples.get(turn_name(name))
    return turns if result.turns and turns is not None and turns.size == size else None


def _turn_names(names: Iterable[str]) -> set[str]:
    return {turn_name(name) for name in names}


def _seen_in(result: RunResult) -> Iterator[Caveat]:
    """Doubts that follow from the record itself."""
    quiet = _quiet(result)
    spoilt = len(result.turns) - len(quiet)
    if spoilt and (len(quiet) < FEWEST_FOR_INTERVAL or spoilt > len(quiet)):
        yield Caveat.disturbed
    rows = [(row_of(name, metric.unit, metric.better), metric.values) for name, metric in result.metrics.items()]
    if any(row.needs_repeats and 0 < len(values) < FEWEST_FOR_INTERVAL for row, values in rows):
        yield Caveat.few_repeats
    # Where a warm-up was made, blocks are allocated: whatever was slow then, this doubt would name the wrong cause.
    if not result.warmups and any(row.has_speed and first_is_slow(values, row.better) for row, values in rows):
        yield Caveat.first_run_slow
    walls = result.metrics.get(m.WALL.name)
    if walls and walls.values and min(walls.values) < SHORTEST_WRITEBACK_S:
        yield Caveat.short_writeback


def _unique(caveats: Iterable[Caveat]) -> tuple[Caveat, ...]:
    return tuple(dict.fromkeys(caveats))
