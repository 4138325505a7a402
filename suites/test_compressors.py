"""Compressors: what they save, what they cost, and writeback of pages as they are stored."""

from __future__ import annotations

import pytest

from records.model import RunResult
from suites.turns import chosen, recorded_even_if_broken_off, skip_or_raise
from workloads.bench import Bench
from workloads.compressors import Compressor, MeasuredCompressor, compressor_results, measure_compressors


@pytest.fixture(scope="module")
def measured() -> dict[Compressor, MeasuredCompressor]:
    """Hold what the first test measures, for all points that were selected."""
    return {}


@pytest.mark.capability("writeback")
@pytest.mark.one_measurement
@pytest.mark.steps(count=lambda stage, compressor: stage.profile.compressors.repeats)
def test_compressor(
    bench: Bench,
    compressor: Compressor,
    measured: dict[Compressor, MeasuredCompressor],
    request: pytest.FixtureRequest,
) -> None:
    """Compression ratio, writeback and page faults by compressor"""

    def results(point: Compressor) -> list[RunResult]:
        return compressor_results(bench, point, measured[point])

    if not measured:
        measured.update({point: MeasuredCompressor() for point in chosen(request, "compressor")})
        with bench.probing() as probing, recorded_even_if_broken_off(bench, measured, results):
            measure_compressors(probing, measured)
    found = measured[compressor]
    skip_or_raise(found.error)
    for result in results(compressor):
        bench.record(result)
    assert all(len(share.ram_ns) and len(share.written_back_ns) for share in found.faults)
