"""What zram writes back to: file or partition, which file system, pinned, sparse, through the page cache."""

from __future__ import annotations

import pytest

from records.model import RunResult
from suites.turns import chosen, recorded_even_if_broken_off, skip_or_raise
from workloads.bench import Bench
from workloads.variants import VARIANTS, MeasuredVariant, Variant, measure_variants, variant_results


@pytest.fixture(scope="module")
def measured() -> dict[Variant, MeasuredVariant]:
    """Hold what the first test measures, for all points that were selected."""
    return {}


@pytest.mark.capability("writeback")
@pytest.mark.one_measurement
@pytest.mark.changes("zram on other backing devices", "zram off its backing device, backing file removed")
@pytest.mark.steps(count=lambda stage, variant: stage.profile.variants.repeats)
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.slug)
def test_backing_variant(
    bench: Bench,
    variant: Variant,
    measured: dict[Variant, MeasuredVariant],
    request: pytest.FixtureRequest,
) -> None:
    """Writeback and page faults by what zram writes back to"""

    def results(point: Variant) -> list[RunResult]:
        return variant_results(bench, point, measured[point])

    if not measured:
        measured.update({point: MeasuredVariant() for point in chosen(request, "variant")})
        with bench.probing() as probing, recorded_even_if_broken_off(bench, measured, results):
            measure_variants(probing, measured)
    found = measured[variant]
    skip_or_raise(found.error)
    for result in results(variant):
        bench.record(result)
    assert all(len(share.written_back_ns) for share in found.faults)
