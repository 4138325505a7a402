"""Whether page faults are delayed while a writeback runs."""

from __future__ import annotations

import pytest

from suites.turns import recorded_even_if_broken_off
from workloads.bench import Bench
from workloads.faults_during import FaultsDuring, during_writeback_results, measure_faults_during_writeback, steps_of


@pytest.mark.capability("page_index")
@pytest.mark.steps(count=steps_of)
def test_faults_during_writeback(bench: Bench) -> None:
    """Page fault latency while a writeback runs"""
    found = FaultsDuring()
    broken_off = recorded_even_if_broken_off(bench, lambda: during_writeback_results(bench, found))
    with bench.probing() as probing, broken_off:
        measure_faults_during_writeback(probing, found)
    for result in during_writeback_results(bench, found):
        bench.record(result)
    assert sum(turn.corrupt.total() for turn in found.writers) == 0
    for condition in found.conditions:
        for name, check in found.checks(condition).items():
            assert check["seen"] == check["expected"], name
        for slot in condition.slots:
            assert found.corrupt(condition, slot) == 0, f"{condition}: pages of slot {slot} came back different"
        for slot in ("ram", "written_back"):
            assert all(turn.latencies(slot).size for turn in found.turns(condition)), f"{condition}: {slot}"
