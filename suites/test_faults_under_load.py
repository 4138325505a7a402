"""Whether a busy phone delays page faults, and what the loop driver has to do with it."""

from __future__ import annotations

import pytest

from suites.turns import recorded_even_if_broken_off
from workloads.bench import Bench
from workloads.faults_under_load import UnderLoad, measure_faults_under_load, steps_of, under_load_results


@pytest.mark.capability("page_index")
@pytest.mark.changes("zram on other backing devices", "zram off its backing device, backing file removed")
@pytest.mark.changes("tracing: an instance of its own", "trace instance removed")
@pytest.mark.changes("a file that loads work on", "file of the load removed")
@pytest.mark.changes("priority of kernel workers", "kernel workers' nice values")
@pytest.mark.steps(count=steps_of)
def test_faults_under_load(bench: Bench) -> None:
    """Page fault latency on a busy phone"""
    found = UnderLoad()
    broken_off = recorded_even_if_broken_off(bench, lambda: under_load_results(bench, found))
    with bench.probing() as probing, broken_off:
        measure_faults_under_load(probing, found)
    for result in under_load_results(bench, found):
        bench.record(result)
    for condition in found.conditions:
        assert condition.load is None or found.load(condition).cpu_s > 0, f"{condition.load}: there was no load"
