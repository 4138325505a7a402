"""Whether the values of a run move with time: the rank test against order (Mann, 1945; Kendall)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

# Of 50 steady runs one looks like this.
LEVEL = 0.02
_EXACT_UP_TO = 60


def drift(values: Values) -> float:
    """Return the factor by which the halves of a run differ where time explains it; 1 for a steady run."""
    import numpy as np

    if values.size < 4 or not (values > 0).all() or _p(values) > LEVEL:
        return 1.0
    half = values.size // 2
    first, last = (float(np.median(part)) for part in (values[:half], values[-half:]))
    return max(first / last, last / first)


def _p(values: Values) -> float:
    """Two-sided p of Kendall's statistic: pairs that rise, less pairs that fall."""
    import numpy as np

    first, second = np.triu_indices(values.size, 1)
    score = abs(int(np.sign(values[second] - values[first]).sum()))
    pairs = values.size * (values.size - 1) // 2
    if values.size > _EXACT_UP_TO:
        n = values.size
        deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
        return math.erfc(max(0, score - 1) / deviation / math.sqrt(2))
    # A score of s has (pairs - s) / 2 falling pairs; ties make it smaller, which is the safe side.
    return min(1.0, 2 * float(_falling(values.size)[: (pairs - score) // 2 + 1].sum()))


@cache
def _falling(n: int) -> Values:
    """At [k] the share of all orders of n values in which k pairs fall."""
    import numpy as np

    shares = np.ones(1)
    for size in range(2, n + 1):
        shares = np.convolve(shares, np.full(size, 1 / size))
    return shares
