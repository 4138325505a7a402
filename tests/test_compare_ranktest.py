"""The rank test against counting every way by hand, its interval against its promise."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from reports.comparison.ranktest import (
    EXACT_UP_TO,
    enough_for,
    false_discovery_rates,
    least_p,
    p_larger,
    p_smaller,
    ratio_interval,
)

Values = npt.NDArray[np.float64]


def by_hand(base: Values, cand: Values) -> float:
    """Share of all relabellings in which the second group wins as many of the pairs or more; a tie is half a win."""

    def wins(first: list[float], second: list[float]) -> float:
        return sum((b > a) + (b == a) / 2 for a in first for b in second)

    joined = [*base.tolist(), *cand.tolist()]
    seen = wins(base.tolist(), cand.tolist())
    counts = []
    for chosen in itertools.combinations(range(len(joined)), cand.size):
        first = [value for i, value in enumerate(joined) if i not in chosen]
        counts.append(wins(first, [joined[i] for i in chosen]) >= seen - 1e-9)
    return sum(counts) / len(counts)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (4, 7), (6, 2)])
def test_p_is_exact_with_and_without_ties(n: int, m: int, tied: bool) -> None:
    random = np.random.default_rng(n * m)
    for _ in range(10):
        base, cand = random.uniform(1, 3, n), random.uniform(1.5, 3, m)
        if tied:
            base, cand = np.round(base), np.round(cand)
        assert p_larger(base, cand, 1.0) == pytest.approx(by_hand(base, cand))
        assert p_smaller(base, cand, 1.0) == pytest.approx(by_hand(cand, base))


def test_a_ratio_moves_what_is_tested() -> None:
    base, cand = np.arange(10.0, 15.0), np.arange(20.0, 25.0)
    assert p_larger(base, cand, 1.2) == pytest.approx(1 / 252)
    assert p_smaller(base, cand, 3.0) == pytest.approx(1 / 252)
    assert p_larger(base, cand, 1.7) == pytest.approx(by_hand(base * 1.7, cand))


@pytest.mark.parametrize(("n", "least"), [(3, 0.1), (4, 0.028571), (5, 0.0079365)])
def test_few_values_cannot_give_a_small_p(n: int, least: float) -> None:
    far_apart = p_larger(np.arange(1.0, n + 1), np.arange(100.0, 100.0 + n), 1.0)
    assert 2 * far_apart == pytest.approx(least, rel=1e-4) == pytest.approx(least_p(n, n), rel=1e-4)


@pytest.mark.parametrize(("among", "enough"), [(1, 4), (6, 5), (7, 6), (32, 7), (320, 8)])
def test_how_many_repeats_are_enough_depends_on_how_many_figures_there_are(among: int, enough: int) -> None:
    assert enough_for(0.05 / among) == enough


def test_the_interval_and_the_test_say_the_same() -> None:
    random = np.random.default_rng(1)
    for _ in range(200):
        n, m = random.integers(4, 12, 2)
        base, cand = random.lognormal(0, 0.1, n), random.lognormal(0.1, 0.1, m)
        interval = ratio_interval(base, cand, 0.95)
        assert interval is not None
        for ratio in (1.0, 1.05, 1.2):
            assert (interval[0] > ratio) == (2 * p_larger(base, cand, ratio) <= 0.05)
            assert (interval[1] < ratio) == (2 * p_smaller(base, cand, ratio) <= 0.05)


def test_three_against_three_have_no_interval() -> None:
    assert ratio_interval(np.arange(1.0, 4.0), np.arange(5.0, 8.0), 0.95) is None


@pytest.mark.parametrize(("n", "m"), [(5, 5), (9, 6), (60, 40)])
def test_the_interval_covers_the_true_ratio_as_often_as_it_promises(n: int, m: int) -> None:
    random, draws, hits = np.random.default_rng(n), 2000, 0
    for _ in range(draws):
        interval = ratio_interval(np.exp(random.normal(size=n)), 1.3 * np.exp(random.normal(size=m)), 0.95)
        assert interval is not None
        hits += interval[0] <= 1.3 <= interval[1]
    # Four standard errors; the seed is fixed.
    assert hits / draws > 0.95 - 4 * (0.05 * 0.95 / draws) ** 0.5


def test_many_values_are_approximated_closely() -> None:
    random = np.random.default_rng(5)
    half = EXACT_UP_TO // 2
    base, cand = random.lognormal(0, 0.1, half), random.lognormal(0.04, 0.1, half)
    exact = p_larger(base, cand, 1.0)
    one_more = p_larger(np.append(base, np.median(base)), cand, 1.0)
    assert 0.0001 < exact < 0.05
    assert one_more == pytest.approx(exact, rel=0.25)


def test_all_values_equal_show_nothing() -> None:
    for n in (5, EXACT_UP_TO):
        assert p_larger(np.ones(n), np.ones(n), 1.0) == 1.0


def test_the_correction_of_a_known_example() -> None:
    # Benjamini and Hochberg (1995), section 3.2: at 5 % the first four of these fifteen are found.
    ps = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    ps += [0.7590, 1.0]
    assert [q <= 0.05 for q in false_discovery_rates(ps)] == [True] * 4 + [False] * 11
    assert false_discovery_rates(ps[::-1]) == false_discovery_rates(ps)[::-1]
    assert false_discovery_rates([]) == []
