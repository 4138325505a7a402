"""Statistics of repeats and of samples: pure functions, robust first, nothing is ever left out as an outlier.

Intervals say how well a median or a quantile is known, at 95 % confidence. They assume that the values are independent
draws of one distribution; faults measured one after the other are not quite that, so a latency's interval is a lower
bound of the doubt. How each kind is made is said at the function that makes it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from records.model import Better

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CONFIDENCE = 0.95
FEWEST_FOR_INTERVAL = 5
FEWEST_FOR_BOOTSTRAP = 20
RESAMPLES = 9_999

# Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993): the factor makes the MAD comparable with a standard
# deviation, and a modified z-score above 3.5 is out of line.
MAD_TO_SIGMA = 1.4826
OUT_OF_LINE = 3.5
# Five nearly equal values have a MAD near 0, and then a difference of no interest would be out of line.
SMALLEST_SPREAD = 0.02

Method = Literal["order statistics", "bootstrap"]


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true value lies; ``confidence`` is the coverage of this very interval, not the one that was wished."""

    low: float
    high: float
    confidence: float
    method: Method

    def overlaps(self, other: Interval) -> bool:
        """Whether one value could be in both."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, slots=True)
class Summary:
    """Repeats of one figure. All but ``n`` are in the figure's unit; None means that there are too few values."""

    n: int
    better: Better
    median: float | None
    mad: float | None
    minimum: float | None
    maximum: float | None
    stdev: float | None
    interval: Interval | None

    @property
    def spread(self) -> float | None:
        """The MAD as a share of the median, scaled to compare with a relative standard deviation."""
        if self.median is None or self.mad is None or self.median == 0 or self.n < 2:
            return None
        return MAD_TO_SIGMA * self.mad / abs(self.median)


@dataclass(frozen=True, slots=True)
class Quantile:
    """One quantile of many samples, in their unit. ``value`` or the interval is None where the samples do not reach."""

    name: str
    share: float
    value: float | None
    low: float | None
    high: float | None


def summarise(values: Sequence[float], better: Better, seed: int) -> Summary:
    """Median, spread and the median's interval. :raises ValueError: for NaN and infinity.

    The interval's method depends on n, because the bootstrap fails where it is wanted most: for n = 7 the percentile
    bootstrap of a median ends at the second value from each side, which covers 87.5 % and not 95 %.

    * n < 5: none. The widest one, minimum to maximum, covers 75 % at n = 3 and 87.5 % at n = 4.
    * 5 <= n < 20: between two order statistics, the narrowest pair that covers at least 95 % whatever the
      distribution (the sign test turned round; Hahn and Meeker, "Statistical Intervals", 1991, section 5.2). At n = 5
      that is minimum to maximum with 93.75 %, the most there is, and at n = 6 to 8 minimum to maximum with 96.9 to
      99.2 %. So one odd repeat out of 5 widens the interval; that is meant.
    * n >= 20: percentile bootstrap of the median, 9 999 resamples, the same for the same seed. Tried on skewed values
      from n = 20 to 60, intervals meant to cover 95 % covered 92 to 96 %.
    """
    if any(not math.isfinite(value) for value in values):
        raise ValueError("NaN and infinity are not measurements")
    n = len(values)
    if n == 0:
        return Summary(0, better, None, None, None, None, None, None)
    median = statistics.median(values)
    return Summary(
        n=n,
        better=better,
        median=median,
        mad=statistics.median(abs(value - median) for value in values),
        minimum=min(values),
        maximum=max(values),
        stdev=statistics.stdev(values) if n > 1 else None,
        interval=_median_interval(values, seed),
    )


def quantiles(samples: npt.NDArray[np.uint64]) -> tuple[Quantile, ...]:
    """p50, p90, p99, p99.9 and the maximum of samples, each a value that was measured (no interpolation).

    The interval lies between two order statistics whose ranks come from the binomial distribution: at least 95 %
    whatever the samples' distribution is (Hahn and Meeker, 1991, section 5.2). A quantile needs 1 / (1 - share) samples
    to be told at all, and for its interval enough that the largest sample is above it with 97.5 %: 3 688 for p99.9.
    The maximum has no interval: a longer run finds a larger one.
    """
    import numpy as np

    ordered = np.sort(samples)
    shares = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
    found = [_quantile(ordered, name, share) for name, share in shares]
    largest = float(ordered[-1]) if ordered.size else None
    return (*found, Quantile("max", 1.0, largest, None, None))


def first_is_slow(values: Sequence[float], better: Better) -> bool:
    """Whether the first of at least 4 repeats is out of line with the rest, on the slow side.

    Modified z-score of the first value, with median and MAD of the others: with so few values the first one would
    hide itself by widening the spread that it is measured by.
    """
    if len(values) < 4:
        return False
    rest = values[1:]
    median = statistics.median(rest)
    mad = statistics.median(abs(value - median) for value in rest)
    scale = max(MAD_TO_SIGMA * mad, SMALLEST_SPREAD * abs(median))
    slower_by = (median - values[0]) if better == "higher" else (values[0] - median)
    return slower_by > OUT_OF_LINE * scale


def _median_interval(values: Sequence[float], seed: int) -> Interval | None:
    n = len(values)
    if n < FEWEST_FOR_INTERVAL:
        return None
    if n < FEWEST_FOR_BOOTSTRAP:
        ordered = sorted(values)
        rank, confidence = _median_rank(n)
        return Interval(ordered[rank], ordered[n - 1 - rank], confidence, "order statistics")
    import numpy as np

    drawn = np.random.default_rng(seed).choice(np.asarray(values, dtype=float), size=(RESAMPLES, n))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])
    return Interval(float(low), float(high), CONFIDENCE, "bootstrap")


def _median_rank(n: int) -> tuple[int, float]:
    """The highest rank (from 0, from each side) that still covers 95 %, and its coverage; rank 0 if none does."""

    def coverage(rank: int) -> float:
        outside: int = 2 * sum(math.comb(n, k) for k in range(rank + 1))
        return 1 - outside / (1 << n)

    rank = 0
    while coverage(rank + 1) >= CONFIDENCE:
        rank += 1
    return rank, coverage(rank)


def _quantile(ordered: npt.NDArray[np.uint64], name: str, share: float) -> Quantile:
    n = int(ordered.size)
    # 1e-9: 1000 * (1 - 0.999) is a hair below 1 in binary.
    if n * (1 - share) < 1 - 1e-9:
        return Quantile(name, share, None, None, None)
    # The rank that np.quantile calls inverted_cdf: the smallest value with at least this share at or below it.
    value = float(ordered[math.ceil(n * share - 1e-9) - 1])
    ranks = _quantile_ranks(n, share)
    if ranks is None:
        return Quantile(name, share, value, None, None)
    return Quantile(name, share, value, float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1]))


def _quantile_ranks(n: int, share: float) -> tuple[int, int] | None:
    """Ranks from 1 to n of the two order statistics around a quantile, or None if the samples do not reach so far."""
    import numpy as np
    from scipy.special import bdtr  # the binomial distribution alone: scipy.stats takes a second to import

    tail = (1 - CONFIDENCE) / 2
    reach = 8 * math.sqrt(n * share * (1 - share)) + 8
    counts = np.arange(max(0, math.floor(n * share - reach)), min(n, math.ceil(n * share + reach)) + 1)
    below = bdtr(counts.astype(float), n, share)
    # Low: P(at most low - 1 samples below the quantile) <= tail. High: P(at most high - 1) >= 1 - tail.
    low = int(counts[0]) + int(np.searchsorted(below, tail, side="right"))
    high = int(counts[0]) + int(np.searchsorted(below, 1 - tail, side="left")) + 1
    return (low, high) if low >= 1 and high <= n else None
