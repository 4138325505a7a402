"""No page may be corrupted on its way to the backing device and back."""

from __future__ import annotations

import pytest

from base.units import MIB
from workloads.bench import Bench
from workloads.integrity import check_block, check_swap, integrity_result

# Where the profile leaves the size of the data open.
_OPEN = 4 * MIB


@pytest.mark.parametrize("path", ["block", pytest.param("swap", marks=pytest.mark.capability("page_index"))])
def test_data_integrity(bench: Bench, path: str) -> None:
    """Every page is unchanged after writeback and read-back"""
    bench.progress(f"data integrity through {path}")
    pages = bench.stage.pages(bench.stage.profile.sweep.sizes[0] or _OPEN)
    check = check_block if path == "block" else check_swap
    with bench.probing() as probing:
        seen = check(probing, pages)
    bench.record(integrity_result(bench, path, seen))
    assert seen.corrupt == 0, f"corrupt pages, the first of them: {seen.first_corrupt}"
    assert seen.checker_works, "the check did not notice a byte that was flipped on purpose"
    assert seen.read_back == seen.written_back
