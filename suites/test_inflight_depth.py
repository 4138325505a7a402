"""How many requests are in flight while zram writes back."""

from __future__ import annotations

import pytest

from workloads.bench import Bench
from workloads.inflight import measure_inflight, steps_of


@pytest.mark.changes("tracing: an instance of its own", "trace instance removed")
@pytest.mark.steps(count=steps_of)
def test_inflight_depth(bench: Bench) -> None:
    """Writes in flight during writeback, by batch size"""
    with bench.probing() as probing:
        results = measure_inflight(probing)
    for result in results:
        bench.record(result)
    for result in results:
        for name, check in result.checks.items():
            assert check["seen"] == check["expected"], f"{result.params}: {name}"
