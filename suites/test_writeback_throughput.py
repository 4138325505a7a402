"""How fast zram writes back, over batch sizes."""

from __future__ import annotations

import pytest

from workloads.bench import Bench
from workloads.writeback import SweepPlan, measure_sweep, steps_of


@pytest.mark.steps(count=lambda stage, sweep: steps_of(sweep))
def test_writeback_throughput(bench: Bench, sweep: SweepPlan) -> None:
    """Writeback throughput by batch size"""
    with bench.probing() as probing:
        results = measure_sweep(probing, sweep)
    for result in results:
        bench.record(result)
