"""What the phone is like for whoever switches between apps: with writeback and without, by batch size (Q11)."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.profiles.profile import Trigger
from suites.bench import Bench
from workloads.app_model import SwitchCondition, made
from workloads.app_results import app_switch_result, corrupt, flash_reads_4k, written_back_4k
from workloads.apps import Shared, run_apps, steps_of


@pytest.fixture(scope="module")
def shared() -> Shared:
    """Every condition switches between as many apps as the first."""
    return Shared()


@pytest.mark.capability("writeback")
@pytest.mark.kills_apps
@pytest.mark.steps(count=steps_of)
def test_app_switch(bench: Bench, condition: SwitchCondition, shared: Shared, tmp_path: Path) -> None:
    """Switching between apps under memory pressure"""
    stage = bench.stage
    run = run_apps(stage, condition, seed=bench.seed, folder=tmp_path, shared=shared, progress=bench.progress)
    result = app_switch_result(stage, run, bench.title, bench.save_raw)
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
