"""Accounting of blocks: each is used, none is lost, and nothing else is in them."""

from __future__ import annotations

import pytest

from workloads.bench import Bench
from workloads.regression.blocks import behind_objects, full_device, gaps, tiny_writebacks
from workloads.regression.findings import hold

pytestmark = [pytest.mark.regression, pytest.mark.capability("writeback")]


def test_full_device(bench: Bench) -> None:
    """A full backing device is told, and used again once blocks are free"""
    hold(bench, "full_device", full_device)


def test_gaps(bench: Bench) -> None:
    """Blocks freed at random are all used again"""
    hold(bench, "gaps", gaps)


@pytest.mark.capability("page_index")
def test_tiny_writebacks(bench: Bench) -> None:
    """Writebacks of one and two pages that race with writes and discards lose no block"""
    hold(bench, "tiny_writebacks", tiny_writebacks)


@pytest.mark.capability("compressed_writeback")
def test_behind_objects(bench: Bench) -> None:
    """Behind a compressed object there is nothing on the backing device"""
    hold(bench, "behind_objects", behind_objects)
