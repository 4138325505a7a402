"""A verdict for every figure that carries one.

A figure is *better* or *worse* when the exact rank test says so beyond the least relevant difference, corrected for the
number of figures; *same* when the whole interval of the ratio lies within that difference; else there is *not enough
data*. docs/comparing.md says the same with reasons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from records.metrics import Quantity, row_of
from records.model import Caveat, Metric
from records.tests import TESTS
from reports.comparison.points import PooledPoint
from reports.comparison.ranktest import enough_for, false_discovery_rates, p_larger, p_smaller, ratio_interval
from reports.comparison.values import Figure, Observed
from reports.stats import CONFIDENCE, first_is_slow

LEVEL = 1 - CONFIDENCE
# Two values against many could be significant, and still nobody should believe them.
FEWEST = enough_for(LEVEL)
# More repeats than that nobody makes to find out.
MOST_REPEATS = 1000


class Verdict(StrEnum):
    """What is known of a figure of the candidate, against the base."""

    worse = "worse"
    better = "better"
    same = "same"
    undecided = "not enough data"
    none = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure with its verdict. ``ratio`` is candidate over base; ``why`` and ``enough`` go with "not enough data".

    ``enough``: so many repeats, samples or runs on each side would probably decide; None where nobody can tell.
    """

    figure: Figure
    ratio: float | None
    interval: tuple[float, float] | None
    p: float | None
    corrected_p: float | None
    verdict: Verdict
    why: str
    enough: int | None
    caveats: tuple[Caveat, ...]


def judge(figures: Sequence[Figure], relevant: float) -> list[Compared]:
    """Verdicts of all figures of one comparison; how many there are is part of each one's verdict."""
    tests = [_tested(figure, relevant) if _is_judged(figure) else None for figure in figures]
    ps = [test.p for test in tests if test]
    corrected = iter(false_discovery_rates(ps))
    return [
        _judged(figure, test, next(corrected) if test else 1.0, len(ps))
        for figure, test in zip(figures, tests, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Test:
    """``p``: two-sided, of "the ratio is at most ``margin`` away from 1". ``relevant`` is the margin for "same"."""

    p: float
    low: float
    high: float
    margin: float
    relevant: float
    spread: float

    @property
    def differs(self) -> bool:
        return self.low > self.margin or self.high < 1 / self.margin

    @property
    def same(self) -> bool:
        """Parts of one side that differ by more than is relevant cannot show that two kernels do not."""
        return self.spread <= self.relevant and 1 / self.relevant <= self.low and self.high <= self.relevant


def _row(figure: Figure) -> Quantity:
    return row_of(figure.metric, Metric(figure.unit, figure.better, ()))


def _is_judged(figure: Figure) -> bool:
    """Whether it carries a verdict: counts, what follows from another figure, what is measured once a run have none."""
    test = TESTS.get(figure.pair.test)
    return _row(figure).judged and (test is None or test.judged)


def _tested(figure: Figure, relevant: float) -> _Test | None:
    """None where no values could ever decide: too few, zeros, or figures that the kernel's counters contradict."""
    base, cand = figure.base, figure.cand
    if figure.pair.base.books_differ or figure.pair.cand.books_differ or not (_has_ratio(base) and _has_ratio(cand)):
        return None
    interval = ratio_interval(base.values, cand.values, CONFIDENCE)
    if interval is None or min(base.values.size, cand.values.size) < FEWEST:
        return None
    # What parts of one side show among themselves is no finding between the sides.
    spread = max(base.spread, cand.spread)
    margin = (1 + relevant) * spread
    one_sided = min(p_larger(base.values, cand.values, margin), p_smaller(base.values, cand.values, 1 / margin))
    ratio = cand.figure / base.figure
    # Of groups of different shape the factor between the groups is not quite that between their medians.
    low, high = min(interval[0], ratio), max(interval[1], ratio)
    return _Test(min(1.0, 2 * one_sided), low, high, margin, 1 + relevant, spread)


def _has_ratio(side: Observed) -> bool:
    return side.figure > 0 and bool((side.values > 0).all())


def _judged(figure: Figure, test: _Test | None, corrected: float, among: int) -> Compared:
    ratio = figure.cand.figure / figure.base.figure if figure.base.figure else None
    caveats = _caveats(figure)
    if not _is_judged(figure):
        spoiled = _row(figure).must_be_zero and figure.cand.values.any() and not figure.base.values.any()
        verdict = Verdict.worse if spoiled else Verdict.none
        interval = _interval(figure) if ratio else None
        return Compared(figure, ratio, interval, None, None, verdict, "", None, caveats)
    if test is None:
        why, enough = _why_not_tested(figure, among)
        return Compared(figure, ratio, None, None, None, Verdict.undecided, why, enough, caveats)
    verdict = _verdict(figure, test, corrected)
    why, enough = _why_undecided(figure, test, among) if verdict is Verdict.undecided else ("", None)
    return Compared(figure, ratio, (test.low, test.high), test.p, corrected, verdict, why, enough, caveats)


def _verdict(figure: Figure, test: _Test, corrected: float) -> Verdict:
    if test.differs and corrected <= LEVEL:
        return Verdict.better if (test.low > 1) == (figure.better == "higher") else Verdict.worse
    return Verdict.same if test.same else Verdict.undecided


def _why_not_tested(figure: Figure, among: int) -> tuple[str, int | None]:
    if figure.pair.base.books_differ or figure.pair.cand.books_differ:
        return "the kernel's own counters disagree with the measurement: do not use this figure", None
    if not (_has_ratio(figure.base) and _has_ratio(figure.cand)):
        return "values of 0 have no ratio", None
    enough = enough_for(LEVEL / max(1, among)) * figure.per_value
    return f"too few: {figure.base.n} and {figure.cand.n} {figure.of}", enough


def _why_undecided(figure: Figure, test: _Test, among: int) -> tuple[str, int | None]:
    least = enough_for(LEVEL / among) * figure.per_value
    if test.differs:
        return f"a difference shows, but among {among} figures chance alone may show one", least
    beyond_relevant = test.low > test.relevant or test.high < 1 / test.relevant
    within_relevant = 1 / test.relevant <= test.low and test.high <= test.relevant
    several_runs = max(len(figure.pair.base.parts), len(figure.pair.cand.parts)) > 1
    if beyond_relevant or within_relevant or (several_runs and test.spread > test.relevant):
        parts = "parts of one side (its runs, or the halves of its only run)"
        return f"{parts} differ by up to {100 * (test.spread - 1):.0f} % themselves: compare several runs a side", None
    half = math.log(test.high / test.low) / 2
    beyond = abs(abs(math.log(test.high * test.low)) / 2 - math.log(test.margin))
    now = min(figure.base.values.size, figure.cand.values.size)
    if beyond <= half * math.sqrt(now / MOST_REPEATS):
        return "the difference is about as large as the least relevant one", None
    # An interval gets narrower with the square root of the number of values.
    return "the values scatter too widely", max(least, math.ceil(now * (half / beyond) ** 2) * figure.per_value)


def _interval(figure: Figure) -> tuple[float, float] | None:
    if not (_has_ratio(figure.base) and _has_ratio(figure.cand)):
        return None
    return ratio_interval(figure.base.values, figure.cand.values, CONFIDENCE)


def _caveats(figure: Figure) -> tuple[Caveat, ...]:
    """What was recorded at these points, on either side, and what their values show."""
    found = [*figure.pair.base.caveats, *figure.pair.cand.caveats]
    slow = [_first_is_slow(point, figure) for point in (figure.pair.base, figure.pair.cand)]
    return tuple(dict.fromkeys((*found, *([Caveat.first_run_slow] if any(slow) else []))))


def _first_is_slow(point: PooledPoint, figure: Figure) -> bool:
    metrics = (result.metrics.get(figure.metric) for _, result in point.parts)
    return any(first_is_slow(metric.values, metric.better) for metric in metrics if metric)
