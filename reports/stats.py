"""Figures of one point: the median over its turns, and quantiles of samples taken turn by turn; no outlier is left out.

A turn is the unit of repetition: samples of one turn share what disturbed it, so an interval comes from turns and never
from samples (records/intervals.py). Samples without turns have quantiles and no interval.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from records import intervals
from records.intervals import TurnInterval, turn_interval
from records.model import Better

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.uint64]

CONFIDENCE = intervals.CONFIDENCE
FEWEST_FOR_INTERVAL = intervals.FEWEST_TURNS
SHARES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
# A turn gives a quantile if so many of its samples lie beyond it, and all samples together if that many do.
_BEYOND_IN_A_TURN, _BEYOND_IN_THE_POOL = 2, 10

# Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993): the factor makes the MAD comparable with a standard
# deviation, and a modified z-score above 3.5 is out of line.
MAD_TO_SIGMA = 1.4826
OUT_OF_LINE = 3.5
# Five nearly equal values have a MAD near 0, and then a difference of no interest would be out of line.
SMALLEST_SPREAD = 0.02


@dataclass(frozen=True, slots=True)
class PointFigure:
    """One figure of a point, in its unit: the median over turns, or None where there is none to be had.

    ``n`` is the number of turns (or values) that it rests on. ``by_round`` has the value of the last undisturbed turn
    of each round: ratios are formed of these. It is empty where the point has no turns.
    """

    n: int
    value: float | None
    interval: TurnInterval | None = None
    by_round: Mapping[int, float] = field(default_factory=dict)


def figure(values: Sequence[float], rounds: Sequence[int] | None = None) -> PointFigure:
    """Return the figure of one value a turn, in order of time; ``rounds`` says in which round each was measured.

    :raises ValueError: for NaN and infinity.
    """
    if any(not math.isfinite(value) for value in values):
        raise ValueError("NaN and infinity are not measurements")
    by_round = {} if rounds is None else dict(zip(rounds, values, strict=True))
    median = statistics.median(values) if values else None
    return PointFigure(len(values), median, turn_interval(values), by_round)


def quantiles(turns: Sequence[tuple[int, Samples]]) -> dict[str, PointFigure]:
    """Return p50, p90, p99, p99.9 and the maximum of the samples of turns, each with its round, in order of time.

    Each quantile is taken in each turn, as a value that was measured (no interpolation), where at least 2 samples a
    turn lie beyond it. One that turns are too small for is taken of all samples together, without an interval, where
    at least 10 lie beyond it, and else not at all. The median and the maximum are always told; the maximum has no
    interval: a longer run finds a larger one.
    """
    import numpy as np

    ordered = [np.sort(samples) for _, samples in turns if samples.size]
    rounds = [number for number, samples in turns if samples.size]
    if not ordered:
        return {name: PointFigure(0, None) for name in (*SHARES, "max")}
    pool = np.sort(np.concatenate(ordered))
    found = {}
    for name, share in SHARES.items():
        # 1e-9: 1000 * (1 - 0.999) is a hair below 1 in binary.
        beyond = pool.size * (1 - share) + 1e-9
        if share == 0.5 or beyond >= _BEYOND_IN_A_TURN * len(ordered):
            found[name] = figure([_at(each, share) for each in ordered], rounds)
        else:
            found[name] = PointFigure(len(ordered), _at(pool, share) if beyond >= _BEYOND_IN_THE_POOL else None)
    return found | {"max": PointFigure(len(ordered), float(pool[-1]))}


def pooled_quantiles(samples: Samples) -> dict[str, PointFigure]:
    """Return the same of samples that were taken at one go: without intervals, which only turns can give."""
    import numpy as np

    ordered = np.sort(samples)
    found = {
        name: PointFigure(
            1, _at(ordered, share) if ordered.size and _is_given(ordered.size * (1 - share), share) else None
        )
        for name, share in SHARES.items()
    }  # fmt: skip
    return found | {"max": PointFigure(1, float(ordered[-1]) if ordered.size else None)}


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


def _is_given(beyond: float, share: float) -> bool:
    return share == 0.5 or beyond + 1e-9 >= _BEYOND_IN_THE_POOL


def _at(ordered: Samples, share: float) -> float:
    """The smallest value with at least this share at or below it: what np.quantile calls inverted_cdf."""
    return float(ordered[max(0, math.ceil(ordered.size * share - 1e-9) - 1)])
