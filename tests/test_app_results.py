"""From played switches to a record: what counts, what only warmed up, and that every figure can be traced back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import EnvironmentRefused
from devices.backing import BackingDevice
from devices.capability import Capability
from devices.counters import BdStat
from devices.health import Health
from devices.profiles.profile import Profile, Trigger
from devices.profiles.reading import load
from devices.zram import Zram
from records.model import Caveat, RunResult
from tests.android_fakes import opened, phone_that_lives
from tests.bench_sample import Kept, bench_on
from tests.replies_sample import daemon_stopped, sampler_stopped
from workloads.app_model import Death, Played, Switch, SwitchCondition, SwitchKind
from workloads.app_results import app_switch_result
from workloads.app_watch import SAMPLE, WRITEBACK, Watch
from workloads.apps import AppRun, conditions
from workloads.bench import Bench
from workloads.stage import Stage
from workloads.synthetic_apps import check_room

MS = 1_000_000
T0 = 5000 * MS
HOT, WARM, COLD, MISSED = SwitchKind


@dataclass
class TwoApps:
    kind: str = "synthetic"
    names: Sequence[str] = ("a", "b")

    def play(self, apps: Sequence[int], dwell_s: float) -> Played:
        raise AssertionError("these results were played already")

    def alive(self) -> int:
        return 1

    def facts(self) -> Mapping[str, Any]:
        return {"pages": "mixed"}

    def problems(self) -> Sequence[str]:
        return []


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    with opened(phone_that_lives(), tmp_path) as device:
        device.capabilities |= {Capability("writeback_batch_size")}
        backing = BackingDevice("/dev/block/loop3", "loop", "/data/x", 1 << 30, True, 4096)
        yield Stage(device, load("virtual"), Zram(device, 0), backing, None)


def at(app: int, ms: int, latency_ms: int, kind: SwitchKind, **other: int) -> Switch:
    return Switch(app, T0 + ms * MS, latency_ms * MS, kind, **other)


def played() -> AppRun:
    """b is killed at 450 ms, its return is missed at first, and it is started again at 600 ms."""
    samples = np.zeros(5, SAMPLE)
    samples["t_ns"] = T0 + np.array([0, 150, 350, 500, 700]) * MS
    samples["available_kib"] = [4096, 3072, 2048, 3072, 4096]
    samples["zram_used_kib"] = [0, 1024, 3072, 2048, 0]
    writebacks = np.zeros(1, WRITEBACK)
    writebacks["t_ns"], writebacks["pages_4k"] = T0 + 333 * MS, 256
    death = Death(1, T0 + 450 * MS, 4711, True, "signal 9")
    return AppRun(
        SwitchCondition(Trigger.idle, 32), 7, TwoApps(), [(0, 1), (1, 0)],
        Watch(T0, samples, writebacks, sampler_stopped(), daemon_stopped(), "by age"),
        starts=Played([at(0, 10, 50, COLD), at(1, 100, 60, COLD)], []),
        warmup=Played([at(0, 200, 9, WARM), at(1, 250, 8, WARM)], []),
        problems=[],
        rounds=[
            Played([
                at(0, 300, 4, HOT, control_ns=2 * MS),
                at(1, 400, 6, WARM, majflt=5, flash_4k=30, slowest_ns=77, control_ns=MS),
            ], []),
            Played([
                at(1, 500, 0, MISSED), at(1, 600, 40, COLD, control_ns=MS), at(0, 690, 2, HOT, control_ns=MS)
            ], [death]),
        ],
        alive=2, health=[Health(), Health()], reasons={4711: "lmkd: low memory"},
    )  # fmt: skip


@pytest.fixture
def bench(stage: Stage, tmp_path: Path) -> Bench:
    return bench_on(stage, tmp_path)[0]


@pytest.fixture
def left(stage: Stage, tmp_path: Path) -> tuple[RunResult, Kept]:
    bench, kept = bench_on(stage, tmp_path)
    return app_switch_result(bench, played()), kept


@pytest.fixture
def result(left: tuple[RunResult, Kept]) -> RunResult:
    return left[0]


@pytest.fixture
def saved(left: tuple[RunResult, Kept]) -> Kept:
    return left[1]


def test_only_the_rounds_that_count_are_in_the_figures(result: RunResult) -> None:
    assert result.metrics["switch.latency"].values == [4, 6, 40, 2]
    assert result.warmups["switch.latency"].values == [9, 8]
    assert result.facts["start_ms"] == [50, 60]


def test_one_value_of_each_kind(result: RunResult) -> None:
    of_switches = ("switch.latency", "switch.control")
    values = {name: metric.values for name, metric in result.metrics.items() if name not in of_switches}
    assert values == {
        "switch.killed": [1], "apps.alive": [2], "app_switch.written": [2.0], "zram.mem_used": [3.0],
        "zram.mem_used_mean": [5 / 3], "memory.available": [2.0], "memory.available_mean": [3.0], "refault": [7],
        "app_switch.write_amplification": [2.0],
    }  # fmt: skip


def test_the_phones_own_speed_is_told_where_apps_time_themselves(bench: Bench, result: RunResult) -> None:
    assert result.metrics["switch.control"].values == [2, 1, 1, 1]
    without = played()
    for switches in ([at(0, 300, 4, HOT)], [at(0, 300, 0, MISSED)]):
        without.rounds = [Played(switches, [])]
        assert "switch.control" not in app_switch_result(bench, without).metrics


def test_samples_of_one_kind_have_one_length(result: RunResult, saved: Kept) -> None:
    lengths: dict[str, set[int]] = {}
    for name, path in result.raw.items():
        array = saved.raw[path.removeprefix("raw/").removesuffix(".npy")]
        lengths.setdefault(name.partition(".")[0], set()).add(len(array))
    assert lengths == {"switch": {4}, "sample": {5}, "kill": {1}, "writeback": {1}}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("switch.t_ms", [300, 400, 600, 690]),
        ("switch.latency_ns", [4 * MS, 6 * MS, 40 * MS, 2 * MS]),
        ("switch.app", [0, 1, 1, 0]),
        ("switch.kind", [0, 1, 2, 0]),
        ("switch.flash_pages", [0, 30, 0, 0]),
        ("switch.majflt", [0, 5, 0, 0]),
        ("switch.kills", [0, 0, 1, 0]),
        ("sample.t_ms", [0, 150, 350, 500, 700]),
        ("sample.alive", [0, 1, 2, 1, 2]),
        ("kill.t_ms", [450]),
        ("kill.app", [1]),
        ("writeback.t_ms", [333]),
        ("writeback.pages_4k", [256]),
    ],
)
def test_samples(result: RunResult, saved: Kept, name: str, values: list[int]) -> None:
    assert saved.raw[result.raw[name].removeprefix("raw/").removesuffix(".npy")].tolist() == values


def test_who_died_of_what_and_which_switch_was_missed(result: RunResult) -> None:
    assert result.facts["victims"] == [{"app": "b", "t_ms": 450, "reason": "lmkd: low memory"}]
    assert (result.facts["missed"], result.caveats) == ([1], [])
    assert result.params == {"kind": "synthetic", "pattern": "zipf", "writeback": "idle", "batch_size": 32, "apps": 2}


def test_the_writebacks_are_told_by_the_probes_names(result: RunResult) -> None:
    """In the numbers of the probe's answer, also where our type is another one."""
    assert json.dumps(result.facts["daemon"]) == json.dumps(
        {"rounds": 1, "recorded": 1, "written_4k": 256, "limited": 0, "failed": 0, "spent": 0, "marks": "by age"}
    )


def test_reads_are_checked_against_zrams_own_count(result: RunResult) -> None:
    assert result.checks == {"pages read from flash (bd_stat)": {"expected": 30, "seen": 30}}


def test_doubts_are_told(bench: Bench) -> None:
    run = played()
    run.problems = ["c: not installed"]
    run.watch.sampled = replace(run.watch.totals, bd_after=BdStat(5, 40, 400))
    run.health = [Health(skin_temp_c=30), Health(skin_temp_c=61)]
    doubts = app_switch_result(bench, run).caveats
    assert set(doubts) == {Caveat.apps_crashed, Caveat.other_writer, Caveat.too_hot}


def with_apps(stage: Stage, **changes: object) -> Stage:
    profile: Profile = stage.profile
    return replace(stage, profile=profile.model_copy(update={"apps": profile.apps.model_copy(update=changes)}))


def test_conditions_are_the_baseline_once_and_each_trigger_with_each_batch_size(stage: Stage) -> None:
    stage = with_apps(stage, writeback=(Trigger.off, Trigger.idle, Trigger.periodic), batch_sizes=(1, 32))
    assert [str(condition) for condition in conditions(stage)] == [
        "off", "idle-1", "idle-32", "periodic-1", "periodic-32"
    ]  # fmt: skip
    stage.device.capabilities = frozenset()
    assert [str(condition) for condition in conditions(stage)] == ["off", "idle", "periodic"]


def test_more_memory_than_the_phone_has_is_refused_with_the_keys_to_change(stage: Stage) -> None:
    ram = stage.device.identity.ram_bytes
    check_room(with_apps(stage, count=2, anonymous=ram // 4), stage.profile.apps)
    stage = with_apps(stage, count=60, anonymous=ram)
    with pytest.raises(EnvironmentRefused, match=f"{60 * ram >> 20} MiB") as caught:
        check_room(stage, stage.profile.apps)
    assert all(key in caught.value.hint for key in ("apps.count", "apps.anonymous", "zram.disksize"))


class BehindWhatever(TwoApps):
    """Apps of a phone that does not say whether its keyguard is in front of them."""

    def facts(self) -> Mapping[str, Any]:
        return {"keyguard": "unknown"}


def test_a_keyguard_that_nobody_knows_of_is_a_doubt_on_the_figures(bench: Bench) -> None:
    run = played()
    run.workload = BehindWhatever()
    assert app_switch_result(bench, run).caveats == [Caveat.keyguard_unknown]


def test_what_the_kernel_does_not_count_is_unknown_and_not_zero(bench: Bench) -> None:
    run = played()
    run.watch.sampled = replace(run.watch.totals, refault=None, refault_anon=None, refault_file=None)
    result = app_switch_result(bench, run)
    assert "refault" not in result.metrics
    assert result.facts["refault_anon"] is None
