"""Whether page faults are delayed while a writeback runs."""

from __future__ import annotations

import pytest

from workloads.bench import Bench
from workloads.faults_during import during_writeback_results, measure_faults_during_writeback, steps_of


@pytest.mark.capability("page_index")
@pytest.mark.steps(count=steps_of)
def test_faults_during_writeback(bench: Bench) -> None:
    """Page fault latency while a writeback runs"""
    with bench.probing() as probing:
        conditions = measure_faults_during_writeback(probing)
    for result in during_writeback_results(bench, conditions):
        bench.record(result)
    for condition in conditions:
        for name, check in condition.checks.items():
            assert check["seen"] == check["expected"], name
        assert condition.count("ram")
        assert condition.count("written_back")
