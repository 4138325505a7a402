"""How many samples turns have, on a clock of the test: rounds that cost something of their own, and per sample."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from workloads.budget import RoundsPlan
from workloads.pace import FEWEST_SAMPLES, Pace

WANTED = 250


@dataclass
class Played:
    """Rounds of four turns each; ``took_s`` is all that they took."""

    fixed_s: float
    per_sample_s: float
    budget_s: float
    sizes: list[int] = field(default_factory=list)
    took_s: float = 0.0

    def play(self, *, began_s: float = 0.0) -> Played:
        now_s = began_s
        pace = Pace(RoundsPlan(fewest=8, budget_s=self.budget_s, since_s=0.0), WANTED, lambda: now_s)
        for number in range(8):
            turns = []
            for _ in range(4):
                turns.append(pace.samples(number))
                now_s += self.fixed_s + self.per_sample_s * turns[-1]
            assert len(set(turns)) == 1, "turns of one round have as many samples"
            self.sizes.append(turns[0])
        self.took_s = now_s
        return self


def test_without_a_budget_each_turn_has_what_is_wanted() -> None:
    assert Played(1.0, 0.1, math.inf).play().sizes == [WANTED] * 8


def test_what_fits_in_any_case_is_not_cut_after_the_first_round() -> None:
    assert Played(0.1, 0.001, 60.0).play().sizes[2:] == [WANTED] * 6


@pytest.mark.parametrize(("fixed_s", "per_sample_s"), [(0.0, 0.02), (0.5, 0.02), (1.0, 0.005)])
def test_eight_rounds_fit_and_use_most_of_the_time(fixed_s: float, per_sample_s: float) -> None:
    played = Played(fixed_s, per_sample_s, 65.0).play()
    assert 0.6 * 65 < played.took_s <= 65
    assert min(played.sizes) > FEWEST_SAMPLES
    assert max(played.sizes) <= WANTED


def test_time_that_was_spent_before_the_first_round_is_gone() -> None:
    late = Played(0.5, 0.02, 65.0).play(began_s=20.0)
    assert late.took_s <= 65
    assert sum(late.sizes) < sum(Played(0.5, 0.02, 65.0).play().sizes)


def test_a_turn_never_has_fewer_samples_than_a_p90_needs() -> None:
    assert set(Played(5.0, 0.02, 30.0).play().sizes[1:]) == {FEWEST_SAMPLES}
