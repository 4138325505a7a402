"""Grammar, unit and bound of the writeback limit."""

from __future__ import annotations

import pytest

from base.kernel import PAGE_4K
from workloads.attributes import (
    fault_of_partial_limit,
    limit_grammar_result,
    limit_result,
    partial_limit_result,
    try_values,
    write_back_under_limit,
)
from workloads.bench import Bench

PAGES = 512
# A multiple of 16, so that kernels which round down to a page of up to 64 KiB leave it alone.
LIMIT_4K = 112


@pytest.mark.capability("writeback_limit")
def test_writeback_limit_grammar(bench: Bench) -> None:
    """writeback_limit takes decimal numbers, its switch any number"""
    bench.progress("attribute writeback_limit")
    bench.stage.as_block_device(1024)
    limit = try_values(bench.stage, "writeback_limit", ("0", "16", "1048576", "-1", "abc"), "0")
    switch = try_values(bench.stage, "writeback_limit_enable", ("1", "0", "7", "abc"), "0")
    bench.record(limit_grammar_result(bench, limit, switch))
    assert [w.errno for w in limit] == ["", "", "", "EINVAL", "EINVAL"]
    assert [w.reads for w in limit][:3] == ["0", "16", "1048576"]
    assert [w.errno for w in switch] == ["", "", "", "EINVAL"]
    assert [w.reads for w in switch][:3] == ["1", "0", "1"]


@pytest.mark.capability("writeback_limit")
@pytest.mark.parametrize("batch_size", [1, 32, 128])
def test_writeback_limit_is_kept(bench: Bench, batch_size: int) -> None:
    """A writeback stops exactly at its limit, at every batch size"""
    bench.progress(f"writeback limit at batch {batch_size}")
    (chosen,) = bench.stage.batch_sizes([batch_size])
    if batch_size != 1 and chosen is None:
        pytest.skip("writeback_batch_size: not on this phone; the limit was checked at one page at a time")
    with bench.probing() as probing:
        kept = write_back_under_limit(probing, pages=PAGES, limit_4k=LIMIT_4K, batch_size=chosen)
    bench.record(limit_result(bench, kept))
    limited, rest = kept.limited, kept.rest
    assert (limited.written_4k, limited.left_4k, limited.errno) == (LIMIT_4K, 0, "EIO")
    assert (limited.written_4k + rest.written_4k, rest.errno) == (kept.total_4k, "")


@pytest.mark.capability("writeback_limit")
def test_writeback_limit_that_ends_within_a_page(bench: Bench) -> None:
    """A limit that is no whole number of pages is a limit all the same"""
    stage = bench.stage
    if stage.page_bytes == PAGE_4K:
        pytest.skip("pages of 4 KiB: every limit is a whole number of pages")
    bench.progress("writeback limit within a page")
    (batch_size,) = stage.batch_sizes([32])
    limit_4k = LIMIT_4K + stage.page_bytes // PAGE_4K - 1
    with bench.probing() as probing:
        kept = write_back_under_limit(probing, pages=PAGES, limit_4k=limit_4k, batch_size=batch_size)
    bench.record(partial_limit_result(bench, kept))
    assert not (fault := fault_of_partial_limit(stage, kept.limited)), fault
    assert kept.limited.errno == "EIO"
