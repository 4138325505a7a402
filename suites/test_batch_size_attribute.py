"""Grammar and bounds of ``writeback_batch_size``. No value above 4096 is ever written."""

from __future__ import annotations

import pytest

from workloads.attributes import batch_size_result, try_values
from workloads.bench import Bench

TAKEN = ("1", "2", "32", "128")
REFUSED = ("0", "-1", "abc", "0x10", "1 2")


@pytest.mark.capability("writeback_batch_size")
def test_batch_size_attribute(bench: Bench) -> None:
    """writeback_batch_size takes 1 and up, refuses 0 and what is no number"""
    bench.progress("attribute writeback_batch_size")
    bench.stage.as_block_device(1024)
    taken = try_values(bench.stage, "writeback_batch_size", TAKEN, "32")
    refused = try_values(bench.stage, "writeback_batch_size", REFUSED, "32")
    # 4096 is the largest value this project ever writes; vendors clamp (256 has been seen), which is recorded.
    largest = try_values(bench.stage, "writeback_batch_size", ("4096",), "32")[0]
    bench.record(batch_size_result(bench, taken, refused, largest))
    assert [w.reads for w in taken] == list(TAKEN)
    assert [w.errno for w in taken] == [""] * len(TAKEN)
    assert {w.value: w.errno for w in refused} == dict.fromkeys(REFUSED, "EINVAL")
    assert bench.stage.zram.read("writeback_batch_size") == "32"


@pytest.mark.capability("writeback_batch_size")
def test_batch_size_survives_reset(bench: Bench) -> None:
    """writeback_batch_size keeps its value over a reset"""
    bench.stage.as_block_device(1024)
    bench.stage.set_batch_size(7)
    bench.stage.zram.reset()
    assert bench.stage.zram.read("writeback_batch_size") == "7"
