"""Whether page faults are delayed while a writeback runs (Q6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from records.model import Caveat, RunResult
from suites.bench import Bench
from workloads.faults import algorithm_of
from workloads.faults_during import RaceCondition, measure_faults_during_writeback, steps_of


@pytest.mark.steps(count=steps_of)
def test_faults_during_writeback(bench: Bench, tmp_path: Path) -> None:
    """Page fault latency while a writeback runs"""
    with bench.probe() as probe:
        conditions = measure_faults_during_writeback(
            bench.stage, probe, seed=bench.seed, folder=tmp_path, progress=bench.progress
        )
        algorithm = algorithm_of(bench.stage)
    for condition in conditions:
        for slot in condition.samples:
            bench.record(_result(bench, condition, slot, algorithm))
    for condition in conditions:
        for name, book in condition.books.items():
            assert book["seen"] == book["expected"], name
        assert condition.count("ram")
        assert condition.count("written_back")


def _result(bench: Bench, condition: RaceCondition, slot: str, algorithm: str) -> RunResult:
    latencies = condition.latencies(slot)
    when = f"batch-{condition.batch_size or 1}" if condition.running else "quiet"
    proof = {}
    if slot == "in_flight":
        proof = {"share_in_flight": round(condition.share_in_flight, 4), "relabelled": condition.relabelled}
    return RunResult(
        test="fault_latency_writeback",
        title=bench.title,
        params={
            "slot": slot,
            "batch_size": condition.batch_size,
            "writeback": "running" if condition.running else "quiet",
            "comp_algorithm": algorithm,
        },
        metrics={},
        raw={"fault.latency": bench.save_raw(f"fault-during-{when}-{slot}", latencies)},
        # The books are of all slots together: one record of each condition has them.
        checks=condition.books if slot == "ram" else {},
        caveats=[Caveat.few_samples] if latencies.size < bench.stage.profile.faults.samples else [],
        facts={"turns": condition.turns, "major_faults_of_all_slots": condition.majflt} | proof,
    )
