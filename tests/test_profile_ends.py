"""What a profile says of how long is measured: precision, budget, and which tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from base.errors import ProfileError
from base.paths import REPO
from devices.profiles.reading import load
from devices.profiles.what_is_measured import SuiteName


def test_every_module_of_the_suites_can_be_named_in_a_profile() -> None:
    modules = {path.stem.removeprefix("test_") for path in (REPO / "suites").glob("test_*.py")}
    assert {str(test) for test in SuiteName} == modules


def test_precision_budget_and_tests_are_read_planned_and_overridden(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: x\nprecision: 5 %\nplans: {quick: {budget: 4min, tests: [app_switch, fault_latency]}}\n")
    profile = load(path)
    quick = profile.for_plan("quick")
    assert (profile.precision, profile.budget, profile.tests) == (0.05, None, tuple(SuiteName))
    assert (quick.precision, quick.budget, quick.tests) == (
        0.05,
        240.0,
        (SuiteName.app_switch, SuiteName.fault_latency),
    )
    given = quick.with_overrides(precision="2.5%", budget="30 s")
    assert (given.precision, given.budget) == (0.025, 30.0)
    assert quick.with_overrides(budget="none").budget is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precision": "10"}, "--precision: '10' is not a share; expected per cent, for example 10 %"),
        ({"precision": "200 %"}, "--precision: 200 % is out of range; expected 0.1 % to 100 %"),
        ({"budget": "4"}, "--budget: '4' has no unit"),
        ({"budget": "1s"}, "--budget: 1s is out of range; expected 10s to 24h"),
    ],
)
def test_a_precision_or_budget_that_is_none_is_named(options: dict[str, str], says: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(says)):
        load("virtual").with_overrides(**options)  # type: ignore[arg-type]
