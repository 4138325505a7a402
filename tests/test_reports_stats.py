"""Figures of turns: known answers, what samples can give, and the edges; coverage is in tests/test_reports_truth.py."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from reports.stats import figure, first_is_slow, pooled_quantiles, quantiles

Samples = npt.NDArray[np.uint64]


def test_a_figure_of_known_values() -> None:
    found = figure([3.0, 1.0, 2.0, 10.0, 4.0], [0, 1, 2, 3, 4])
    assert (found.n, found.value) == (5, 3.0)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((1.0, 10.0))
    assert found.by_round == {0: 3.0, 1: 1.0, 2: 2.0, 3: 10.0, 4: 4.0}


def test_the_last_turn_of_a_round_stands_for_it() -> None:
    assert figure([3.0, 1.0, 2.0], [0, 0, 1]).by_round == {0: 1.0, 1: 2.0}


def test_no_values_have_no_figure() -> None:
    found = figure([])
    assert (found.n, found.value, found.interval) == (0, None, None)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_too_few_turns_have_a_median_and_no_interval(n: int) -> None:
    found = figure([7.0] * n)
    assert (found.value, found.interval) == (7.0, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN"):
        figure([1.0, bad])


def test_outliers_stay_in() -> None:
    found = figure([10.0] * 5 + [1e6])
    assert found.n == 6
    assert found.interval is not None
    assert found.interval.high > 10.0


def ramp(size: int, times: int = 1) -> Samples:
    return times * np.arange(1, size + 1, dtype=np.uint64)


def test_a_quantile_is_taken_turn_by_turn_as_a_value_that_was_measured() -> None:
    found = quantiles([(number, ramp(1000, times)) for number, times in enumerate((1, 2, 3, 4, 5))])
    assert found["p50"].value == 3 * 500
    assert found["p99"].by_round == {0: 990.0, 1: 1980.0, 2: 2970.0, 3: 3960.0, 4: 4950.0}
    interval = found["p50"].interval
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((500, 2500))
    assert (found["max"].value, found["max"].interval) == (5000, None)


@pytest.mark.parametrize(
    ("size", "turns", "by_turn", "pooled"),
    [
        (3, 8, ["p50"], []),
        (10, 10, ["p50"], ["p90"]),
        (20, 8, ["p50", "p90"], []),
        (100, 10, ["p50", "p90"], ["p99"]),
        (200, 8, ["p50", "p90", "p99"], []),
        (1000, 10, ["p50", "p90", "p99"], ["p99.9"]),
        (2000, 8, ["p50", "p90", "p99", "p99.9"], []),
    ],
)
def test_a_quantile_that_samples_cannot_give_is_not_told(
    size: int, turns: int, by_turn: list[str], pooled: list[str]
) -> None:
    found = quantiles([(number, ramp(size)) for number in range(turns)])
    assert [name for name, each in found.items() if each.interval] == by_turn
    assert [name for name, each in found.items() if each.value is not None and not each.interval] == [*pooled, "max"]


@pytest.mark.parametrize(
    ("n", "told"),
    [(1, []), (100, ["p90"]), (999, ["p90"]), (1000, ["p90", "p99"]), (2000, ["p90", "p99"]),
     (10_000, ["p90", "p99", "p99.9"])],
)  # fmt: skip
def test_samples_without_turns_have_no_interval(n: int, told: list[str]) -> None:
    found = pooled_quantiles(ramp(n))
    assert [name for name, each in found.items() if each.value is not None] == ["p50", *told, "max"]
    assert {each.interval for each in found.values()} == {None}


def test_no_samples_have_no_quantiles() -> None:
    assert {each.value for each in pooled_quantiles(np.array([], dtype=np.uint64)).values()} == {None}
    assert {each.value for each in quantiles([(0, np.array([], dtype=np.uint64))]).values()} == {None}


def test_the_order_of_samples_does_not_matter_and_is_kept() -> None:
    samples = np.array([5, 1, 4, 2, 3], dtype=np.uint64)
    assert pooled_quantiles(samples)["p50"].value == 3
    assert samples.tolist() == [5, 1, 4, 2, 3]


@pytest.mark.parametrize(
    ("values", "slow"),
    [
        ([12.0, 50.0, 51.0, 49.0, 50.5], True),
        ([50.0, 50.0, 50.0, 12.0, 50.0], False),
        ([80.0, 50.0, 51.0, 49.0, 50.5], False),
        ([49.9, 50.0, 50.0, 50.0, 50.0], False),
        ([12.0, 50.0, 50.0], False),
        ([], False),
    ],
)
def test_a_slow_first_run_is_seen(values: list[float], slow: bool) -> None:
    assert first_is_slow(values, "higher") == slow
    assert first_is_slow([1000 / value for value in values], "lower") == slow
