"""A verdict for every figure that carries one.

A figure is *better* or *worse* when the test says so beyond the least relevant difference, corrected for the number of
figures of its family; *same* when the whole interval of the ratio lies within that difference; else there is *not
enough data*. docs/comparing.md says the same with reasons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from records.model import Caveat
from records.tests import TESTS
from reports.comparison.correction import false_discovery_rates
from reports.comparison.difference import difference
from reports.comparison.drift import drift
from reports.comparison.points import PooledPoint
from reports.comparison.values import Figure
from reports.stats import CONFIDENCE, first_is_slow

LEVEL = 1 - CONFIDENCE
# Two values against many could be significant, and still nobody should believe them.
FEWEST = 4
# More repeats than that do not fit into a night.
MOST_REPEATS = 200


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
    """Verdicts of all figures of one comparison; how many there are in its family is part of each one's verdict."""
    found: dict[int, Compared] = {}
    for primary in (True, False):
        family = [number for number, figure in enumerate(figures) if figure.is_primary is primary]
        judged = _judge_family([figures[number] for number in family], relevant)
        found |= dict(zip(family, judged, strict=True))
    return [found[number] for number in range(len(figures))]


def _judge_family(figures: Sequence[Figure], relevant: float) -> list[Compared]:
    tests = [_tested(figure, relevant) if _is_judged(figure) else None for figure in figures]
    ps = [test.p for test in tests if test]
    corrected = iter(false_discovery_rates(ps))
    return [
        _judged(figure, test, next(corrected) if test else 1.0, len(ps))
        for figure, test in zip(figures, tests, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Test:
    """``p``: two-sided, of "the ratio is at most ``margin`` away from 1". ``drifts`` names a side that does, or ""."""

    ratio: float
    p: float
    low: float
    high: float
    margin: float
    drifts: str

    @property
    def differs(self) -> bool:
        return self.low > self.margin or self.high < 1 / self.margin

    @property
    def same(self) -> bool:
        return 1 / self.margin <= self.low and self.high <= self.margin


def _is_judged(figure: Figure) -> bool:
    test = TESTS.get(figure.pair.test)
    return figure.row.judged and (test is None or test.judged)


def _tested(figure: Figure, relevant: float) -> _Test | None:
    """None where no values could ever decide: too few, zeros, or figures that the kernel's counters contradict."""
    base, cand = figure.base, figure.cand
    if figure.pair.base.books_differ or figure.pair.cand.books_differ or not (base.has_ratio and cand.has_ratio):
        return None
    if min(base.size, cand.size) < FEWEST:
        return None
    found = difference(base.runs, cand.runs)
    low, high = found.interval(CONFIDENCE)
    margin = 1 + relevant
    return _Test(found.ratio, found.p_beyond(margin), low, high, margin, _drifting(figure, margin))


def _drifting(figure: Figure, margin: float) -> str:
    for name, side in (("BASE", figure.base), ("CAND", figure.cand)):
        for run in side.runs:
            if (by := drift(run)) > margin:
                return f"{name} drifted by {100 * (by - 1):.0f} % within a run (rank test against order)"
    return ""


def _judged(figure: Figure, test: _Test | None, corrected: float, among: int) -> Compared:
    caveats = _caveats(figure)
    if not _is_judged(figure):
        spoiled = figure.row.must_be_zero and any(run.any() for run in figure.cand.runs)
        spoiled = spoiled and not any(run.any() for run in figure.base.runs)
        verdict = Verdict.worse if spoiled else Verdict.none
        return Compared(figure, *_estimate(figure), None, None, verdict, "", None, caveats)
    if test is None:
        why, enough = _why_not_tested(figure)
        return Compared(figure, *_estimate(figure), None, None, Verdict.undecided, why, enough, caveats)
    verdict = _verdict(figure, test, corrected)
    why, enough = _why_undecided(figure, test, among) if verdict is Verdict.undecided else ("", None)
    return Compared(figure, test.ratio, (test.low, test.high), test.p, corrected, verdict, why, enough, caveats)


def _estimate(figure: Figure) -> tuple[float | None, tuple[float, float] | None]:
    """The ratio, and its interval where values say how they scatter; of figures without a verdict too."""
    base, cand = figure.base, figure.cand
    if not (base.has_ratio and cand.has_ratio and base.runs and cand.runs):
        return (cand.figure / base.figure if base.figure else None), None
    found = difference(base.runs, cand.runs)
    return found.ratio, (found.interval(CONFIDENCE) if min(base.size, cand.size) > 1 else None)


def _verdict(figure: Figure, test: _Test, corrected: float) -> Verdict:
    if test.drifts:
        return Verdict.undecided
    if test.differs and corrected <= LEVEL:
        return Verdict.better if (test.low > 1) == (figure.better == "higher") else Verdict.worse
    return Verdict.same if test.same else Verdict.undecided


def _why_not_tested(figure: Figure) -> tuple[str, int | None]:
    base, cand = figure.base, figure.cand
    if figure.pair.base.books_differ or figure.pair.cand.books_differ:
        return "the kernel's own counters disagree with the measurement: do not use this figure", None
    if not (base.has_ratio and cand.has_ratio):
        return "values of 0 have no ratio", None
    return f"too few for a verdict: {base.n} and {cand.n} {figure.of}", FEWEST * figure.per_value


def _why_undecided(figure: Figure, test: _Test, among: int) -> tuple[str, int | None]:
    if test.drifts:
        return f"{test.drifts}: measure again when the phone is steady", None
    half = math.log(test.high / test.low) / 2
    if test.differs:
        # What the correction asks for: about one more standard error for ten times as many figures.
        return f"a difference shows, but among {among} figures chance alone may show one", _more(figure, 1.5)
    beyond = abs(abs(math.log(test.ratio)) - math.log(test.margin))
    factor = (half / beyond) ** 2 if beyond else math.inf
    if beyond <= half * math.sqrt(FEWEST / MOST_REPEATS):
        return "the difference is about as large as the least relevant one", None
    return "the values scatter too widely", _more(figure, factor)


def _more(figure: Figure, factor: float) -> int | None:
    """So many repeats or samples a side; None where no night has room for them, or where only more runs would help."""
    per_run = min(figure.base.size / len(figure.base.runs), figure.cand.size / len(figure.cand.runs))
    wanted = max(FEWEST, math.ceil(per_run * factor))
    return wanted * figure.per_value if factor > 1 and wanted <= MOST_REPEATS else None


def _caveats(figure: Figure) -> tuple[Caveat, ...]:
    """What was recorded at these points, on either side, and what their values show."""
    found = [*figure.pair.base.caveats, *figure.pair.cand.caveats]
    slow = [_first_is_slow(point, figure) for point in (figure.pair.base, figure.pair.cand)]
    return tuple(dict.fromkeys((*found, *([Caveat.first_run_slow] if any(slow) else []))))


def _first_is_slow(point: PooledPoint, figure: Figure) -> bool:
    metrics = (result.metrics.get(figure.metric) for _, result in point.parts)
    return any(first_is_slow(metric.values, metric.better) for metric in metrics if metric)
