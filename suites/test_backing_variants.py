"""What zram writes back to: file or partition, which file system, pinned, sparse, through the page cache."""

from __future__ import annotations

import pytest

from records.model import RunResult
from suites.turns import SharedRounds, chosen
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.variants import VARIANTS, Variant, VariantTurn, measure_variants, variant_results

Shared = SharedRounds[Variant, VariantTurn]


@pytest.fixture(scope="module")
def shared() -> Shared:
    """Hold what the first test measures, for all points that were selected."""
    return SharedRounds()


@pytest.mark.capability("writeback")
@pytest.mark.one_measurement
@pytest.mark.changes("zram on other backing devices", "zram off its backing device, backing file removed")
@pytest.mark.steps(count=lambda stage, variant: RoundsPlan().at_most(stage.profile.variants.repeats).fewest)
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.slug)
def test_backing_variant(bench: Bench, variant: Variant, shared: Shared, request: pytest.FixtureRequest) -> None:
    """Writeback and page faults by what zram writes back to"""

    def results(point: Variant) -> list[RunResult]:
        return variant_results(bench, point, shared.rounds)

    if not shared.begun:
        points = chosen(request, "variant")
        with bench.probing() as probing, shared.measuring(bench, points, results) as rounds:
            measure_variants(probing, points, rounds)
    shared.skip_or_raise(variant)
    for result in results(variant):
        bench.record(result)
    faults = [turn.faults for turn in shared.rounds.values(variant) if turn.faults is not None]
    assert all(len(found.written_back_ns) for found in faults)
