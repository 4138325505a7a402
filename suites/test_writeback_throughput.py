"""How fast zram writes back, over batch sizes (Q1, Q2, Q3, Q5)."""

from __future__ import annotations

import pytest

from suites.bench import Bench
from workloads.writeback import SweepPlan, measure_sweep, steps_of


@pytest.mark.steps(count=lambda stage, sweep: steps_of(sweep))
def test_writeback_throughput(bench: Bench, sweep: SweepPlan) -> None:
    """Writeback throughput by batch size"""
    with bench.probe() as probe:
        results = measure_sweep(
            bench.stage, probe, sweep, test="writeback_throughput", title=bench.title, progress=bench.progress
        )
    for result in results:
        bench.record(result)
