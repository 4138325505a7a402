"""The writeback limit: exact, kept and consistent under concurrent stores."""

from __future__ import annotations

import pytest

from workloads.bench import Bench
from workloads.regression.findings import hold
from workloads.regression.limits import all_settings_at_once, budgeted, settings_wait, to_the_page

pytestmark = [pytest.mark.regression, pytest.mark.capability("writeback"), pytest.mark.capability("writeback_limit")]


def test_limit_to_the_page(bench: Bench) -> None:
    """A limit is charged and kept to the page, around one page, a batch and all pages"""
    hold(bench, "limit_to_the_page", to_the_page)


def test_budgeted(bench: Bench) -> None:
    """No more is written than all limits that were stored allow"""
    hold(bench, "budgeted", budgeted)


def test_all_settings_at_once(bench: Bench) -> None:
    """Settings that change during writeback harm no page and wrap no limit"""
    hold(bench, "all_settings_at_once", all_settings_at_once)


def test_settings_wait(bench: Bench) -> None:
    """Settings wait for a writeback where its books do"""
    hold(bench, "settings_wait", settings_wait)
