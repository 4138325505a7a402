"""Whether a run that moves with time is told from one that scatters."""

from __future__ import annotations

import numpy as np
import pytest

from reports.comparison.drift import drift


@pytest.mark.parametrize("n", [8, 10, 100])
def test_steady_runs_are_seldom_said_to_drift(n: int) -> None:
    random = np.random.default_rng(n)
    said = sum(drift(np.exp(0.1 * random.standard_normal(n))) > 1 for _ in range(1000))
    assert said <= 0.02 * 1000 + 3 * (0.02 * 1000) ** 0.5


@pytest.mark.parametrize("n", [10, 100])
@pytest.mark.parametrize("direction", [1, -1])
def test_a_run_that_moves_is_seen_whichever_way(n: int, direction: int) -> None:
    random = np.random.default_rng(n)
    course = np.linspace(0, direction * 0.4, n)
    seen = [drift(np.exp(course + 0.05 * random.standard_normal(n))) for _ in range(100)]
    assert sum(by > 1.05 for by in seen) >= 95
    assert np.median(seen) == pytest.approx(np.exp(0.2), rel=0.15)


def test_what_cannot_be_told_is_no_drift() -> None:
    assert drift(np.array([1.0, 2.0, 3.0])) == 1.0
    assert drift(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])) == 1.0
    assert drift(np.ones(20)) == 1.0
