"""How long rounds may go on, and how the time of a run is shared among its tests."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import dropwhile

from devices.profiles.what_is_measured import SuiteName

# Shares of a run's time: what a short budget shall answer first gets most. They add up to one.
WEIGHTS: Mapping[SuiteName, float] = {
    SuiteName.writeback_throughput: 0.46,
    SuiteName.inflight_depth: 0.09,
    SuiteName.fault_latency: 0.04,
    SuiteName.faults_during_writeback: 0.27,
    SuiteName.data_integrity: 0.02,
    SuiteName.app_switch: 0.12,
}
# What a step of any other test takes, as a share of a run of four minutes.
_STEP = 1 / 120


@dataclass(frozen=True, slots=True)
class RoundsPlan:
    """How long rounds go on: at least ``fewest`` unless the budget is over, at most ``most``.

    ``precision`` is the share to within which each ratio shall be known. ``budget_s`` counts from ``since_s`` by the
    clock of the rounds, or from the first round where that is None.
    """

    fewest: int = 8
    most: int = 30
    precision: float = 0.10
    budget_s: float = float("inf")
    since_s: float | None = None

    def at_most(self, rounds: int) -> RoundsPlan:
        """Return the same with so many rounds at most, also where that is fewer than the fewest."""
        return replace(self, fewest=min(self.fewest, rounds), most=rounds)


def weights(steps: Mapping[str, tuple[str, int]]) -> dict[str, float]:
    """Return the weight of each test; ``steps`` maps it to what it measures and how many steps that takes.

    Tests that measure the same, each at another point, share its weight.
    """
    points = Counter(measured for measured, _ in steps.values())
    return {
        name: WEIGHTS[SuiteName(measured)] / points[measured] if measured in WEIGHTS else _STEP * count
        for name, (measured, count) in steps.items()
    }


@dataclass(slots=True)
class Budget:
    """The time that the tests of a run may take, shared by weight: what one leaves goes to those after it.

    ``weights`` are by the test's name, in the order in which they run. ``seconds`` None is no bound.
    """

    seconds: float | None
    weights: Mapping[str, float]
    now: Callable[[], float] = time.monotonic
    _began_s: float | None = None

    def share_of(self, *tests: str) -> float:
        """Return how long these tests together may take, in seconds: their share of what is left of the time.

        It is shared among these and all tests behind the first of them: those before have ended, or were skipped. The
        first call begins the run's time.
        """
        if self.seconds is None:
            return float("inf")
        now_s = self.now()
        if self._began_s is None:
            self._began_s = now_s
        to_come = dropwhile(lambda name: name not in tests, self.weights)
        mine = sum(self.weights[test] for test in tests)
        left_s = max(0.0, self.seconds - (now_s - self._began_s))
        return left_s * mine / sum(self.weights[name] for name in to_come)
