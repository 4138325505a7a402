"""Whether a busy phone delays page faults, and what the loop driver has to do with it (Q7)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from records.model import Caveat, Metric, RunResult
from suites.bench import Bench
from workloads.faults import algorithm_of
from workloads.faults_under_load import LoadCondition, UnderLoad, measure_faults_under_load, steps_of


@pytest.mark.steps(count=steps_of)
def test_faults_under_load(bench: Bench, tmp_path: Path) -> None:
    """Page fault latency on a busy phone"""
    with bench.probe() as probe:
        found = measure_faults_under_load(bench.stage, probe, seed=bench.seed, folder=tmp_path, progress=bench.progress)
        algorithm = algorithm_of(bench.stage)
    for condition in found.conditions:
        for slot in ("ram", "written_back"):
            bench.record(_result(bench, found, condition, slot, algorithm))
    for condition in found.conditions:
        assert condition.load is None or condition.done.cpu_s > 0, f"{condition.load}: there was no load"


def _result(bench: Bench, found: UnderLoad, condition: LoadCondition, slot: str, algorithm: str) -> RunResult:
    name = f"{condition.backing}-{condition.load or 'none'}-{condition.setting}"
    latencies = np.concatenate(condition.ram if slot == "ram" else condition.written_back)
    raw = {"fault.latency": bench.save_raw(f"fault-{name}-{slot}", latencies)}
    metrics: dict[str, Metric] = {}
    facts: dict[str, object] = {}
    caveats = []
    if condition.load is not None:
        metrics["load.cpu_busy"] = Metric("s", "higher", [condition.done.cpu_s])
        metrics["load.bytes"] = Metric("B", "higher", [condition.done.bytes])
    if condition.done.ended_early:
        caveats.append(Caveat.load_ended_early)
    if found.other_tracer:
        caveats.append(Caveat.other_tracer)
    if slot == "written_back" and (split := condition.split) is not None:
        raw["fault.disk"] = bench.save_raw(f"fault-{name}-disk", split[0])
        raw["fault.worker"] = bench.save_raw(f"fault-{name}-worker", split[1])
        facts["reads_not_found_at_the_disk"] = condition.unmatched
    elif slot == "written_back" and condition.backing.startswith("loop"):
        facts["no_split_because"] = found.no_events_because or f"{condition.unmatched} reads were not found at the disk"
    if condition.reniced:
        facts["workers_reniced"] = condition.reniced
    return RunResult(
        test="fault_latency_load",
        title=bench.title,
        params={
            "backing": condition.backing,
            "load": str(condition.load or "none"),
            "setting": condition.setting,
            "slot": slot,
            "comp_algorithm": algorithm,
        },
        metrics=metrics,
        raw=raw,
        checks=_reads(condition) if slot == "written_back" else {},
        caveats=caveats,
        facts=facts,
    )


def _reads(condition: LoadCondition) -> dict[str, dict[str, float]]:
    touched = sum(part.size for part in condition.written_back)
    return {"reads from the backing device (bd_stat)": {"expected": touched, "seen": condition.bd_reads}}
