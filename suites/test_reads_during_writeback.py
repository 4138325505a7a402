"""Whether reading zram's files waits while a writeback runs."""

from __future__ import annotations

import pytest

from suites.turns import recorded_even_if_broken_off
from workloads.bench import Bench
from workloads.reads_during import (
    FILES,
    ReadsDuring,
    measure_reads_during_writeback,
    reads_results,
    steps_of,
)


@pytest.mark.capability("page_indexes")
@pytest.mark.steps(count=steps_of)
def test_reads_during_writeback(bench: Bench) -> None:
    """How long a read of zram's files waits while a writeback runs"""
    found = ReadsDuring()
    with bench.probing() as probing, recorded_even_if_broken_off(bench, lambda: reads_results(bench, found)):
        measure_reads_during_writeback(probing, found)
    for result in reads_results(bench, found):
        bench.record(result)
    for condition in found.conditions:
        for file in FILES:
            assert sum(part.size for part in found.waits(condition, file)), f"{condition}: no read of {file} was timed"
