"""The rule that stops two sides: how often it is wrong, and how many rounds it needs. All of it is simulated.

``ZRAM_LAB_SIMULATED_SESSIONS=20000`` makes it a study of minutes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from records.intervals import CONFIDENCE, FEWEST_FOR_WORDS, RELEVANT
from records.sequential import FALSE_ALARM, MOST_LOOKS, Decision, SideVerdict, StoppingRule, spent

SESSIONS = int(os.environ.get("ZRAM_LAB_SIMULATED_SESSIONS", "2000"))
WRONG = (SideVerdict.better, SideVerdict.worse)
Logs = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Logs]


def normal(rng: np.random.Generator, rounds: int) -> Logs:
    return rng.standard_normal(rounds)


def student(rng: np.random.Generator, rounds: int) -> Logs:
    """Tails so heavy that there is hardly a variance: three degrees of freedom."""
    return rng.standard_t(3, rounds) / math.sqrt(3)


def spiked(rng: np.random.Generator, rounds: int) -> Logs:
    """One turn in ten takes far longer, as when the storage cleans up behind it."""
    return rng.standard_normal(rounds) + np.where(rng.random(rounds) < 0.1, 4.0, 0.0)


def two_speeds(rng: np.random.Generator, rounds: int) -> Logs:
    """Each turn is a fast or a slow one, with little between."""
    return np.where(rng.random(rounds) < 0.5, -1.0, 1.0) + 0.05 * rng.standard_normal(rounds)


def sessions(draw: Draw, noise: float, effect: float, count: int, *, figures: int = 1, seed: int = 5) -> list[Decision]:
    """Sessions of two sides whose turns scatter by ``noise`` about figures that differ by the factor ``effect``."""
    rng, rule = np.random.default_rng(seed), StoppingRule(figures=figures)
    found = []
    for _ in range(count):
        logs = noise * (draw(rng, MOST_LOOKS) - draw(rng, MOST_LOOKS)) + math.log(effect)
        found.append(rule.decide(np.exp(logs).tolist(), higher_is_better=True))
    return found


def share(found: list[Decision], *verdicts: SideVerdict) -> float:
    return sum(each.verdict in verdicts for each in found) / len(found)


def slack(chance: float, count: int = SESSIONS) -> float:
    """Three standard errors of such a share."""
    return 3 * math.sqrt(chance * (1 - chance) / count)


@pytest.mark.parametrize("draw", [normal, student, spiked, two_speeds])
@pytest.mark.parametrize("noise", [0.03, 0.10, 0.30])
def test_equal_sides_raise_an_alarm_in_one_session_of_a_hundred_at_most(draw: Draw, noise: float) -> None:
    found = sessions(draw, noise, 1.0, SESSIONS // 2)
    assert share(found, *WRONG) <= FALSE_ALARM + slack(FALSE_ALARM, SESSIONS // 2)


def test_the_interval_holds_at_all_looks_together() -> None:
    """Without a margin of interest a session stops as soon as an interval excludes what is true."""
    rng, rule = np.random.default_rng(6), StoppingRule(relevant=1e-12)
    missed = 0
    for _ in range(SESSIONS):
        logs = 0.1 * (normal(rng, MOST_LOOKS) - normal(rng, MOST_LOOKS))
        every = [rule.decide(np.exp(logs[:look]).tolist(), higher_is_better=True) for look in (8, 12, 20, 40, 80, 120)]
        missed += any(each.interval and not each.interval.low <= 1 <= each.interval.high for each in every)
    assert missed / SESSIONS <= (1 - CONFIDENCE) + slack(1 - CONFIDENCE)
    assert missed, "an interval that is never wrong is wider than it says"


@pytest.mark.parametrize(("noise", "within"), [(0.03, 8.5), (0.10, 16.0)])
def test_a_difference_of_a_fifth_is_called_in_time(noise: float, within: float) -> None:
    for effect, called in ((1.2, SideVerdict.better), (1 / 1.2, SideVerdict.worse)):
        found = sessions(normal, noise, effect, SESSIONS)
        assert share(found, called) == 1
        assert np.mean([each.rounds for each in found]) < within


def test_equal_sides_are_the_same_where_turns_scatter_little() -> None:
    assert share(sessions(normal, 0.03, 1.0, SESSIONS // 2), SideVerdict.same) > 0.99


def single_look(rounds: int, effect: float, noise: float, false_alarm: float) -> float:
    """The power of one look after so many rounds, beyond the difference of interest, with this share of alarms."""
    error, margin = noise * math.sqrt(2 / rounds), math.log1p(RELEVANT)
    # Equal sides: the interval must lie beyond the margin on either side.
    wide = stats.nct.isf(false_alarm / 2, rounds - 1, -margin / error)
    return float(stats.nct.sf(wide, rounds - 1, (math.log(effect) - margin) / error))


def test_it_needs_half_the_rounds_of_a_test_that_is_looked_at_once() -> None:
    """At 10 % of noise and a difference of a fifth, with as many false alarms and as much power."""
    count = max(4000, SESSIONS)
    found = sessions(normal, 0.10, 1.2, count)
    alarms = max(share(sessions(normal, 0.10, 1.0, SESSIONS), *WRONG), 0.002)
    # None was missed, so the power is at least this.
    power = 1 - 1 / count
    assert share(found, SideVerdict.better) >= power
    fixed = next(rounds for rounds in range(3, 200) if single_look(rounds, 1.2, 0.10, alarms) >= power)
    mean = float(np.mean([each.rounds for each in found]))
    assert mean <= fixed / 2, f"{mean:.1f} rounds on average against {fixed}"


def test_the_figures_of_a_session_share_its_false_alarms() -> None:
    """A session of eight figures: each look must say more."""
    alone, shared = (sessions(normal, 0.10, 1.2, 200, figures=figures) for figures in (1, 8))
    assert np.mean([each.rounds for each in shared]) > np.mean([each.rounds for each in alone])
    chances = (0.05, 0.01, 0.002, 0.0001)
    levels = [spent(chance) for chance in chances]
    assert levels == sorted(levels, reverse=True)
    assert all(level < chance for level, chance in zip(levels, chances, strict=True))


def test_nothing_is_said_of_few_rounds() -> None:
    rule = StoppingRule()
    assert rule.decide([], higher_is_better=True) == Decision(SideVerdict.undecided, 0)
    few = rule.decide([3.0] * (FEWEST_FOR_WORDS - 1), higher_is_better=True)
    assert (few.verdict, few.rounds, few.interval) == (SideVerdict.undecided, FEWEST_FOR_WORDS - 1, None)
    enough = rule.decide([3.0] * FEWEST_FOR_WORDS, higher_is_better=True)
    assert enough.verdict is SideVerdict.better
    assert enough.ratio == pytest.approx(3.0)
    assert rule.decide([3.0] * FEWEST_FOR_WORDS, higher_is_better=False).verdict is SideVerdict.worse


def test_the_first_decision_stands() -> None:
    ratios = [2.0, 2.1] * 6
    found = StoppingRule().decide([*ratios, *[0.5] * 30], higher_is_better=True)
    assert (found.verdict, found.rounds) == (SideVerdict.better, FEWEST_FOR_WORDS)


def test_a_difference_below_the_one_of_interest_is_no_alarm() -> None:
    found = sessions(normal, 0.03, 1.03, 200)
    assert share(found, *WRONG) <= slack(0.02, 200)


def test_swapped_sides_have_swapped_verdicts() -> None:
    ratios = np.exp(np.random.default_rng(8).normal(0.2, 0.1, 60)).tolist()
    there = StoppingRule().decide(ratios, higher_is_better=True)
    back = StoppingRule().decide([1 / each for each in ratios], higher_is_better=True)
    assert (there.verdict, back.verdict) == WRONG
    assert there.rounds == back.rounds
    assert there.interval is not None
    assert back.interval is not None
    assert there.interval.low == pytest.approx(1 / back.interval.high)
