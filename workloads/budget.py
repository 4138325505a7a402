"""How long rounds may go on, and how the time of a run is shared among its tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# Shares of a run's time by test function: what a short budget shall answer first gets most.
WEIGHTS: Mapping[str, float] = {
    "test_writeback_throughput": 0.35,
    "test_inflight_depth": 0.12,
    "test_fault_latency": 0.06,
    "test_faults_during_writeback": 0.27,
    "test_data_integrity": 0.05,
    "test_app_switch": 0.15,
}


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


@dataclass(slots=True)
class Budget:
    """The time that the tests of a run may take, shared by weight: what one leaves goes to those after it.

    ``weights`` are of the tests to come, by name. ``seconds`` None is no bound.
    """

    seconds: float | None
    weights: Mapping[str, float]
    now: Callable[[], float] = time.monotonic
    _began_s: float | None = None
    _done: set[str] = field(default_factory=set)

    def share_of(self, test: str) -> float:
        """Return how long this test may take, in seconds: its share of what is left among those still to come.

        The first call begins the run's time. A test that asks again has what it was given then, less what it took.
        """
        if self.seconds is None:
            return float("inf")
        now_s = self.now()
        if self._began_s is None:
            self._began_s = now_s
        to_come = sum(weight for name, weight in self.weights.items() if name not in self._done)
        mine = self.weights.get(test, 0.0)
        self._done.add(test)
        left_s = max(0.0, self.seconds - (now_s - self._began_s))
        return left_s * mine / to_come if to_come > 0 else 0.0
