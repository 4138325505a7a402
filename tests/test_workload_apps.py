"""Switching between synthetic apps on a fake phone: what the record says against what the phone swapped and wrote."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from base.errors import EnvironmentRefused
from base.units import KIB, MIB
from devices.fake.phone import FakePhone
from devices.profiles.profile import PressureGoal, SwitchPattern, Trigger
from devices.profiles.what_is_measured import Apps
from devices.virtual.host_time import HostTime
from records.model import Caveat, RunResult
from tests.fake_bench import Fake, fake_bench, small_profile
from workloads.app_model import SwitchCondition, SwitchKind, made
from workloads.app_results import app_switch_result, corrupt, flash_reads_4k, written_back_4k
from workloads.apps import AppRun, Shared, conditions, run_apps, steps_of
from workloads.noise import NoiseWatch
from workloads.synthetic_apps import synthetic_apps

APPS = 4


def apps(**changes: object) -> Apps:
    wanted = Apps(
        count=APPS, anonymous=MIB, file_backed=64 * KIB, working_set=128 * KIB, pattern=SwitchPattern.round_robin,
        rounds=2, dwell=1, idle_age=1, delay=1, period=1, batch_sizes=(8,),
        writeback=(Trigger.off, Trigger.idle, Trigger.background, Trigger.periodic),
    )  # fmt: skip
    return wanted.model_copy(update=changes)


def played(
    folder: Path, condition: SwitchCondition, phone: FakePhone | None = None, **changes: object
) -> tuple[AppRun, RunResult, Fake]:
    with fake_bench(folder, phone, small_profile(apps=apps(**changes))) as fake:
        run = run_apps(fake.bench, condition, Shared())
        assert len(fake.kept.steps) == steps_of(fake.bench.stage, condition)
        return run, app_switch_result(fake.bench, run), fake


def kinds(run: AppRun) -> Sequence[SwitchKind]:
    return [switch.kind for switch in run.switches]


def test_the_points_are_each_trigger_with_each_batch_and_once_none(memory_path: Path) -> None:
    with fake_bench(memory_path, profile=small_profile(apps=apps(batch_sizes=(1, 8)))) as fake:
        points = conditions(fake.bench.stage)
    assert list(map(str, points)) == [
        "off", "idle-1", "idle-8", "background-1", "background-8", "periodic-1", "periodic-8"
    ]  # fmt: skip


def test_without_writeback_apps_come_back_from_memory(memory_path: Path) -> None:
    run, result, fake = played(memory_path, SwitchCondition(Trigger.off, None))
    assert [one.kind for one in run.starts.switches] == [SwitchKind.cold] * APPS
    assert (len(run.switches), run.alive, run.left_running, run.deaths) == (2 * APPS, APPS, [], [])
    assert set(kinds(run)) == {SwitchKind.warm}, "each was swapped out as a whole while others were at the front"
    assert (written_back_4k(run), flash_reads_4k(run), corrupt(run)) == (0, 0, 0)
    assert run.watch.totals.pswpout > APPS * 200
    assert "app_switch.write_amplification" not in result.metrics
    assert result.metrics["switch.control"].values == [0.256] * 2 * APPS
    assert result.params["apps"] == APPS
    assert fake.zram.writes_4k == 0


@pytest.mark.parametrize("trigger", [Trigger.idle, Trigger.background, Trigger.periodic])
def test_pages_that_were_written_back_meanwhile_are_read_from_flash(memory_path: Path, trigger: Trigger) -> None:
    run, result, fake = played(memory_path, SwitchCondition(trigger, 8))
    assert written_back_4k(run) == run.watch.writebacks["pages_4k"].sum() > 0
    assert flash_reads_4k(run) == fake.phone.disks["sda"].reads > 0
    assert sum(switch.flash_4k for part in (run.warmup, *run.rounds) for switch in part.switches) <= flash_reads_4k(run)
    check = result.checks["pages read from flash (bd_stat)"]
    assert check["expected"] == check["seen"]
    assert result.metrics["app_switch.write_amplification"].values == [1.0]
    assert Caveat.other_writer not in result.caveats
    assert {keys["trigger"] for keys in fake.told("daemon-start")} == {str(trigger)}
    marks = {"idle": "by age", "background": "slots of the process", "periodic": "all, one round before"}
    assert result.facts["daemon"]["marks"] == marks[trigger]


def test_the_samples_of_memory_are_as_many_as_time_went_by(memory_path: Path) -> None:
    run, _, fake = played(memory_path, SwitchCondition(Trigger.off, None))
    samples = run.watch.samples
    assert len(samples) == run.watch.totals.samples > 4 * 3 * APPS
    assert set((samples["t_ns"][1:] - samples["t_ns"][:-1]).tolist()) == {250_000_000}
    assert samples["swap_used_kib"].max() > APPS * 512
    assert fake.kept.raw["app-switch-off-sample.alive"].max() == APPS


def raw(fake: Fake, result: RunResult, name: str) -> list[int]:
    return [int(value) for value in fake.kept.raw[Path(result.raw[name]).stem]]


def test_a_turn_is_a_round_through_the_apps_and_each_switch_knows_its_own(memory_path: Path) -> None:
    """Also when apps are killed on the way and started anew."""
    phone = FakePhone()
    phone.kills = {10: "zwb.app01", 13: "zwb.app02"}
    run, result, fake = played(memory_path, SwitchCondition(Trigger.idle, 8), phone, rounds=3)
    assert [turn.round for turn in result.turns] == [0, 1, 2]
    assert [turn.t_s for turn in result.turns] == sorted({turn.t_s for turn in result.turns})
    turns = raw(fake, result, "switch.turn")
    assert turns == [number for number, played in enumerate(run.rounds) for _ in made(played.switches)]
    assert len(turns) == len(result.metrics["switch.latency"].values) == len(raw(fake, result, "switch.t_ms"))
    for number, turn in enumerate(result.turns):
        later = result.turns[number + 1].t_s if number < 2 else float("inf")
        mine = [one.t_ns / 1e9 for one in run.rounds[number].switches]
        assert all(turn.t_s <= at < later for at in mine)


def test_a_host_that_lets_the_phone_wait_disturbs_a_round(memory_path: Path) -> None:
    """The host's clock goes on by a second at each look, and the second round waits for half of it."""
    looks = itertools.count()

    def host() -> HostTime:
        now = next(looks)
        return HostTime(now * 10**9, {1: 0}, {1: 5 * 10**8 * (now >= 3)}, 0)

    with fake_bench(memory_path, profile=small_profile(apps=apps(rounds=3))) as fake:
        bench = replace(fake.bench, noise=NoiseWatch(host=host))
        run = run_apps(bench, SwitchCondition(Trigger.off, None), Shared())
        result = app_switch_result(bench, run)
    assert [turn.wait for turn in result.turns] == [0.0, 0.5, 0.0]
    assert [bool(turn.disturbed) for turn in result.turns] == [False, True, False]
    assert Caveat.disturbed in result.caveats, "two others are too few"


def test_apps_that_take_a_phones_own_cpu_disturb_nothing(memory_path: Path) -> None:
    _, result, _ = played(memory_path, SwitchCondition(Trigger.off, None))
    assert {(turn.wait, tuple(turn.disturbed)) for turn in result.turns} == {(None, ())}
    assert all(turn.control_cpu_ns and turn.control_read_ns for turn in result.turns)
    assert Caveat.disturbed not in result.caveats


def test_an_app_that_is_killed_is_told_and_started_again(memory_path: Path) -> None:
    """The eighth switch is the last of the warm-up: the killed app is the first of the rounds that count."""
    phone = FakePhone()
    phone.kills = {8: "zwb.app01"}
    run, result, fake = played(memory_path, SwitchCondition(Trigger.off, None), phone)
    (death,) = run.deaths
    assert (death.app, death.killed, death.reason) == (0, True, "signal 9")
    assert (kinds(run)[0], run.alive) == (SwitchKind.cold, APPS)
    assert result.metrics["switch.killed"].values == [1]
    assert [victim["app"] for victim in result.facts["victims"]] == ["zwb.app01"]
    assert fake.kept.raw["app-switch-off-switch.kills"].sum() <= 1


def test_apps_are_started_until_the_first_is_killed(memory_path: Path) -> None:
    phone = FakePhone()
    phone.kills = {3: "zwb.app01"}
    run, result, _ = played(memory_path, SwitchCondition(Trigger.off, None), phone, goal=PressureGoal.first_kill)
    assert [one.app for one in run.starts.switches] == [0, 1, 2]
    assert (run.goal_reached, result.params["apps"]) == (True, 3)


def test_apps_are_started_until_half_of_the_swap_is_used(memory_path: Path) -> None:
    phone = FakePhone()
    run, _, _ = played(memory_path, SwitchCondition(Trigger.off, None), phone, goal=PressureGoal.swap_used, count=16)
    assert run.goal_reached
    assert len(run.starts.switches) == 10, "8 of 16 MiB are swapped out; the last two stay in memory"


def test_pages_that_an_app_finds_changed_are_counted(memory_path: Path) -> None:
    with fake_bench(memory_path, profile=small_profile(apps=apps())) as fake:
        fake.zram.spoils = set(range(4096))
        run = run_apps(fake.bench, SwitchCondition(Trigger.periodic, 8), Shared())
    assert corrupt(run) > 0


def test_apps_that_do_not_fit_are_refused_before_any_is_started(memory_path: Path) -> None:
    with fake_bench(memory_path, profile=small_profile(apps=apps(anonymous=8 << 30))) as fake:
        with pytest.raises(EnvironmentRefused, match="4 apps of 8GiB need 32768 MiB"):
            run_apps(fake.bench, SwitchCondition(Trigger.off, None), Shared())
        assert fake.told("apps-make") == []


def test_apps_end_with_their_scope_and_are_played_in_commands_of_bounded_length(memory_path: Path) -> None:
    with fake_bench(memory_path, profile=small_profile(apps=apps())) as fake:
        fake.bench.stage.as_swap(1024)
        with synthetic_apps(fake.bench) as workload:
            switches = workload.play([0, 1] * 40, 0).switches
            assert ([one.app for one in switches], workload.alive()) == ([0, 1] * 40, 2)
            assert set(fake.phone.android.running) == {"zwb.app01", "zwb.app02"}
        assert fake.phone.android.running == {}
        assert [len(keys["sequence"].split(",")) for keys in fake.told("apps-switch")] == [64, 16]
