"""The values that a verdict is made from, run by run: repeats, or quantiles of blocks of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from base.errors import ReportError
from records.metrics import METRICS, Quantity, row_of
from records.metrics import Values as Kept
from records.model import Better, Metric
from records.tests import TESTS
from reports.comparison.points import Pair, PooledPoint

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

PRIMARY_QUANTILES = ("", "p50", "p99")
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
# Raw samples of one distribution, so compared at quantiles; every other raw array is a course over time.
SAMPLES = tuple(row.name for row in METRICS.values() if row.values is Kept.samples)
BLOCKS = 20
FEWEST_PER_BLOCK = 10
# So many samples of a block lie beyond its quantile, or else it is hardly more than the block's largest.
FEWEST_BEYOND = 2


@dataclass(frozen=True, slots=True)
class Observed:
    """One side of one figure. ``n`` counts repeats or samples; ``runs`` has the values of each run, in order of time.

    A run has one value a repeat, or one a block of samples. Runs without a value are left out.
    """

    n: int
    figure: float
    runs: tuple[Values, ...]

    @property
    def size(self) -> int:
        """How many values there are in all."""
        return sum(run.size for run in self.runs)

    @property
    def has_ratio(self) -> bool:
        """Whether all is above zero, so that it can be divided."""
        return self.figure > 0 and all(bool((run > 0).all()) for run in self.runs)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a pair of points, both sides. ``quantile`` is empty for a median of repeats.

    ``of`` says what there must be more of for more values; ``per_value`` is how many of them make one value.
    """

    pair: Pair
    metric: str
    quantile: str
    unit: str
    better: Better
    base: Observed
    cand: Observed
    of: str
    per_value: int = 1

    @property
    def row(self) -> Quantity:
        """What is known of the metric."""
        return row_of(self.metric, self.unit, self.better)

    @property
    def is_primary(self) -> bool:
        """Whether it belongs to the few figures that a comparison is made for."""
        test = TESTS.get(self.pair.test)
        return test is not None and test.primary and self.row.judged and self.quantile in PRIMARY_QUANTILES


def figures_of(pair: Pair, problems: list[str]) -> list[Figure]:
    """Every figure that both points have. What cannot be compared is added to ``problems`` by name."""
    found: list[Figure] = []
    base, cand = _metrics(pair.base), _metrics(pair.cand)
    for name in dict.fromkeys((*base, *cand)):
        if name not in base or name not in cand:
            problems.append(f"{_where(pair)}: {name} only in {'BASE' if name in base else 'CAND'}")
            continue
        mine, other = base[name][0], cand[name][0]
        if (mine.unit, mine.better) != (other.unit, other.better):
            problems.append(
                f"{_where(pair)}: {name} is in {mine.unit}, {mine.better} is better, in BASE and in {other.unit}, "
                f"{other.better} is better, in CAND"
            )
            continue
        runs = [[_floats(metric.values) for metric in side[name]] for side in (base, cand)]
        if row_of(name, mine.unit, mine.better).is_sampled:
            found += _at_quantiles(pair, name, mine.unit, runs)
        else:
            found += _of_repeats(pair, name, mine, runs)
    return found + _of_samples(pair, problems)


def _metrics(point: PooledPoint) -> dict[str, list[Metric]]:
    found: dict[str, list[Metric]] = {}
    for _, result in point.parts:
        for name, metric in result.metrics.items():
            if len(metric.values):
                found.setdefault(name, []).append(metric)
    return found


def _of_repeats(pair: Pair, name: str, metric: Metric, runs: Sequence[Sequence[Values]]) -> list[Figure]:
    base, cand = (_observed(each, each, median_of) for each in runs)
    return [Figure(pair, name, "", metric.unit, metric.better, base, cand, "repeats")]


def _observed(runs: Sequence[Values], values: Sequence[Values], figure: Callable[[Values], float]) -> Observed:
    import numpy as np

    joined = np.concatenate(runs)
    return Observed(joined.size, figure(joined), tuple(each for each in values if each.size))


def median_of(values: Values) -> float:
    """The median of repeats."""
    import numpy as np

    return float(np.median(values))


def _of_samples(pair: Pair, problems: list[str]) -> list[Figure]:
    found: list[Figure] = []
    for name in SAMPLES:
        runs = [_samples(point, name, side, problems) for point, side in ((pair.base, "BASE"), (pair.cand, "CAND"))]
        if all(runs):
            found += _at_quantiles(pair, name, "ns", runs)
        elif any(runs):
            problems.append(f"{_where(pair)}: {name} only in {'BASE' if runs[0] else 'CAND'}")
    return found


def _samples(point: PooledPoint, name: str, side: str, problems: list[str]) -> list[Values]:
    arrays = []
    for run, result in point.parts:
        if name not in result.raw:
            continue
        try:
            array = run.samples(result, name)
        except ReportError as error:
            problems.append(f"{side}, {run.folder.name}: {error}")
            continue
        if array.size:
            arrays.append(array.astype(float))
    return arrays


def _at_quantiles(pair: Pair, name: str, unit: str, runs: Sequence[Sequence[Values]]) -> list[Figure]:
    """Samples of neighbours are not independent, so the test sees a quantile per block of consecutive ones.

    A quantile of few samples is biased by how few they are, so the blocks of both sides have the same size.
    """
    fewest_in_all = min(sum(run.size for run in side) for side in runs)
    found = []
    for quantile, share in QUANTILES:
        if fewest_in_all * (1 - share) < 1 - 1e-9:
            break  # no sample lies beyond it
        size = max(_fewest_per_block(share), fewest_in_all // BLOCKS)
        base, cand = (_observed_samples(side, share, size) for side in runs)
        found.append(Figure(pair, name, quantile, unit, "lower", base, cand, "samples", size))
    return found


def _fewest_per_block(share: float) -> int:
    return max(FEWEST_PER_BLOCK, math.ceil(FEWEST_BEYOND / (1 - share) - 1e-9))


def _observed_samples(runs: Sequence[Values], share: float, size: int) -> Observed:
    import numpy as np

    blocks = [np.array([quantile_of(block, share) for block in _blocks(run, size)]) for run in runs]
    return _observed(runs, blocks, lambda joined: quantile_of(joined, share))


def _blocks(run: Values, size: int) -> list[Values]:
    import numpy as np

    return np.array_split(run, run.size // size) if run.size >= size else []


def quantile_of(samples: Values, share: float) -> float:
    """The smallest sample with at least this share at or below it, as in ``stats.quantiles``."""
    import numpy as np

    rank = math.ceil(samples.size * share - 1e-9) - 1
    return float(np.partition(samples, rank)[rank])


def _floats(values: Sequence[float]) -> Values:
    import numpy as np

    return np.asarray(values, dtype=float)


def _where(pair: Pair) -> str:
    from reports import wording as w

    where = w.params(pair.params)
    return w.clean(pair.test) + (f" ({where})" if where else "")
