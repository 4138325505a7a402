"""Two groups of values, by their ranks: is one larger by more than a ratio, and where does the ratio lie.

Rank tests assume no distribution, only that the values are independent and that the two groups differ by a factor. The
null distribution is exact, ties included: the share of all ways to pick the second group's ranks out of all ranks
(Wilcoxon's rank sum as a permutation test; scipy's exact method leaves ties out of account).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

# Beyond so many values in both groups the normal approximation, corrected for ties, differs from the exact p by less
# than a reader could see, and counting every way takes too long.
EXACT_UP_TO = 80


def least_p(first: int, second: int) -> float:
    """The smallest two-sided p that groups of these sizes can give: 0.10 for 3 and 3, 0.0079 for 5 and 5."""
    return min(1.0, 2 / math.comb(first + second, second))


def enough_for(level: float) -> int:
    """The fewest values per group that can give a two-sided p of at most ``level``."""
    size = 1
    while least_p(size, size) > level:
        size += 1
    return size


def p_larger(base: Values, cand: Values, ratio: float) -> float:
    """One-sided p of "``cand`` is at most ``ratio`` times ``base``": small where it is larger. Values are positive."""
    import numpy as np

    joined = np.concatenate([base * ratio, cand])
    _, places, counts = np.unique(joined, return_inverse=True, return_counts=True)
    # Twice the mid-ranks, which are whole numbers also where values are tied.
    doubled = (2 * np.cumsum(counts) - counts + 1)[places]
    seen = int(doubled[base.size :].sum())
    if joined.size > EXACT_UP_TO:
        return _normal_tail(doubled, cand.size, seen)
    return _exact_tail(tuple(sorted(doubled.tolist())), cand.size, seen)


def p_smaller(base: Values, cand: Values, ratio: float) -> float:
    """One-sided p of "``cand`` is at least ``ratio`` times ``base``"."""
    return p_larger(cand, base, 1 / ratio)


def ratio_interval(base: Values, cand: Values, confidence: float) -> tuple[float, float] | None:
    """Where the factor between two groups of positive values lies; None if they are too few for the confidence.

    The rank test turned round (Hodges and Lehmann; Moses): between two of the ordered ratios of every value of ``cand``
    to every value of ``base``. A factor outside is one that the two-sided test at ``1 - confidence`` rejects.
    """
    import numpy as np

    left_out = _ratios_left_out(base.size, cand.size, (1 - confidence) / 2)
    if left_out == 0:
        return None
    ratios = np.sort((cand[:, None] / base[None, :]).ravel())
    return float(ratios[left_out - 1]), float(ratios[-left_out])


def false_discovery_rates(ps: Sequence[float]) -> list[float]:
    """Each p adjusted for how many there are (Benjamini and Hochberg, 1995), in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i], reverse=True)
    adjusted, least = [1.0] * len(ps), 1.0
    for place, index in enumerate(order):
        least = min(least, ps[index] * len(ps) / (len(ps) - place))
        adjusted[index] = least
    return adjusted


def _ratios_left_out(first: int, second: int, tail: float) -> int:
    """How far in from each end the interval begins, counted from 1: the largest k with P(U <= k - 1) <= tail."""
    if first + second > EXACT_UP_TO:
        spread = math.sqrt(first * second * (first + second + 1) / 12)
        return max(0, math.floor(first * second / 2 - _normal_quantile(1 - tail) * spread))
    least_sum = second * (second + 1)
    shares = _picked_sums(tuple(range(2, 2 * (first + second) + 1, 2)), second)
    left_out, below = 0, 0.0
    while (below := below + float(shares[least_sum + 2 * left_out])) <= tail:
        left_out += 1
    return left_out


def _exact_tail(doubled: tuple[int, ...], picked: int, seen: int) -> float:
    """P(sum of ``picked`` of the ranks >= ``seen``)."""
    return min(1.0, float(_picked_sums(doubled, picked)[seen:].sum()))


@lru_cache(maxsize=128)
def _picked_sums(doubled: tuple[int, ...], picked: int) -> Values:
    """At [s] the share of all ways to pick so many of the ranks that sum to s."""
    import numpy as np

    ways = np.zeros((picked + 1, sum(sorted(doubled)[-picked:]) + 1))
    ways[0, 0] = 1.0
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, :-rank]
    shares: Values = ways[picked] / math.comb(len(doubled), picked)
    shares.flags.writeable = False
    return shares


def _normal_tail(doubled: npt.NDArray[np.int64], picked: int, seen: int) -> float:
    n = doubled.size
    mean = picked * (n + 1)
    variance = float(doubled.var()) * picked * (n - picked) / (n - 1)
    if variance == 0:
        return 1.0
    # One less: half a step of the doubled sum, which goes by two where nothing is tied.
    return 0.5 * math.erfc((seen - 1 - mean) / math.sqrt(2 * variance))


def _normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)
