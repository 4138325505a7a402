"""Intervals hold what they promise, on simulated turns; ZRAM_LAB_SIMULATED_RUNS=2000 makes it a study of minutes."""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pytest

from records.intervals import paired_ratio, turn_interval
from reports.comparison.correction import false_discovery_rates
from reports.comparison.difference import difference

RUNS = int(os.environ.get("ZRAM_LAB_SIMULATED_RUNS", "400"))
# Three standard errors of a share of 0.95 out of so many runs.
SLACK = 3 * (0.95 * 0.05 / RUNS) ** 0.5
RELEVANT = 1.05


@pytest.mark.parametrize("between", [0.03, 0.10, 0.30])
@pytest.mark.parametrize("turns", [8, 12])
def test_an_interval_of_turns_holds_the_truth_as_often_as_it_says(turns: int, between: float) -> None:
    drawn = np.random.default_rng(1)
    held = 0
    for _ in range(RUNS):
        samples = np.exp(drawn.normal(0, between, (turns, 1)) + drawn.normal(0, 0.4, (turns, 250)))
        interval = turn_interval(np.median(samples, axis=1))
        assert interval is not None
        held += interval.low <= 1 <= interval.high
    assert 0.93 - SLACK <= held / RUNS <= 0.97 + SLACK


def test_what_a_round_has_in_common_cancels_in_a_ratio() -> None:
    drawn = np.random.default_rng(2)
    held = said = 0
    for _ in range(RUNS):
        host = np.exp(drawn.normal(0, 0.5, 8))
        base, other = (np.exp(drawn.normal(0, 0.05, 8)) for _ in range(2))
        ratio = paired_ratio(1.5 * host * other, host * base)
        assert ratio is not None
        assert ratio.interval is not None
        held += ratio.interval.low <= 1.5 <= ratio.interval.high
        said += ratio.beyond(0.05) == 1
    assert 0.93 - SLACK <= held / RUNS <= 0.97 + SLACK
    assert said >= 0.99 * RUNS


def test_two_names_of_one_point_are_not_told_apart() -> None:
    """The least relevant difference is part of what is asked, so that noise says next to nothing in words."""
    drawn = np.random.default_rng(3)
    said = 0
    for _ in range(RUNS):
        ratio = paired_ratio(*(np.exp(drawn.normal(0, 0.2, 8)) for _ in range(2)))
        assert ratio is not None
        said += ratio.beyond(0.05) != 0
    assert said <= 0.05 * RUNS


def test_too_few_rounds_say_nothing_and_bad_values_have_no_ratio() -> None:
    few = paired_ratio([2.0] * 7, [1.0] * 7)
    assert few is not None
    assert few.beyond(0.05) == 0
    assert turn_interval([1.0] * 4) is None
    assert paired_ratio([1.0, 0.0], [1.0, 1.0]) is None
    with pytest.raises(ValueError, match="within rounds"):
        paired_ratio([1.0], [1.0, 2.0])


def called(
    *, within: float, between: float, change: float, runs: int, repeats: int, trials: int
) -> tuple[float, float]:
    """Share of truly changed figures that are called, and of comparisons with a false alarm; 16 figures, 8 change."""
    drawn = np.random.default_rng(4)
    found, alarms = 0.0, 0
    for _ in range(trials):
        ps = []
        for number in range(16):
            truth = (1.0, 1 + change if number < 8 else 1.0)
            sides = [
                [
                    mean * np.exp(drawn.normal(0, between) + drawn.normal(0, within, repeats))
                    for _ in range(runs)
                ]
                for mean in truth
            ]  # fmt: skip
            ps.append(difference(*sides).p_beyond(RELEVANT))
        decided = np.array(false_discovery_rates(ps)) <= 0.05
        found += float(decided[:8].mean())
        alarms += bool(decided[8:].any() if change else decided.any())
    return found / trials, alarms / trials


def test_one_run_of_ten_repeats_sees_a_fifth() -> None:
    power, _ = called(within=0.05, between=0.0, change=0.2, runs=1, repeats=10, trials=RUNS // 10)
    assert power >= 0.9


def test_more_runs_never_cost_power_and_five_of_five_see_a_fifth() -> None:
    powers = [
        called(within=0.10, between=0.03, change=0.2, runs=runs, repeats=5, trials=RUNS // 10)[0]
        for runs in (1, 2, 3, 4, 5, 7, 8)
    ]
    assert powers[4] >= 0.8
    assert all(after >= before - 0.05 for before, after in pairwise(powers))


@pytest.mark.parametrize("between", [0.0, 0.02, 0.05])
def test_equal_sides_raise_no_alarm(between: float) -> None:
    _, alarms = called(within=0.05, between=between, change=0.0, runs=5, repeats=5, trials=RUNS // 4)
    assert alarms <= 0.01
