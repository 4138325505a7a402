"""A verdict for every figure that carries one.

A figure is *better* or *worse* when the test says so beyond the least relevant difference, corrected for the number of
figures of its family; *same* when the whole interval of the ratio lies within that difference; *disturbed* when other
work disturbed too many turns of a side; else there is *not enough data*. docs/comparing.md says the same with reasons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from records.model import Caveat
from records.tests import TESTS
from reports.comparison.advice import FEWEST, Advice, at_least, to_decide
from reports.comparison.correction import false_discovery_rates
from reports.comparison.difference import RatioEstimate, difference
from reports.comparison.drift import drift
from reports.comparison.values import QUANTILES, Figure, fewest_per_block
from reports.stats import CONFIDENCE, first_is_slow

LEVEL = 1 - CONFIDENCE
# A ratio so near to the least relevant difference is told from it by none that fits into a night.
_TOO_NEAR = 1 / 7


class Verdict(StrEnum):
    """What is known of a figure of the candidate, against the base."""

    worse = "worse"
    better = "better"
    same = "same"
    undecided = "not enough data"
    disturbed = "disturbed"
    none = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure with its verdict. ``ratio`` is candidate over base. ``why`` is the reason where nothing was decided.

    ``advice``: what would probably decide it.
    """

    figure: Figure
    ratio: float | None
    interval: tuple[float, float] | None
    p: float | None
    corrected_p: float | None
    verdict: Verdict
    why: str
    advice: Advice
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

    found: RatioEstimate
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
    """None where no values could decide: too few, zeros, disturbed turns, or what the kernel's counters contradict."""
    base, cand = figure.base, figure.cand
    if base.is_disturbed or cand.is_disturbed:
        return None
    if figure.pair.base.books_differ or figure.pair.cand.books_differ or not (base.has_ratio and cand.has_ratio):
        return None
    if min(base.size, cand.size) < FEWEST:
        return None
    found = difference(base.runs, cand.runs)
    low, high = found.interval(CONFIDENCE)
    margin = 1 + relevant
    return _Test(found, found.p_beyond(margin), low, high, margin, _drifting(figure, margin))


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
        return Compared(figure, *_estimate(figure), None, None, verdict, "", Advice(), caveats)
    if test is None:
        is_disturbed = figure.base.is_disturbed or figure.cand.is_disturbed
        verdict = Verdict.disturbed if is_disturbed else Verdict.undecided
        why, advice = _why_not_tested(figure)
        return Compared(figure, *_estimate(figure), None, None, verdict, why, advice, caveats)
    verdict = _verdict(figure, test, corrected)
    why, advice = _why_undecided(figure, test, among) if verdict is Verdict.undecided else ("", Advice())
    interval = (test.low, test.high)
    return Compared(figure, test.found.ratio, interval, test.p, corrected, verdict, why, advice, caveats)


def _estimate(figure: Figure) -> tuple[float | None, tuple[float, float] | None]:
    """The ratio, and its interval where values say how they scatter; of figures without a verdict too."""
    base, cand = figure.base, figure.cand
    if not (base.has_ratio and cand.has_ratio and base.runs and cand.runs):
        return (cand.figure / base.figure if base.figure and cand.figure is not None else None), None
    found = difference(base.runs, cand.runs)
    return found.ratio, (found.interval(CONFIDENCE) if min(base.size, cand.size) > 1 else None)


def _verdict(figure: Figure, test: _Test, corrected: float) -> Verdict:
    if test.drifts:
        return Verdict.undecided
    if test.differs and corrected <= LEVEL:
        return Verdict.better if (test.low > 1) == (figure.better == "higher") else Verdict.worse
    return Verdict.same if test.same else Verdict.undecided


def _why_not_tested(figure: Figure) -> tuple[str, Advice]:
    base, cand = figure.base, figure.cand
    if base.is_disturbed or cand.is_disturbed:
        left = [f"{each.quiet} of {each.quiet + each.disturbed}" for each in (base, cand)]
        why = f"turns that nothing disturbed: {left[0]} and {left[1]}"
        return why, Advice(None, "measure again when the phone and its host are quiet")
    if figure.pair.base.books_differ or figure.pair.cand.books_differ:
        return "the kernel's own counters disagree with the measurement: do not use this figure", Advice()
    if figure.of == "turns" and figure.quantile and not (base.size and cand.size):
        fewest = fewest_per_block(dict(QUANTILES)[figure.quantile])
        return f"a turn has too few samples for {figure.quantile}", Advice(None, f"it needs {fewest} in each turn")
    if not (base.has_ratio and cand.has_ratio):
        return "values of 0 have no ratio", Advice()
    return f"too few for a verdict: {base.n} and {cand.n} {figure.of}", at_least(figure)


def _why_undecided(figure: Figure, test: _Test, among: int) -> tuple[str, Advice]:
    if test.drifts:
        return f"{test.drifts}: measure again when the phone is steady", Advice()
    half = math.log(test.high / test.low) / 2
    if test.differs:
        # What the correction asks for: about one more standard error for ten times as many figures.
        why = f"a difference shows, but among {among} figures chance alone may show one"
        return why, to_decide(figure, test.found, math.sqrt(1.5))
    beyond = abs(abs(math.log(test.found.ratio)) - math.log(test.margin))
    if beyond <= half * _TOO_NEAR:
        return "the difference is about as large as the least relevant one", Advice()
    return "the values scatter too widely", to_decide(figure, test.found, max(1.0, half / beyond))


def _caveats(figure: Figure) -> tuple[Caveat, ...]:
    """What was recorded at these points, on either side, and what their values show."""
    found = [*figure.pair.base.caveats, *figure.pair.cand.caveats]
    # Rounds have their own warm-up, so a first turn that stands out is noise.
    runs = (*figure.base.runs, *figure.cand.runs) if figure.of == "repeats" else ()
    slow = any(first_is_slow(run.tolist(), figure.better) for run in runs)
    return tuple(dict.fromkeys((*found, *([Caveat.first_run_slow] if slow else []))))
