"""What a page fault costs when the page was written back."""

from __future__ import annotations

import pytest

from suites.turns import recorded_even_if_broken_off
from workloads.bench import Bench
from workloads.quiet_faults import QuietFaults, fault_results, measure_quiet_faults, steps_of


@pytest.mark.capability("page_index")
@pytest.mark.steps(count=steps_of)
def test_fault_latency(bench: Bench) -> None:
    """Page fault latency: page in RAM against page written back"""
    found = QuietFaults()
    with bench.probing() as probing, recorded_even_if_broken_off(bench, lambda: fault_results(bench, found)):
        measure_quiet_faults(probing, found)
    for result in fault_results(bench, found):
        bench.record(result)
    assert all(block.ram_ns.size and block.written_back_ns.size for block in found.blocks)
