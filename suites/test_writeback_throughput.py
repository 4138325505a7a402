"""How fast zram writes back, over batch sizes."""

from __future__ import annotations

import pytest

from suites.turns import recorded_even_if_broken_off
from workloads.bench import Bench
from workloads.writeback import MeasuredSweep, SweepPlan, measure_sweep, steps_of, sweep_results


@pytest.mark.steps(count=lambda stage, sweep: steps_of(sweep))
def test_writeback_throughput(bench: Bench, sweep: SweepPlan) -> None:
    """Writeback throughput by batch size"""
    found = MeasuredSweep(sweep)
    with bench.probing() as probing, recorded_even_if_broken_off(bench, lambda: sweep_results(bench, found)):
        results = measure_sweep(probing, sweep, found)
    for result in results:
        bench.record(result)
