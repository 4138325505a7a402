"""What a page fault costs when the page was written back (Q8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from records.model import Metric, RunResult
from suites.bench import Bench
from workloads.faults import ROUNDS, measure_faults


@pytest.mark.steps(count=lambda stage: ROUNDS)
def test_fault_latency(bench: Bench, tmp_path: Path) -> None:
    """Page fault latency: page in RAM against page written back"""
    samples = bench.stage.profile.faults.samples
    with bench.probe() as probe:
        faults = measure_faults(bench.stage, probe, samples, bench.seed, tmp_path, bench.progress)
    for slot, latencies in (("ram", faults.ram_ns), ("written_back", faults.written_back_ns)):
        read = {"expected": len(latencies), "seen": faults.bd_reads} if slot == "written_back" else None
        bench.record(
            RunResult(
                test="fault_latency",
                title=bench.title,
                params={"slot": slot, "comp_algorithm": faults.algorithm},
                metrics={"fault.major": Metric("count", "lower", [len(latencies)])},
                raw={"fault.latency": bench.save_raw(f"fault-latency-{slot}", latencies)},
                checks={"reads from the backing device (bd_stat)": read} if read else {},
                facts={"probe_overhead_ns": faults.overhead, "major_faults_of_both": faults.majflt},
            )
        )
    assert len(faults.ram_ns) >= samples
    assert len(faults.written_back_ns) >= samples
