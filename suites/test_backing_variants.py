"""What zram writes back to: file or partition, which file system, pinned, sparse, through the page cache (Q9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.bench import Bench
from suites.turns import chosen, skip_or_raise
from workloads.variants import VARIANTS, MeasuredVariant, Variant, measure_variants, variant_results


@pytest.fixture(scope="module")
def measured() -> dict[Variant, MeasuredVariant]:
    """Filled by the first test, for all that were selected."""
    return {}


@pytest.mark.capability("writeback")
@pytest.mark.steps(count=lambda stage, variant: stage.profile.variants.repeats)
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.slug)
def test_backing_variant(
    bench: Bench,
    variant: Variant,
    measured: dict[Variant, MeasuredVariant],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """Writeback and page faults by what zram writes back to"""
    if not measured:
        variants = chosen(request, "variant")
        with bench.probe() as probe:
            measured.update(measure_variants(bench.stage, probe, variants, bench.seed, tmp_path, bench.progress))
    found = measured[variant]
    skip_or_raise(found.error)
    for result in variant_results(bench.stage, variant, found, bench.title, bench.save_raw):
        bench.record(result)
    assert all(len(share.written_back_ns) for share in found.faults)
