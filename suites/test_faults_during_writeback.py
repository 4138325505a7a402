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
        found = measure_faults_during_writeback(probing)
    for result in during_writeback_results(bench, found):
        bench.record(result)
    for condition in found.conditions:
        for name, check in found.checks(condition).items():
            assert check["seen"] == check["expected"], name
        for slot in ("ram", "written_back"):
            assert all(turn.latencies(slot).size for turn in found.turns(condition)), f"{condition}: {slot}"
