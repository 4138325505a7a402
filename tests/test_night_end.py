"""One exit status for a night: what most needs somebody to act, whatever else there is."""

from __future__ import annotations

from itertools import combinations

import pytest

from farm.baselines import Against
from farm.night import CANCELLED
from farm.night_end import WORST_FIRST, counts_of, status_of
from farm.night_log import Attempt, NightState, PhoneEnd, PhoneNight

# What makes each status, worst first: how one phone ended, or how it compares.
CAUSES = {13: [13], 4: [4], 1: [1, 1], 2: None, 14: None, 10: [10, 10, 10], 11: [11, 11, 11], 12: [0]}


def phone(serial: str, status: int) -> PhoneNight:
    statuses = CAUSES[status]
    night = PhoneNight(serial)
    if statuses is None:
        night.skipped = PhoneEnd.cut
    for number, each in enumerate(statuses or [], start=1):
        night.attempts.append(Attempt(number, "quick", f"runs/{serial}-{number}", "", each))
    return night


def state_of(*statuses: int) -> tuple[NightState, dict[str, Against]]:
    phones = {f"P{status}": phone(f"P{status}", status) for status in statuses}
    against = {"P12": Against(12)} if 12 in statuses else {}
    stopping = CANCELLED if 2 in statuses else ""
    return NightState({"night": "n"}, phones, stopping), against


@pytest.mark.parametrize("status", WORST_FIRST)
def test_each_cause_alone_has_its_status(status: int) -> None:
    state, against = state_of(status)
    assert status_of(state, against, 1.0) == status


@pytest.mark.parametrize("pair", [pair for pair in combinations(WORST_FIRST, 2) if set(pair) != {2, 14}])
def test_of_two_causes_the_worse_one_counts(pair: tuple[int, int]) -> None:
    state, against = state_of(*reversed(pair))
    assert status_of(state, against, 1.0) == pair[0]


def test_a_regression_is_a_failed_night_and_a_better_run_is_not() -> None:
    state, _ = state_of(12)
    assert status_of(state, {"P12": Against(1, "b", worse=("x",))}, 1.0) == 1
    assert status_of(state, {"P12": Against(0, "b", better=("x",))}, 1.0) == 0


def test_the_counts_add_up() -> None:
    state, against = state_of(13, 4, 1, 10, 11, 12)
    counts = counts_of(state, against)
    assert sum(counts[end] for end in PhoneEnd) == counts["picked"] == 6
    assert (counts["measured"], counts["infra"], counts["not_compared"]) == (2, 6, 1)
