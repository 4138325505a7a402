"""How much two sides differ, and how sure that is: a t-test on the runs' figures whose variance is moderated.

A run's figure is the Hodges-Lehmann estimate of its values on a log scale, so that one odd value hardly moves it, and
the ratio of two sides is the median of all ratios of their runs. What a run's figure scatters by is told twice: by the
values within runs, and by how the runs of a side differ among themselves. With one run a side only the former is seen.
The test takes both, each with the weight of what is known (the empirical Bayes variance of Smyth, "Linear models and
empirical Bayes methods for assessing differential expression", 2004). So more runs never cost power, and few runs are
not taken for more than they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

# What runs of one phone differ by for no reason (boot, file, hour), as a share, until runs show otherwise.
BETWEEN_RUNS = 0.012
# That assumption weighs as much as so many degrees of freedom.
PRIOR_DEGREES = 4.0
# A Hodges-Lehmann estimate scatters by a little more than a mean: pi / 3 times its variance (normal values).
_HODGES_LEHMANN = math.pi / 3
# Of more values than that the plain median is known well enough.
_MOST_PAIRED = 400


@dataclass(frozen=True, slots=True)
class RatioEstimate:
    """``ratio`` is candidate over base. ``error`` is its standard error on a log scale, known by ``degrees``.

    ``of_repeats`` is the share of the error's square that more values within the same runs would make smaller.
    """

    ratio: float
    error: float
    degrees: float
    of_repeats: float = 0.0

    def interval(self, confidence: float) -> tuple[float, float]:
        """Bounds of the ratio at this confidence."""
        half = _t_quantile(1 - (1 - confidence) / 2, self.degrees) * self.error
        return self.ratio * math.exp(-half), self.ratio * math.exp(half)

    def p_beyond(self, margin: float) -> float:
        """Two-sided p of "the ratio is at most the factor ``margin`` away from 1"."""
        beyond = abs(math.log(self.ratio)) - math.log(margin)
        return min(1.0, 2 * _t_tail(beyond / self.error, self.degrees)) if self.error else float(beyond <= 0)


def difference(base: Sequence[Values], cand: Sequence[Values]) -> RatioEstimate:
    """Compare two sides, each given as the positive values of each of its runs (one array a run, none empty)."""
    import numpy as np

    runs = [np.array([pseudo_median(np.log(values)) for values in side]) for side in (base, cand)]
    ratio = float(np.median(runs[1][:, None] - runs[0][None, :]))
    within = [_within(side) for side in (base, cand)]
    inner = _pooled(within)
    variance, degrees = _moderated(runs, within, inner)
    error = math.sqrt(sum(variance / len(side) for side in runs))
    return RatioEstimate(math.exp(ratio), error, degrees, min(1.0, inner / variance))


def pseudo_median(values: Values) -> float:
    """The Hodges-Lehmann estimate: the median of the means of all pairs, each value with itself too."""
    import numpy as np

    if values.size > _MOST_PAIRED:
        return float(np.median(values))
    first, second = np.triu_indices(values.size)
    return float(np.median((values[first] + values[second]) / 2))


@dataclass(frozen=True, slots=True)
class _Within:
    """What the values of one side's runs say: the variance of a run's figure, and its degrees of freedom."""

    variance: float
    degrees: float


def _within(side: Sequence[Values]) -> _Within:
    import numpy as np

    logs = [np.log(values) for values in side]
    degrees = sum(values.size - 1 for values in logs)
    if degrees == 0:
        return _Within(0.0, 0.0)
    of_a_value = sum(float(((values - values.mean()) ** 2).sum()) for values in logs) / degrees
    of_a_run = float(np.mean([of_a_value / values.size for values in logs])) * _HODGES_LEHMANN
    return _Within(of_a_run, degrees)


def _pooled(within: Sequence[_Within]) -> float:
    """The variance of a run's figure as the values within the runs of both sides show it."""
    known = sum(each.degrees for each in within)
    return sum(each.variance * each.degrees for each in within) / known if known else 0.0


def _moderated(runs: Sequence[Values], within: Sequence[_Within], inner: float) -> tuple[float, float]:
    """The variance of one run's figure, and its degrees of freedom, from within runs and from between them."""
    known = sum(each.degrees for each in within)
    assumed = inner + BETWEEN_RUNS**2
    between = sum(side.size - 1 for side in runs)
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in runs)
    if between == 0:
        # Welch and Satterthwaite: only what the values within the runs say is uncertain.
        return assumed, known * (assumed / inner) ** 2 if inner else math.inf
    return (PRIOR_DEGREES * assumed + squares) / (PRIOR_DEGREES + between), PRIOR_DEGREES + between


def _t_tail(t: float, degrees: float) -> float:
    from scipy.special import ndtr, stdtr  # scipy.stats takes a second to import

    return float(ndtr(-t) if math.isinf(degrees) else stdtr(degrees, -t))


def _t_quantile(share: float, degrees: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(share) if math.isinf(degrees) else stdtrit(degrees, share))
