"""Grammar, unit and bound of the writeback limit (Q13)."""

from __future__ import annotations

import pytest

from records.model import RunResult
from suites.bench import Bench
from workloads.attributes import try_values, write_back_under_limit

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
    facts = {"writeback_limit": limit, "writeback_limit_enable": switch}
    bench.record(RunResult("writeback_limit_grammar", bench.title, params={}, metrics={}, facts=facts))
    assert [w.errno for w in limit] == ["", "", "", "EINVAL", "EINVAL"]
    assert [w.reads for w in limit][:3] == ["0", "16", "1048576"]
    assert [w.errno for w in switch] == ["", "", "", "EINVAL"]
    assert [w.reads for w in switch][:3] == ["1", "0", "1"]


@pytest.mark.capability("writeback_limit")
@pytest.mark.parametrize("batch_size", [1, 32, 128])
def test_writeback_limit_is_kept(bench: Bench, batch_size: int) -> None:
    """A writeback stops exactly at its limit, at every batch size"""
    bench.progress(f"writeback limit at batch {batch_size}")
    if batch_size != 1 and not bench.stage.has_batch_size:
        pytest.skip("writeback_batch_size: not on this phone; the limit was checked at one page at a time")
    chosen = batch_size if bench.stage.has_batch_size else None
    with bench.probe() as probe:
        limited, rest = write_back_under_limit(
            bench.stage, probe, pages=PAGES, limit_4k=LIMIT_4K, batch_size=chosen, seed=bench.seed
        )
    facts = {"limited": limited, "rest": rest}
    total_4k = PAGES * bench.stage.page_bytes // 4096
    checks = {
        "written under the limit (4 KiB)": {"expected": LIMIT_4K, "seen": limited.written_4k},
        "written in all (4 KiB)": {"expected": total_4k, "seen": limited.written_4k + rest.written_4k},
    }
    bench.record(
        RunResult("writeback_limit", bench.title, params={"batch_size": chosen}, metrics={}, checks=checks, facts=facts)
    )
    assert (limited.written_4k, limited.left_4k, limited.errno) == (LIMIT_4K, 0, "EIO")
    assert (limited.written_4k + rest.written_4k, rest.errno) == (total_4k, "")
