"""What of a stored run is followed from night to night: the primary figures, and the control beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from base.errors import ReportError
from records import metrics as m
from records import parameters as p
from records import tests as t
from records.intervals import FEWEST_TURNS, turn_interval
from records.model import Better, Caveat, RunResult
from records.reading import StoredRun
from reports.comparison import turns
from reports.comparison.turns import RunValues

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WATCHED_TESTS = frozenset(name for name, test in t.TESTS.items() if test.primary)
QUANTILES = (("p50", 0.5), ("p99", 0.99))
# What the samples of each turn must have beyond a quantile, and those of all turns together where turns are too small.
_BEYOND_IN_TURN, _BEYOND_TOGETHER = 2, 10
# Figures with such a doubt are shown and never used: other nights cannot be held against them.
DOUBTS = frozenset({
    Caveat.throttled, Caveat.too_hot, Caveat.noisy_host, Caveat.other_writer, Caveat.other_tracer, Caveat.disturbed,
    Caveat.short_writeback, Caveat.load_ended_early, Caveat.incomplete_run, Caveat.clock_off,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Watched:
    """A series that is followed: what is measured, and where. Two runs with the same one can be held side by side."""

    test: str
    params: str
    metric: str
    quantile: str
    unit: str
    better: Better

    @property
    def name(self) -> str:
        """Unique, and fit for people: ``fault_latency fault.latency p50 slot=ram``."""
        return " ".join(part for part in (self.test, self.metric, self.quantile, self.params) if part)

    @property
    def is_control(self) -> bool:
        """Whether writeback cannot move it, but room and host can: the fault on a page in RAM, p50."""
        key = self.test, self.metric, self.quantile
        slot = f"{p.SLOT.key}={json.dumps('ram')}"
        return key == (t.FAULTS.name, m.FAULT_LATENCY.name, "p50") and slot in self.params.split()


@dataclass(frozen=True, slots=True)
class Followed:
    """A series' figure of one run: median and interval over its undisturbed turns.

    ``used``: no doubt speaks against holding it against other nights. ``n`` counts turns, or samples where the record
    has no turns.
    """

    series: Watched
    n: int
    median: float
    low: float | None
    high: float | None
    used: bool


def followed(run: StoredRun) -> list[Followed]:
    """Every watched figure of a run; what cannot be read of it is left out."""
    in_doubt = run.end is None or not DOUBTS.isdisjoint(run.session.caveats)
    # Data are sized by a first measurement, so their size is no part of what is measured: the largest stands for all.
    by_size = sorted(run.runs, key=lambda result: _number(result.params.get(p.DATA_BYTES.key)))
    found = {each.series: each for result in by_size for each in _of_point(run, result, in_doubt)}
    return list(found.values())


def _of_point(run: StoredRun, result: RunResult, in_doubt: bool) -> Iterator[Followed]:
    if result.test not in WATCHED_TESTS:
        return
    used = not in_doubt and DOUBTS.isdisjoint(result.caveats)
    params = _params(result.params)
    for row, series in _measured(run, result):
        enough = used and (not result.turns or series.quiet >= FEWEST_TURNS)
        for quantile, values in _values(row, series):
            if len(values) and all(math.isfinite(value) for value in values):
                watched = Watched(result.test, params, row.name, quantile, row.unit, row.better)
                yield _figure(watched, values, series, enough)


def _measured(run: StoredRun, result: RunResult) -> Iterator[tuple[m.Quantity, RunValues]]:
    """The judged metrics of a point, with what was undisturbed of them."""
    for name in (*result.metrics, *result.raw):
        row = m.METRICS.get(name)
        if row is None or not row.judged:
            continue
        try:
            if name in result.raw:
                yield row, turns.samples(run, result, name, run.samples(result, name))
            elif row.is_sampled:
                yield row, turns.samples(run, result, name, result.metrics[name].values)
            else:
                yield row, turns.repeats(result, row, result.metrics[name].values)
        except ReportError:
            continue


def _values(row: m.Quantity, series: RunValues) -> Iterator[tuple[str, list[float]]]:
    """One value a turn, or one in all where only all turns together can give it."""
    if not row.is_sampled:
        yield "", [float(value) for value in series.values]
        return
    by_turn = [turn for turn in series.turns or () if turn.size]
    for quantile, share in QUANTILES:
        beyond = series.values.size * (1 - share) + 1e-9
        if by_turn and (share == 0.5 or beyond >= _BEYOND_IN_TURN * len(by_turn)):
            yield quantile, [_at(turn, share) for turn in by_turn]
        elif series.values.size and (share == 0.5 or beyond >= _BEYOND_TOGETHER):
            yield quantile, [_at(series.values, share)]


def _figure(series: Watched, values: list[float], seen: RunValues, used: bool) -> Followed:
    import numpy as np

    interval = turn_interval(values)
    n = len(values) if len(values) > 1 else seen.values.size
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Followed(series, n, float(np.median(values)), low, high, used)


def _at(samples: npt.NDArray[np.float64], share: float) -> float:
    """The smallest sample with at least this share at or below it."""
    import numpy as np

    rank = max(0, math.ceil(samples.size * share - 1e-9) - 1)
    return float(np.partition(samples, rank)[rank])


def _params(params: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={json.dumps(params[key])}" for key in sorted(params) if key != p.DATA_BYTES.key)


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0
