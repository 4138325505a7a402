"""What stands for pytest where several machines are measured: writes a run as each machine would leave it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from base.errors import EXIT_REFUSED
from base.units import KIB
from records import model
from records.writing import RunFolder
from tests import reports_sample as sample

NOT_THERE = "6.18"
"""a kernel that cannot be had"""
SKIPS = "page_index: not on this phone"


def main(argv: list[str]) -> int:
    """Take the options that the launcher gives and leave a run; the exit status is the run's."""
    parser = argparse.ArgumentParser()
    for option in ("--kernel", "--arch", "--page-size", "--seed", "--results", "--junitxml"):
        parser.add_argument(option)
    given = parser.parse_args(argv)
    if given.kernel == NOT_THERE:
        return EXIT_REFUSED
    pages = int((given.page_size or "4k").removesuffix("k")) * KIB
    store(Path(given.results), given.kernel or "7.3", pages, int(given.seed))
    return 0


def store(results: Path, kernel: str, page_bytes: int = 4 * KIB, seed: int = 1) -> Path:
    """A run of one sweep, depth, faults and integrity; kernels before 7 have no batches, 5.10 no page_index."""
    batched = kernel.startswith("7")
    facts: Mapping[str, Any] = {
        "kernel_release": f"{kernel}.4+deb13-arm64", "arch": "aarch64", "page_size_bytes": page_bytes,
        "zram_attributes": ["backing_dev", "writeback", *(["writeback_batch_size"] if batched else [])],
    }  # fmt: skip
    folder = RunFolder.create(results, "virtual", sample.NOW)
    folder.append(replace(sample.session(folder.run_id, **facts), seed=seed))
    for record in _records(folder, kernel, batched):
        folder.append(record)
    folder.append(model.End(0, "2026-11-23T10:17:58Z", sample.WALL_TIME))
    return folder.path


def _records(folder: RunFolder, kernel: str, batched: bool) -> Iterable[model.RunResult | model.TestOutcome]:
    for batch, rate in ((1, 7.0), (32, 50.0)) if batched else ((None, 8.0),):
        rates = [rate * factor for factor in (0.98, 0.99, 1.0, 1.01, 1.02)]
        yield sample.throughput(batch, "sparse", rates, caveats=[] if batched else [model.Caveat.no_batch_size])
        yield depth(batch)
    yield sample.integrity("block")
    yield model.TestOutcome("test_data_integrity[block]", "Every page is unchanged", "passed")
    if kernel == "5.10":
        yield model.TestOutcome("test_fault_latency", "Page fault latency", "skipped", SKIPS)
        yield model.TestOutcome("test_data_integrity[swap]", "Every page is unchanged", "skipped", SKIPS)
    else:
        for slot, us in (("ram", 80), ("written_back", 490)):
            params = {"slot": slot, "comp_algorithm": "lz4"}
            yield sample.fault_record(folder, "fault_latency", params, sample.flat([us]))
        yield model.TestOutcome("test_fault_latency", "Page fault latency", "passed")


def depth(batch: int | None) -> model.RunResult:
    """Writes in flight at the disk, two less than the batch allows."""
    deepest = max(1, (batch or 1) - 2)
    metrics = {
        "writeback.inflight_mean": model.Metric("requests", "higher", [0.93 * deepest] * 5),
        "writeback.inflight_max": model.Metric("requests", "higher", [deepest] * 5),
    }
    params = {"batch_size": batch, "layer": "disk", "data_bytes": 4 << 20}
    return model.RunResult("inflight_depth", "Writes in flight during writeback", params, metrics)
