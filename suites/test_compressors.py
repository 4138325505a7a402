"""Compressors: what they save, what they cost, and writeback of pages as they are stored."""

from __future__ import annotations

import pytest

from records.model import RunResult
from suites.turns import SharedRounds, chosen
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.compressors import Compressor, CompressorTurn, compressor_results, measure_compressors

Shared = SharedRounds[Compressor, CompressorTurn]


@pytest.fixture(scope="module")
def shared() -> Shared:
    """Hold what the first test measures, for all points that were selected."""
    return SharedRounds()


@pytest.mark.capability("writeback")
@pytest.mark.one_measurement
@pytest.mark.steps(count=lambda stage, compressor: RoundsPlan().at_most(stage.profile.compressors.repeats).fewest)
def test_compressor(bench: Bench, compressor: Compressor, shared: Shared, request: pytest.FixtureRequest) -> None:
    """Compression ratio, writeback and page faults by compressor"""

    def results(point: Compressor) -> list[RunResult]:
        return compressor_results(bench, point, shared.rounds)

    if not shared.begun:
        points = chosen(request, "compressor")
        with bench.probing() as probing, shared.measuring(bench, points, results) as rounds:
            measure_compressors(probing, points, rounds)
    shared.skip_or_raise(compressor)
    for result in results(compressor):
        bench.record(result)
    faults = [turn.faults for turn in shared.rounds.values(compressor) if turn.faults is not None]
    assert all(len(found.ram_ns) and len(found.written_back_ns) for found in faults)
