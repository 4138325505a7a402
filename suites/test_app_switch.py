"""What switching between apps is like while zram holds their memory: with writeback and without, by batch size."""

from __future__ import annotations

import pytest

from devices.capability import Capability
from devices.profiles.profile import AppsKind, Trigger
from workloads.app_model import SwitchCondition, made
from workloads.app_results import app_switch_result, corrupt, flash_reads_4k, written_back_4k
from workloads.apps import Shared, run_apps, steps_of
from workloads.bench import Bench
from workloads.turns import NotAvailable


@pytest.fixture(scope="module")
def shared() -> Shared:
    """Have every condition switch between as many apps as the first."""
    return Shared()


@pytest.mark.capability("writeback")
@pytest.mark.kills_apps
@pytest.mark.changes(
    "apps: started, the screen kept on",
    "apps stopped, settings as they were",
    when=lambda stage: stage.profile.apps.kind is AppsKind.packages,
)
@pytest.mark.steps(count=steps_of)
def test_app_switch(bench: Bench, condition: SwitchCondition, shared: Shared) -> None:
    """Switching between apps, with writeback and without"""
    if condition.trigger is Trigger.background and Capability.page_index not in bench.stage.device.capabilities:
        pytest.skip(f"{Capability.page_index}: not on this phone; {condition.trigger} writes back single pages")
    try:
        run = run_apps(bench, condition, shared)
    except NotAvailable as why:
        pytest.skip(str(why))
    result = app_switch_result(bench, run)
    bench.record(result)
    assert corrupt(run) == 0, "pages of an app did not hold what was written to them"
    missed = len(run.switches) - len(made(run.switches))
    assert len(run.switches) == sum(map(len, run.sequence))
    assert not missed or run.deaths or result.facts["problems"], f"{missed} switches were not made, nothing says why"
    assert run.left_running == [], "apps are still running"
    check = result.checks["pages read from flash (bd_stat)"]
    assert check["seen"] == check["expected"]
    if condition.trigger is not Trigger.off:
        assert run.watch.totals.pswpout, "nothing was swapped out: more or larger apps, or a longer dwell"
        assert written_back_4k(run) > 0, f"no page was written back: {run.watch.daemon}"
        assert flash_reads_4k(run) > 0, "no page that was written back was read again"
