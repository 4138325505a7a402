"""What a page fault costs when the page was written back."""

from __future__ import annotations

import pytest

from workloads.bench import Bench
from workloads.faults import ROUNDS, fault_results, measure_faults


@pytest.mark.capability("page_index")
@pytest.mark.steps(count=lambda stage: ROUNDS)
def test_fault_latency(bench: Bench) -> None:
    """Page fault latency: page in RAM against page written back"""
    samples = bench.stage.profile.faults.samples
    with bench.probing() as probing:
        faults = measure_faults(probing, samples)
    for result in fault_results(bench, faults):
        bench.record(result)
    assert len(faults.ram_ns) >= samples
    assert len(faults.written_back_ns) >= samples
