"""How many requests are really in flight while zram writes back (Q4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.bench import Bench
from workloads.inflight import measure_inflight, steps_of


@pytest.mark.steps(count=steps_of)
def test_inflight_depth(bench: Bench, tmp_path: Path) -> None:
    """Writes in flight during writeback, by batch size"""
    with bench.probe() as probe:
        results = measure_inflight(
            bench.stage, probe, title=bench.title, seed=bench.seed, folder=tmp_path, progress=bench.progress
        )
    for result in results:
        bench.record(result)
    for result in results:
        for name, check in result.checks.items():
            assert check["seen"] == check["expected"], f"{result.params}: {name}"
