"""One point of a test, computed once for everything that shows it: figures, quantiles, doubts, and ratios of two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from records.courses import Course
from records.intervals import FEWEST_FOR_WORDS, RELEVANT, Ratio, paired_ratio
from records.metrics import Quantity
from records.model import Caveat, RunResult
from records.tests import TESTS
from reports.stats import PointFigure

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """``figures`` are of metrics, ``quantiles`` of raw samples by their names; both of undisturbed turns only.

    ``samples`` holds every raw array that could be read. A course over time has no quantiles. ``caveats`` leaves out
    those that hold for the whole run.
    """

    result: RunResult
    figures: Mapping[str, PointFigure]
    samples: Mapping[str, npt.NDArray[np.uint64]]
    quantiles: Mapping[str, Mapping[str, PointFigure]]
    caveats: tuple[Caveat, ...]

    @property
    def has_section(self) -> bool:
        """Whether a section of the report is made for this test and finds in this record what it needs."""
        test = TESTS.get(self.result.test)
        if test is None or test.needs is None:
            return False
        samples = self.array(test.needs)
        return bool(samples.size) if samples is not None else test.needs.name in self.figures

    def figure(self, metric: Quantity, quantile: str | None = None) -> PointFigure | None:
        """Return the figure of a metric, or of one quantile of its samples; None where it was not measured."""
        if quantile is None:
            return self.figures.get(metric.name)
        return self.quantiles.get(metric.name, {}).get(quantile)

    def value(self, metric: Quantity, quantile: str | None = None) -> float | None:
        """Return the same without its interval."""
        found = self.figure(metric, quantile)
        return found.value if found else None

    def values(self, metric: Quantity) -> Sequence[float]:
        """Return every value of a metric in order of measurement, disturbed ones too; empty if it was not measured."""
        found = self.result.metrics.get(metric.name)
        return found.values if found else ()

    def array(self, row: Quantity | Course) -> npt.NDArray[np.uint64] | None:
        """Return the raw samples of a metric or one array of a course, or None where it could not be read."""
        return self.samples.get(row.name)

    def quiet_array(self, row: Quantity) -> npt.NDArray[np.uint64] | None:
        """Return the raw samples of undisturbed turns; all of them where it is not known in which turn each was."""
        import numpy as np

        found, turns = self.array(row), self.samples.get(turn_name(row.name))
        if found is None or turns is None or turns.size != found.size:
            return found
        quiet = [index for index, turn in enumerate(self.result.turns) if not turn.disturbed]
        kept: npt.NDArray[np.uint64] = found[np.isin(turns, quiet)]
        return kept

    def size_of(self, row: Quantity | Course) -> int:
        """Return how many raw samples there are."""
        found = self.array(row)
        return 0 if found is None else int(found.size)

    def param(self, key: str) -> Any:
        """A parameter, or None."""
        return self.result.params.get(key)

    @property
    def disturbed(self) -> int:
        """How many of its turns other work disturbed: they enter no figure."""
        return sum(bool(turn.disturbed) for turn in self.result.turns)


def turn_name(name: str) -> str:
    """Return the array that has the turn of each sample: ``fault.turn`` for ``fault.latency``."""
    return f"{name.partition('.')[0]}.turn"


def ratio(point: Point | None, base: Point | None, metric: Quantity, quantile: str | None = None) -> Ratio | None:
    """Divide two points round by round; None where one was not measured.

    Without common rounds, and where other work disturbed one of them, it is the quotient of two figures without an
    interval, of which nothing may be said in words.
    """
    if point is None or base is None or point is base:
        return None
    mine, other = point.figure(metric, quantile), base.figure(metric, quantile)
    if mine is None or other is None or mine.value is None or not other.value:
        return None
    shared = sorted(mine.by_round.keys() & other.by_round.keys())
    if shared and Caveat.disturbed not in (*point.caveats, *base.caveats):
        found = paired_ratio([mine.by_round[each] for each in shared], [other.by_round[each] for each in shared])
        if found is not None:
            return found
    return Ratio(mine.value / other.value, None, 0)


def decided(found: Ratio | None) -> int | None:
    """Say what the rounds tell: 1 more, -1 less, 0 that no difference can be told; None that they are too few."""
    if found is None or found.interval is None or found.rounds < FEWEST_FOR_WORDS:
        return None
    return found.beyond(RELEVANT)


def beats_all(best: Point, others: Iterable[Point], metric: Quantity, quantile: str | None = None) -> bool:
    """Whether a point is better than each of the others, as far as words may say so; False where there is none."""
    sign = 1 if metric.better == "higher" else -1
    told = [decided(ratio(best, other, metric, quantile)) for other in others if other is not best]
    return bool(told) and all(each == sign for each in told)


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
