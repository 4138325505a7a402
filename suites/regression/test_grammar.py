"""What attributes take and refuse, and which pages a writeback takes."""

from __future__ import annotations

import pytest

from workloads.bench import Bench
from workloads.regression.findings import hold
from workloads.regression.grammar import grammar
from workloads.regression.selection import ages, selection

pytestmark = [pytest.mark.regression, pytest.mark.capability("writeback")]


def test_grammar(bench: Bench) -> None:
    """Attributes take and refuse what they should, in each state of the device"""
    hold(bench, "grammar", grammar)


def test_selection(bench: Bench) -> None:
    """A writeback takes the pages that it names and no others, each once"""
    hold(bench, "selection", selection)


def test_ages(bench: Bench) -> None:
    """Pages are idle by their age, and none by an age beyond the uptime"""
    hold(bench, "ages", ages)
