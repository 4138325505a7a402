"""Intervals from turns: how well the median over turns is known, and a ratio that was formed round by round.

A turn is one visit to a point, and the unit of repetition: samples within a turn share what disturbed it, so they never
make an interval. The interval is Wilcoxon's signed-rank test turned round (Tukey; Hollander and Wolfe, "Nonparametric
Statistical Methods", 1999, section 3.4), on a log scale where all values are positive. It assumes that turns scatter
alike in both directions, which factors do on that scale, and no other shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

CONFIDENCE = 0.95
FEWEST_TURNS = 5
# Nothing is said in words out of fewer turns or rounds.
FEWEST_FOR_WORDS = 8
RELEVANT = 0.05
"""the least relevant difference, as a share: words and verdicts need an interval that lies beyond it"""
_EXACT_UP_TO = 60


@dataclass(frozen=True, slots=True)
class TurnInterval:
    """Bounds of a median over turns, in its unit; ``confidence`` is what this very interval covers."""

    low: float
    high: float
    confidence: float


def turn_interval(values: Sequence[float] | Values) -> TurnInterval | None:
    """Bound the median over turns; None for fewer than 5. The median of the values is always inside."""
    import numpy as np

    found = np.asarray(values, dtype=float)
    if found.size < FEWEST_TURNS:
        return None
    positive = bool((found > 0).all())
    scaled = np.log(found) if positive else found
    rank, confidence = _left_out(found.size)
    first, second = np.triu_indices(scaled.size)
    means = np.sort((scaled[first] + scaled[second]) / 2)
    median = float(np.median(scaled))
    low, high = min(float(means[rank]), median), max(float(means[-1 - rank]), median)
    return TurnInterval(math.exp(low), math.exp(high), confidence) if positive else TurnInterval(low, high, confidence)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One point over another, formed round by round: ``value`` is the median of the rounds' ratios."""

    value: float
    interval: TurnInterval | None
    rounds: int

    def beyond(self, relevant: float) -> int:
        """Tell what may be said in words: 1 more, -1 less, 0 that no difference can be told.

        ``relevant`` is the least relevant difference as a share. The whole interval must lie beyond it, out of at least
        8 rounds.
        """
        if self.interval is None or self.rounds < FEWEST_FOR_WORDS:
            return 0
        return int(self.interval.low > 1 + relevant) - int(self.interval.high < 1 / (1 + relevant))


def paired_ratio(point: Sequence[float] | Values, control: Sequence[float] | Values) -> Ratio | None:
    """Divide two points of the same rounds, value by value; what a round has in common cancels.

    None where no ratio can be formed: no rounds, or a value that is not positive.
    """
    import numpy as np

    mine, other = np.asarray(point, dtype=float), np.asarray(control, dtype=float)
    if mine.shape != other.shape:
        raise ValueError(f"{mine.size} and {other.size} turns: a ratio is formed within rounds")
    if mine.size == 0 or not ((mine > 0).all() and (other > 0).all()):
        return None
    ratios = mine / other
    return Ratio(float(np.exp(np.median(np.log(ratios)))), turn_interval(ratios), ratios.size)


@cache
def _left_out(n: int) -> tuple[int, float]:
    """How many of the ordered means of pairs lie outside at each end, and what the interval then covers.

    The most that still covers 95 %; with 5 turns even the widest covers 93.75 % only.
    """
    import numpy as np

    tail = (1 - CONFIDENCE) / 2
    if n > _EXACT_UP_TO:
        from statistics import NormalDist

        spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return max(0, math.floor(n * (n + 1) / 4 - NormalDist().inv_cdf(1 - tail) * spread) - 1), CONFIDENCE
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] += ways[:-rank].copy()
    below = np.cumsum(ways / 2.0**n)
    outside = max(0, int(np.searchsorted(below, tail, side="right")) - 1)
    return outside, 1 - 2 * float(below[outside])
