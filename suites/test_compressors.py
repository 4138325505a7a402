"""Compressors: what they save, what they cost, and writeback of pages as they are stored (Q10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from records.model import RunResult
from suites.bench import Bench
from suites.turns import chosen, recorded_even_if_broken_off, skip_or_raise
from workloads.compressors import Compressor, MeasuredCompressor, compressor_results, measure_compressors


@pytest.fixture(scope="module")
def measured() -> dict[Compressor, MeasuredCompressor]:
    """Filled by the first test, for all that were selected."""
    return {}


@pytest.mark.capability("writeback")
@pytest.mark.steps(count=lambda stage, compressor: stage.profile.compressors.repeats)
def test_compressor(
    bench: Bench,
    compressor: Compressor,
    measured: dict[Compressor, MeasuredCompressor],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """Compression ratio, writeback and page faults by compressor"""

    def results(point: Compressor) -> list[RunResult]:
        return compressor_results(bench.stage, point, measured[point], bench.title, bench.save_raw)

    if not measured:
        measured.update({point: MeasuredCompressor() for point in chosen(request, "compressor")})
        with bench.probe() as probe, recorded_even_if_broken_off(bench, measured, results):
            measure_compressors(bench.stage, probe, measured, bench.seed, tmp_path, bench.progress)
    found = measured[compressor]
    skip_or_raise(found.error)
    for result in results(compressor):
        bench.record(result)
    assert all(len(share.ram_ns) and len(share.written_back_ns) for share in found.faults)
