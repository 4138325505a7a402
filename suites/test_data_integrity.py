"""No page may be corrupted on its way to the backing device and back."""

from __future__ import annotations

import pytest

from records.model import Metric, RunResult
from suites.bench import Bench
from workloads.integrity import check_block, check_swap


@pytest.mark.parametrize("path", ["block", "swap"])
def test_data_integrity(bench: Bench, path: str) -> None:
    """Every page is unchanged after writeback and read-back"""
    bench.progress(f"data integrity through {path}")
    pages = bench.stage.pages(bench.stage.profile.sweep.data[0])
    with bench.probe() as probe:
        check = check_block if path == "block" else check_swap
        seen = check(bench.stage, probe, pages, bench.seed)
    bench.record(
        RunResult(
            test="data_integrity",
            title=bench.title,
            params={"path": path},
            metrics={
                "integrity.corrupt": Metric("pages", "lower", [seen.corrupt]),
                "integrity.pages": Metric("pages", "higher", [seen.pages]),
            },
            checks={"reads from the backing device (bd_stat)": {"expected": seen.written_back, "seen": seen.read_back}},
            facts={"first_corrupt": seen.first_corrupt, "one_flipped_byte_is_noticed": seen.checker_works},
        )
    )
    assert seen.corrupt == 0, f"corrupt pages, the first of them: {seen.first_corrupt}"
    assert seen.checker_works, "the check did not notice a byte that was flipped on purpose"
    assert seen.read_back == seen.written_back
