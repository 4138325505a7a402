"""What happens at the same time: marks, resets, removal, swapoff, a second writer, a writer that is killed."""

from __future__ import annotations

import pytest

from workloads.bench import Bench
from workloads.regression.findings import hold
from workloads.regression.races import (
    marks,
    removed_meanwhile,
    reset_meanwhile,
    resets,
    second_writeback,
    swapoff_meanwhile,
    writer_killed,
)

pytestmark = [pytest.mark.regression, pytest.mark.capability("writeback")]


def test_marks(bench: Bench) -> None:
    """Marking, writeback, compaction and recompression at once harm no page"""
    hold(bench, "marks", marks)


@pytest.mark.capability("page_index")
@pytest.mark.capability("hot_add")
def test_resets(bench: Bench) -> None:
    """Resets to another size harm nothing while pages are written back by number"""
    hold(bench, "resets", resets)


def test_second_writeback(bench: Bench) -> None:
    """A second writeback is refused, waits or runs, and writes no page twice"""
    hold(bench, "second_writeback", second_writeback)


def test_reset_meanwhile(bench: Bench) -> None:
    """A reset waits for a writeback and leaves nothing behind"""
    hold(bench, "reset_meanwhile", reset_meanwhile)


@pytest.mark.capability("hot_add")
def test_removed_meanwhile(bench: Bench) -> None:
    """Removing the device during a writeback is refused or done, and nothing in between"""
    hold(bench, "removed_meanwhile", removed_meanwhile)


def test_swapoff_meanwhile(bench: Bench) -> None:
    """Memory is whole after swapoff during a writeback"""
    hold(bench, "swapoff_meanwhile", swapoff_meanwhile)


def test_writer_killed(bench: Bench) -> None:
    """A writer that is killed leaves whole pages and lets the next one finish"""
    hold(bench, "writer_killed", writer_killed)
