"""The values that a verdict is made from, run by run: of undisturbed turns, of repeats, or of blocks of samples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from base.errors import ReportError
from records.intervals import FEWEST_TURNS
from records.metrics import METRICS, Quantity, row_of
from records.metrics import Values as Kept
from records.model import Better, Metric, RunResult
from records.tests import TESTS
from reports import wording as w
from reports.comparison.points import Pair, PooledPoint
from reports.comparison.turns import RunValues, repeats, samples

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
# All turns together tell a quantile from so many on.
FEWEST_BEYOND_TOGETHER = 10
MEDIAN = 0.5


@dataclass(frozen=True, slots=True)
class Observed:
    """One side of one figure. ``n`` counts turns, repeats or samples; ``runs`` has each run's values, in order of time.

    A run has one value a turn, a repeat or a block of samples, none of a disturbed turn; runs without a value are left
    out. ``figure`` is None where no turn was undisturbed. ``quiet`` and ``disturbed`` count turns, both 0 where the
    records have none.
    """

    n: int
    figure: float | None
    runs: tuple[Values, ...]
    quiet: int = 0
    disturbed: int = 0

    @property
    def size(self) -> int:
        """How many values there are in all."""
        return sum(run.size for run in self.runs)

    @property
    def has_ratio(self) -> bool:
        """Whether all is above zero, so that it can be divided."""
        return self.figure is not None and self.figure > 0 and all(bool((run > 0).all()) for run in self.runs)

    @property
    def is_disturbed(self) -> bool:
        """Whether other work disturbed so many turns that those which are left decide nothing."""
        return self.disturbed > 0 and (self.quiet < FEWEST_TURNS or self.quiet < self.disturbed)


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
        mine, other = base[name][0].metrics[name], cand[name][0].metrics[name]
        if (mine.unit, mine.better) != (other.unit, other.better):
            problems.append(
                f"{_where(pair)}: {name} is in {mine.unit}, {mine.better} is better, in BASE and in {other.unit}, "
                f"{other.better} is better, in CAND"
            )
            continue
        row = row_of(name, mine.unit, mine.better)
        runs = [_series(point, row, side, problems) for point, side in ((pair.base, "BASE"), (pair.cand, "CAND"))]
        if not all(runs):
            continue
        if row.is_sampled:
            found += _at_quantiles(pair, name, mine.unit, runs)
        else:
            found += _of_repeats(pair, name, mine, runs)
    return found + _of_samples(pair, problems)


def _metrics(point: PooledPoint) -> dict[str, list[RunResult]]:
    """The records that hold each metric, by its name."""
    found: dict[str, list[RunResult]] = {}
    for _, result in point.parts:
        for name, metric in result.metrics.items():
            if len(metric.values):
                found.setdefault(name, []).append(result)
    return found


def _series(point: PooledPoint, row: Quantity, side: str, problems: list[str]) -> list[RunValues]:
    found = []
    for run, result in point.parts:
        values = result.metrics[row.name].values if row.name in result.metrics else ()
        if not len(values):
            continue
        try:
            is_sampled = row.is_sampled
            found.append(samples(run, result, row.name, values) if is_sampled else repeats(result, row, values))
        except ReportError as error:
            problems.append(f"{side}, {run.folder.name}: {w.clean(result.test)}: {error}")
    return found


def _of_repeats(pair: Pair, name: str, metric: Metric, runs: Sequence[Sequence[RunValues]]) -> list[Figure]:
    base, cand = (_observed(each, [one.values for one in each], median_of) for each in runs)
    of = "turns" if base.quiet or cand.quiet else "repeats"
    return [Figure(pair, name, "", metric.unit, metric.better, base, cand, of)]


def _observed(runs: Sequence[RunValues], values: Sequence[Values], figure: Callable[[Values], float]) -> Observed:
    import numpy as np

    joined = np.concatenate([run.values for run in runs])
    return Observed(
        joined.size, figure(joined) if joined.size else None, tuple(each for each in values if each.size),
        sum(run.quiet for run in runs), sum(run.disturbed for run in runs),
    )  # fmt: skip


def median_of(values: Values) -> float:
    """The median of repeats."""
    import numpy as np

    return float(np.median(values))


def _of_samples(pair: Pair, problems: list[str]) -> list[Figure]:
    found: list[Figure] = []
    for name in SAMPLES:
        runs = [_raw(point, name, side, problems) for point, side in ((pair.base, "BASE"), (pair.cand, "CAND"))]
        if all(runs):
            found += _at_quantiles(pair, name, "ns", runs)
        elif any(runs):
            problems.append(f"{_where(pair)}: {name} only in {'BASE' if runs[0] else 'CAND'}")
    return found


def _raw(point: PooledPoint, name: str, side: str, problems: list[str]) -> list[RunValues]:
    found = []
    for run, result in point.parts:
        if name not in result.raw:
            continue
        try:
            array = run.samples(result, name)
            if array.size:
                found.append(samples(run, result, name, array))
        except ReportError as error:
            problems.append(f"{side}, {run.folder.name}: {error}")
    return found


def _at_quantiles(pair: Pair, name: str, unit: str, sides: Sequence[Sequence[RunValues]]) -> list[Figure]:
    """A quantile per turn. Without turns a quantile per block of consecutive samples, which are not independent.

    A quantile of few samples is biased by how few they are, so it is taken of equally many on both sides.
    """
    sizes = [size for side in sides if (size := _turn_size(side))]
    fewest_in_all = min(sum(run.values.size for run in side) for side in sides)
    found = []
    for quantile, share in QUANTILES:
        if not all(_can_tell(side, share) for side in sides):
            break
        size = max(fewest_per_block(share), min(sizes) if sizes else fewest_in_all // BLOCKS)
        base, cand = (_observed_samples(side, share, size, by_turn=bool(sizes)) for side in sides)
        of, per_value = ("turns", 1) if sizes else ("samples", size)
        found.append(Figure(pair, name, quantile, unit, "lower", base, cand, of, per_value))
    return found


def _turn_size(side: Sequence[RunValues]) -> int:
    """How many samples a turn of this side has, in the middle; 0 where it has no turns."""
    import numpy as np

    sizes = [turn.size for run in side for turn in run.turns or ()]
    return int(np.median(sizes)) if sizes else 0


def _can_tell(side: Sequence[RunValues], share: float) -> bool:
    """Whether the samples reach as far as this quantile at all: turn by turn, or together."""
    together = sum(run.values.size for run in side)
    if any(run.turns is not None for run in side):
        return share <= MEDIAN or _turns_reach(side, share) or together * (1 - share) >= FEWEST_BEYOND_TOGETHER - 1e-9
    return together * (1 - share) >= 1 - 1e-9


def _turns_reach(side: Sequence[RunValues], share: float) -> bool:
    """Whether each turn has enough samples beyond the quantile, on average."""
    sizes = [turn.size for run in side for turn in run.turns or ()]
    return share <= MEDIAN or sum(sizes) * (1 - share) >= FEWEST_BEYOND * len(sizes) - 1e-9 > 0


def fewest_per_block(share: float) -> int:
    """The fewest samples of a block, or of a turn, that tell this quantile."""
    return max(FEWEST_PER_BLOCK, math.ceil(FEWEST_BEYOND / (1 - share) - 1e-9))


def _observed_samples(runs: Sequence[RunValues], share: float, size: int, *, by_turn: bool) -> Observed:
    """``by_turn``: one side or both have turns, so values are counted and not samples."""
    import numpy as np

    reach = _turns_reach(runs, share)
    values = [np.array(_quantiles(run, share, size) if reach or run.turns is None else []) for run in runs]
    seen = _observed(runs, values, lambda joined: quantile_of(joined, share))
    if not by_turn:
        return seen
    if not seen.size:
        return replace(seen, n=0)
    return replace(seen, n=seen.size, figure=median_of(np.concatenate(values)))


def _quantiles(run: RunValues, share: float, size: int) -> list[float]:
    """One value a turn; of a turn that is larger than the other side's, the median of its parts."""
    if run.turns is None:
        return [quantile_of(block, share) for block in _blocks(run.values, size)]
    reach = [turn for turn in run.turns if share <= MEDIAN or turn.size * (1 - share) >= 1 - 1e-9]
    parts = [_blocks(turn, size) or [turn] for turn in reach]
    return [statistics.median(quantile_of(part, share) for part in each) for each in parts]


def _blocks(run: Values, size: int) -> list[Values]:
    import numpy as np

    return np.array_split(run, run.size // size) if run.size >= size else []


def quantile_of(samples: Values, share: float) -> float:
    """The smallest sample with at least this share at or below it, as in ``stats.quantiles``."""
    import numpy as np

    rank = math.ceil(samples.size * share - 1e-9) - 1
    return float(np.partition(samples, rank)[rank])


def _where(pair: Pair) -> str:
    where = w.params(pair.params)
    return w.clean(pair.test) + (f" ({where})" if where else "")
