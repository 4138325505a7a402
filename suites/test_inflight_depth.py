"""How many requests are in flight while zram writes back."""

from __future__ import annotations

import pytest

from suites.turns import recorded_even_if_broken_off
from workloads.bench import Bench
from workloads.inflight import MeasuredDepth, inflight_results, measure_inflight, steps_of


@pytest.mark.changes("tracing: an instance of its own", "trace instance removed")
@pytest.mark.steps(count=steps_of)
def test_inflight_depth(bench: Bench) -> None:
    """Writes in flight during writeback, by batch size"""
    found = MeasuredDepth()
    with bench.probing() as probing, recorded_even_if_broken_off(bench, lambda: inflight_results(bench, found)):
        measure_inflight(probing, found)
    results = inflight_results(bench, found)
    for result in results:
        bench.record(result)
    for result in results:
        for name, check in result.checks.items():
            assert check["seen"] == check["expected"], f"{result.params}: {name}"
