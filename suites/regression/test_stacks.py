"""Stacks of file systems over and under zram, and storage that fails."""

from __future__ import annotations

from functools import partial

import pytest

from workloads.bench import Bench
from workloads.regression.findings import hold
from workloads.regression.stacks import FILE_SYSTEMS, failing_storage, missing_for, stack

pytestmark = [pytest.mark.regression, pytest.mark.capability("writeback"), pytest.mark.capability("loop")]


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
def test_stack(bench: Bench, file_system: str) -> None:
    """ext4 on zram is whole after writeback under load, whatever its backing file lies on"""
    if missing := missing_for(bench, file_system) or missing_for(bench, "ext4"):
        pytest.skip(missing)
    hold(bench, f"stack, backing file on {file_system}", partial(stack, file_system=file_system))


@pytest.mark.storage_fails
@pytest.mark.capability("hot_add")
def test_failing_storage(bench: Bench) -> None:
    """Storage that fails is told: limits are refunded, reads end with EIO, no page is wrong"""
    if missing := missing_for(bench, "ext4"):
        pytest.skip(missing)
    hold(bench, "failing_storage", failing_storage)
