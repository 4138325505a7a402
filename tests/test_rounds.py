"""Rounds on a fake phone: who is visited when, what ends them, and what a disturbed turn enters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from base.errors import DeviceError, DeviceLost
from base.units import NS_PER_MS
from devices.profiles.what_is_measured import SuiteName
from devices.virtual.host_time import HostTime
from records.model import Caveat
from tests.fake_bench import fake_bench
from workloads.bench import Bench
from workloads.budget import WEIGHTS, Budget, RoundsPlan, weights
from workloads.noise import NoiseWatch
from workloads.rounds import EndedBy, Rounds, measure_in_rounds

FAST, SLOW = "fast", "slow"
POINTS = (FAST, SLOW)
TRUE = {FAST: 20.0, SLOW: 10.0}


@dataclass
class Host:
    """A host whose clock goes on by a second with each turn, and lets the phone wait where it is told to."""

    now_s: float = 0.0
    waited_s: float = 0.0

    def look(self) -> HostTime:
        waited_ns = round(self.waited_s * 1000) * NS_PER_MS
        return HostTime(round(self.now_s * 1000) * NS_PER_MS, {1: 0, 2: 0}, {1: 0, 2: waited_ns}, 0)


@dataclass
class Trial:
    """Two points with known figures. ``waits`` has the share of a second that the phone waited, by (round, point)."""

    bench: Bench
    host: Host
    figure: Callable[[str, int], float]
    waits: dict[tuple[int, str], list[float]] = field(default_factory=dict)
    visited: list[str] = field(default_factory=list)

    def visit(self, point: str, turn: int) -> float:
        number = sum(one == point for one in self.visited)
        self.visited.append(point)
        shares = self.waits.get((turn, point), [])
        self.host.now_s += 1.0
        self.host.waited_s += shares.pop(0) if shares else 0.0
        assert number == turn
        return self.figure(point, turn)

    def run(self, **plan: Any) -> Rounds[str, float]:
        wanted = replace(RoundsPlan(fewest=8, most=20), **plan)
        return measure_in_rounds(
            self.bench,
            POINTS,
            self.visit,
            plan=wanted,
            primary=float,
            ratios=[(FAST, SLOW)],
            now=lambda: self.host.now_s,
        )


@pytest.fixture
def test(memory_path: Path) -> Iterator[Trial]:
    host = Host()
    with fake_bench(memory_path) as fake:
        yield Trial(replace(fake.bench, noise=NoiseWatch(host=host.look)), host, lambda point, turn: TRUE[point])


def scattered(point: str, turn: int) -> float:
    """Differs by up to twice from turn to turn, so that no precision is reached soon."""
    return TRUE[point] * (1 + turn * (7 if point == FAST else 4) % 11 / 10)


def test_rounds_end_when_each_ratio_is_known(test: Trial) -> None:
    found = test.run()
    assert (found.ended_by, found.count, found.precision_reached) == (EndedBy.precision, 8, 0.0)
    assert found.facts() == {"rounds": 8, "ended_by": "precision", "precision_reached": 0.0}
    ratio = found.ratio(FAST, SLOW, float)
    assert ratio is not None
    assert ratio.rounds == 8
    assert ratio.value == pytest.approx(2.0)


def test_rounds_go_on_until_the_plan_is_over(test: Trial) -> None:
    test.figure = scattered
    found = test.run(most=12)
    assert (found.ended_by, found.count) == (EndedBy.plan, 12)
    assert found.precision_reached is not None
    assert found.precision_reached > 0.1


@pytest.mark.parametrize(("budget_s", "rounds"), [(1, 1), (4, 2), (5.9, 2), (15, 7), (16, 8)])
def test_no_round_is_begun_that_the_budget_would_not_hold(test: Trial, budget_s: float, rounds: int) -> None:
    """Two turns of a second make a round."""
    test.figure = scattered
    found = test.run(budget_s=budget_s)
    assert (found.ended_by, found.count, test.host.now_s) == (EndedBy.budget, rounds, 2 * rounds)


def test_a_budget_may_have_begun_before_the_first_round(test: Trial) -> None:
    test.host.now_s, test.figure = 100.0, scattered
    assert test.run(budget_s=16, since_s=92.0).count == 4


def test_each_round_visits_all_in_a_fresh_order_that_the_seed_decides(test: Trial) -> None:
    test.run()
    first = list(test.visited)
    rounds = [first[at : at + 2] for at in range(0, len(first), 2)]
    assert [sorted(order) for order in rounds] == [sorted(POINTS)] * 8
    assert len(set(map(tuple, rounds))) == 2
    test.visited.clear()
    test.run()
    assert test.visited == first


def test_a_disturbed_turn_is_measured_again_at_the_end_of_its_round_and_stays(test: Trial) -> None:
    test.waits[1, FAST] = [0.5]
    found = test.run()
    turns = found.turns(FAST)
    assert [turn.round for turn in turns] == [0, 1, 1, 2, 3, 4, 5, 6, 7]
    assert [bool(turn.disturbed) for turn in turns] == [False, True, *[False] * 7]
    assert turns[1].wait == pytest.approx(0.5, abs=0.01)
    assert sorted(test.visited[2:4]) == sorted(POINTS)
    assert test.visited[4] == FAST
    assert len(found.turns(SLOW)) == 8


def test_a_disturbed_turn_that_was_measured_again_and_again_disturbed_is_left_at_that(test: Trial) -> None:
    test.waits[1, FAST], test.waits[2, FAST] = [0.5], [0.5]
    found = test.run()
    ratio = found.ratio(FAST, SLOW, float)
    assert ratio is not None
    assert (found.count, ratio.rounds, len(found.of(FAST))) == (8, 7, 9)


def test_ratios_ignore_what_was_measured_while_disturbed(test: Trial) -> None:
    test.waits[3, FAST] = [0.9]
    test.figure = lambda point, turn: 1.0 if (point, turn) == (FAST, 3) else TRUE[point]
    found = test.run()
    ratio = found.ratio(FAST, SLOW, float)
    assert ratio is not None
    assert ratio.interval is not None
    assert [ratio.interval.low, ratio.interval.high] == pytest.approx([2.0, 2.0])
    assert found.precision_reached == pytest.approx(0.0)
    assert 1.0 in found.values(FAST)


def test_nothing_is_measured_again_when_the_budget_is_over(test: Trial) -> None:
    test.waits[0, FAST], test.waits[0, SLOW] = [0.5], [0.5]
    found = test.run(budget_s=1.5)
    assert (found.count, len(found.visits)) == (1, 2)


def test_points_that_were_mostly_disturbed_are_doubted_and_others_are_not(test: Trial) -> None:
    test.waits |= {(turn, FAST): [0.5] for turn in range(40)}
    found = test.run(most=8)
    assert found.caveats(FAST) == [Caveat.disturbed]
    assert found.caveats(SLOW) == []
    assert found.precision_reached is None


def test_few_turns_of_which_none_was_disturbed_are_not_blamed_on_others(test: Trial) -> None:
    assert test.run(budget_s=4).caveats(FAST) == []


def test_a_lost_phone_leaves_what_was_measured(test: Trial) -> None:
    kept: Rounds[str, float] = Rounds()

    def visit(point: str, turn: int) -> float:
        if turn == 2:
            raise DeviceLost("gone")
        return test.visit(point, turn)

    with pytest.raises(DeviceLost):
        measure_in_rounds(test.bench, POINTS, visit, primary=float, into=kept, leave_out=True)
    assert (kept.count, len(kept.visits)) == (2, 4)


def test_a_point_that_fails_is_left_out_or_ends_it(test: Trial) -> None:
    def visit(point: str, turn: int) -> float:
        if point == FAST:
            raise DeviceError("cannot be measured")
        return test.visit(point, turn)

    found = measure_in_rounds(test.bench, POINTS, visit, primary=float, ratios=[(FAST, SLOW)], leave_out=True)
    assert (list(found.failed), len(found.of(SLOW)), found.count) == ([FAST], 5, 5)
    with pytest.raises(DeviceError, match="cannot be measured"):
        measure_in_rounds(test.bench, POINTS, visit, primary=float)


def test_steps_are_told_with_round_and_point(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        measure_in_rounds(fake.bench, [1, 8], lambda point, turn: 1.0, primary=float, told="batch {}".format)
        assert sorted(fake.kept.steps[2:4]) == ["round 2, batch 1", "round 2, batch 8"]


def test_what_a_test_leaves_of_the_budget_goes_to_those_after_it() -> None:
    clock = Host()
    budget = Budget(240.0, {"first": 0.5, "second": 0.3, "third": 0.2}, now=lambda: clock.now_s)
    assert budget.share_of("first") == 120.0
    clock.now_s = 40.0
    assert budget.share_of("second") == pytest.approx(120.0)
    assert budget.share_of("second", "third") == pytest.approx(200.0)
    clock.now_s = 300.0
    assert budget.share_of("third") == 0.0


def test_tests_that_were_skipped_keep_nothing_from_others() -> None:
    budget = Budget(240.0, {"first": 0.5, "skipped": 0.3, "last": 0.2}, now=lambda: 0.0)
    assert (budget.share_of("first"), budget.share_of("last")) == (120.0, 240.0)


def test_points_of_one_test_share_its_weight_and_the_rest_counts_by_its_steps() -> None:
    found = weights({"a": ("app_switch", 9), "b": ("app_switch", 9), "c": ("writeback_limit", 3), "d": ("own", 1)})
    assert found["a"] == found["b"] == WEIGHTS[SuiteName.app_switch] / 2
    assert found["c"] == pytest.approx(3 * found["d"])
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_without_a_budget_there_is_no_bound() -> None:
    assert Budget(None, {}).share_of("any") == float("inf")
