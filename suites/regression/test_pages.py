"""Integrity: every page holds what was written to it last."""

from __future__ import annotations

from functools import partial

import pytest

from workloads.bench import Bench
from workloads.regression.findings import hold
from workloads.regression.pages import each_page, many_hands, reclaim, swapped_off

pytestmark = [pytest.mark.regression, pytest.mark.capability("writeback")]

COMPRESSED = [
    pytest.param(False, id="decompressed"),
    pytest.param(True, id="compressed", marks=pytest.mark.capability("compressed_writeback")),
]


def batch_of(bench: Bench, batch_size: int) -> int | None:
    (chosen,) = bench.stage.batch_sizes([batch_size])
    if chosen is None and batch_size != 1:
        pytest.skip("writeback_batch_size: not on this phone; it was checked at one page at a time")
    return chosen


@pytest.mark.parametrize("compressed", COMPRESSED)
@pytest.mark.parametrize("batch_size", [1, 2, 32, 128])
def test_pages_written_back(bench: Bench, batch_size: int, compressed: bool) -> None:
    """Pages are whole and counted after writeback, rewriting, freeing and writeback into gaps"""
    check = partial(each_page, batch_size=batch_of(bench, batch_size), compressed=compressed)
    hold(bench, f"pages_written_back, batch {batch_size}, {'compressed' if compressed else 'decompressed'}", check)


@pytest.mark.parametrize("compressed", COMPRESSED)
@pytest.mark.parametrize("batch_size", [1, 32])
def test_many_hands(bench: Bench, batch_size: int, compressed: bool) -> None:
    """Pages are whole while they are read, written, freed and written back from all cores"""
    check = partial(many_hands, batch_size=batch_of(bench, batch_size), compressed=compressed)
    hold(bench, f"many_hands, batch {batch_size}, {'compressed' if compressed else 'decompressed'}", check)


def test_swapped_off(bench: Bench) -> None:
    """Memory is whole after writeback and swapoff"""
    hold(bench, "swapped_off", swapped_off)


def test_reclaim(bench: Bench) -> None:
    """Memory is whole while it is swapped out, written back and used"""
    hold(bench, "reclaim", reclaim)
