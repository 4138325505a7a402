"""Runs to compare: stored as the suites store them, with rates and latencies that the test chooses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from records import model
from records.writing import RunFolder
from reports.comparison.compare import Comparison, compare
from reports.comparison.verdicts import Compared, Verdict
from tests import reports_sample as sample

Samples = npt.NDArray[np.float64]


def noisy(middle: float, n: int = 9, *, scatter: float = 0.01, seed: int = 1) -> list[float]:
    """Repeats around a value, always the same for a seed."""
    values: list[float] = (middle * np.exp(scatter * np.random.default_rng(seed).standard_normal(n))).tolist()
    return values


Record = model.RunResult | Samples | Callable[[RunFolder], model.RunResult]


def store(results: Path, *records: Record, end: bool = True, **changes: Any) -> Path:
    """A run with these points. ``changes`` are of the provenance.

    An array stands for latencies of page faults, a function makes a record that has files in the run's folder.
    """
    folder = RunFolder.create(results, "virtual", sample.NOW)
    folder.append(sample.session(folder.run_id, **changes))
    for record in records:
        if isinstance(record, model.RunResult):
            folder.append(record)
        else:
            folder.append(latencies(folder, record) if isinstance(record, np.ndarray) else record(folder))
    if end:
        folder.append(model.End(0, "2026-11-23T10:17:58Z", sample.WALL_TIME))
    return folder.path


def latencies(folder: RunFolder, ns: Samples, **params: Any) -> model.RunResult:
    params = params or {"slot": "ram", "comp_algorithm": "lz4"}
    raw = {"fault.latency": folder.save_raw("fault.latency", ns.astype(np.uint64))}
    return model.RunResult("fault_latency", "Page fault latency", params, {}, raw=raw)


def in_turns(result: model.RunResult, disturbed: Collection[int] = ()) -> model.RunResult:
    """The same with a turn for each value; those of these numbers were disturbed."""
    count = max(len(metric.values) for metric in result.metrics.values())
    return replace(result, turns=turns(count, disturbed))


def turns(count: int, disturbed: Collection[int] = ()) -> list[model.Turn]:
    return [model.Turn(number, 1.0 + number, ("wait",) if number in disturbed else ()) for number in range(count)]


def faults_in_turns(folder: RunFolder, blocks: Sequence[Samples], disturbed: Collection[int] = ()) -> model.RunResult:
    """A point whose turns have these latencies in ns."""
    numbers = np.repeat(np.arange(len(blocks)), [block.size for block in blocks])
    return with_turn_array(folder, latencies(folder, np.concatenate(blocks)), numbers, len(blocks), disturbed)


def with_turn_array(
    folder: RunFolder, result: model.RunResult, numbers: npt.ArrayLike, count: int, disturbed: Collection[int] = ()
) -> model.RunResult:
    beside = folder.save_raw("fault.turn", np.asarray(numbers, dtype=np.uint64))
    return replace(result, raw={**result.raw, "fault.turn": beside}, turns=turns(count, disturbed))


def rates(by_batch: Mapping[int | None, Sequence[float]]) -> list[model.RunResult]:
    return [sample.throughput(batch, "sparse", values) for batch, values in by_batch.items()]


def point(name: str, values: Sequence[float], *, unit: str = "s", better: model.Better = "lower") -> model.RunResult:
    """A test of its own with one metric."""
    return model.RunResult("other_test", "Other", {"size": 1}, {name: model.Metric(unit, better, values)})


def compared(base: Path, cand: Path, **options: Any) -> Comparison:
    return compare(str(base), str(cand), **options)


def throughput_of(comparison: Comparison) -> list[Compared]:
    return [each for each in comparison.figures if each.figure.metric == "writeback.throughput"]


def verdicts(comparison: Comparison, metric: str = "writeback.throughput") -> list[Verdict]:
    return [each.verdict for each in comparison.figures if each.figure.metric == metric]
