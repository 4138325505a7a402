"""When two sides that are measured in turn are told apart: a test that may be looked at after every round.

A round gives one ratio of the two sides. Its logarithms are judged by repeated confidence intervals (Jennison and
Turnbull, "Group Sequential Methods with Applications to Clinical Trials", 2000, chapters 9 and 11): Student's intervals
of the mean, each so much wider than one that is looked at once that all looks together are right with the stated
confidence. What is spent on a look falls with the root of its number, so that early looks get most.

Better and worse need two things: the whole interval lies beyond the least relevant difference, and an interval of a
confidence that all figures of the session share excludes "no difference at all". The second is what bounds false
alarms, whatever the noise. Same needs the whole interval within the least relevant difference.

The bounds are exact for logarithms that scatter normally. Ratios of equal sides scatter alike in both directions, and
then heavy tails make Student's intervals wider than they must be, not narrower. tests/test_sequential.py simulates all
that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from records.intervals import CONFIDENCE, FEWEST_FOR_WORDS, RELEVANT, TurnInterval

MOST_LOOKS = 120
"""rounds after which no further one may be looked at: the bounds are made for so many"""
FALSE_ALARM = 0.01
"""chance that equal sides are called better or worse, at any look and in any figure of a session"""
MISSED = (1 - CONFIDENCE) / 2
"""chance that a figure is taken for the wrong side of the least relevant difference: its interval misses that way"""
# Chance of an interval that is wrong at any of the looks, and the two-sided level of a look at round n as a multiple of
# 1/sqrt(n) that gives it. From 400,000 simulated sessions of 120 rounds, looked at from the eighth.
_SPENT = (
    (0.05, 0.0254), (0.02, 0.00867), (0.01, 0.00394), (0.005, 0.00180), (0.002, 0.000647), (0.001, 0.000288),
    (0.0005, 0.000152),
)  # fmt: skip


class SideVerdict(StrEnum):
    """What is known of the candidate against the base."""

    better = "better"
    worse = "worse"
    same = "same"
    undecided = "undecided"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rounds tell of a figure: candidate over base, as a ratio.

    ``rounds`` is how many were needed where something is decided, else how many there are. ``ratio`` is the geometric
    mean, None without rounds. ``interval`` holds at all looks together; None before the first look.
    """

    verdict: SideVerdict
    rounds: int
    ratio: float | None = None
    interval: TurnInterval | None = None


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """``relevant`` is the least relevant difference as a share; ``figures`` is how many a session judges."""

    relevant: float = RELEVANT
    figures: int = 1

    def decide(self, ratios: Sequence[float], *, higher_is_better: bool) -> Decision:
        """Look after each round and return the first decision, or what is known after the last round.

        ``ratios`` are candidate over base, one a round in order of time, all positive. Rounds behind the last look that
        the bounds are made for are not looked at.
        """
        logs = [math.log(ratio) for ratio in ratios[:MOST_LOOKS]]
        total = squares = 0.0
        found = Decision(SideVerdict.undecided, len(logs))
        # Distances from the first keep the sum of squares exact where all ratios are nearly alike.
        first = logs[0] if logs else 0.0
        for number, each in enumerate((log - first for log in logs), start=1):
            total, squares = total + each, squares + each * each
            mean = total / number
            spread = math.sqrt(max(0.0, squares / number - mean * mean) / max(number - 1, 1))
            found = self._look(number, first + mean, spread, higher_is_better=higher_is_better)
            if found.verdict is not SideVerdict.undecided:
                return found
        return found

    def _look(self, number: int, mean: float, error: float, *, higher_is_better: bool) -> Decision:
        """Judge a mean of logarithms of so many rounds by its standard error."""
        if number < FEWEST_FOR_WORDS:
            return Decision(SideVerdict.undecided, number, math.exp(mean))
        width = error * _width(number, 1 - CONFIDENCE)
        margin = math.log1p(self.relevant)
        verdict = SideVerdict.undecided
        if abs(mean) - width > margin and abs(mean) > error * _width(number, FALSE_ALARM / self.figures):
            verdict = SideVerdict.better if (mean > 0) is higher_is_better else SideVerdict.worse
        elif abs(mean) + width <= margin:
            verdict = SideVerdict.same
        interval = TurnInterval(math.exp(mean - width), math.exp(mean + width), CONFIDENCE)
        return Decision(verdict, number, math.exp(mean), interval)


@cache
def _width(number: int, chance: float) -> float:
    """Return how many standard errors an interval reaches to either side, to be wrong at any look with this chance."""
    from scipy.special import stdtrit

    nominal = min(1.0, spent(chance) / math.sqrt(number))
    return float(stdtrit(number - 1, 1 - nominal / 2))


@cache
def spent(chance: float) -> float:
    """Return the two-sided level of the look at round n, as a multiple of 1/sqrt(n), for this chance over all looks.

    Between simulated chances it is interpolated on a log scale, and beyond them the line goes on.
    """
    points = sorted((math.log(chance), math.log(level)) for chance, level in _SPENT)
    wanted = math.log(chance)
    at = min(max(sum(known <= wanted for known, _ in points), 1), len(points) - 1)
    (left, low), (right, high) = points[at - 1], points[at]
    return math.exp(low + (wanted - left) * (high - low) / (right - left))
