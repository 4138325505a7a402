"""Switching between real apps on a fake phone: what is timed, who died of what, and which apps are left out and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from base.deadline import Deadline
from base.errors import EnvironmentRefused
from devices.backing import BackingDevice
from devices.fake.android import FakeApp
from devices.fake.phone import FakePhone
from devices.probe.session import ProbeSession
from devices.profiles.reading import load
from devices.transport import CommandResult, Op
from devices.zram import Zram
from tests.android_fakes import opened, phone_that_lives
from tests.bench_sample import bench_on
from workloads.app_model import SwitchKind
from workloads.app_packages import PackageApps, package_apps
from workloads.stage import Stage

CHAT, MAPS = "org.example.chat", "org.example.maps"
STAT = "/sys/class/block/loop3/stat"
SECOND = 1_000_000_000


class FakeServe:
    """The probe's side: a clock that goes on by a second per look, and what it was told."""

    def __init__(self, phone: FakePhone) -> None:
        self._phone, self.now_s, self.told = phone, 100, list[str]()

    def request(self, line: str, *, deadline: Deadline) -> str:
        if line != "hello":
            self.told.append(line)
            return json.dumps({"ok": True, "took_ns": 1})
        self.now_s += 1
        epoch_s = self._phone.android.clock_s + self.now_s - 100
        hello: dict[str, object] = {
            "protocol": 1, "arch": "aarch64", "page_size": 4096, "pid": 9, "uid": 0, "locked": 1, "oom_score_adj": 0
        }  # fmt: skip
        clocks = {"monotonic_ns": self.now_s * SECOND, "realtime_ns": epoch_s * SECOND}
        return json.dumps({"ok": True, **hello, **clocks, "took_ns": 1})

    def close(self) -> None:
        pass


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    phone = phone_that_lives()
    phone.android.apps = {CHAT: FakeApp(), MAPS: FakeApp()}
    phone.android.events = "1789999999.000  1000  1500 I am_proc_start: [0,1,2,x]\n"
    phone.files[STAT] = "0 0 800 0 0 0 0 0 0 0 0\n"
    return phone


@contextmanager
def packages_of(phone: FakePhone, folder: Path, packages: str) -> Iterator[tuple[PackageApps, FakeServe]]:
    path = folder / "phone.yaml"
    path.write_text(f"name: fake\nconnection: {{adb: {{}}}}\napps: {{kind: packages, packages: {packages}}}\n")
    serve = FakeServe(phone)
    with opened(phone, folder) as device:
        backing = BackingDevice("/dev/block/loop3", "loop", "/data/x", 1 << 30, True, 4096)
        stage = Stage(device, load(str(path)), Zram(device, 0), backing, None)
        bench = replace(bench_on(stage, folder)[0], session=ProbeSession(phone, serve))
        with package_apps(bench) as packages_:
            yield packages_, serve


def test_a_start_is_cold_and_a_return_hot_by_ams_own_time(phone: FakePhone, tmp_path: Path) -> None:
    with packages_of(phone, tmp_path, f"[{CHAT}, {MAPS}]") as (packages, serve):
        played = packages.play([0, 1, 0], 0)
        assert [(one.app, one.kind, one.latency_ns) for one in played.switches] == [
            (0, SwitchKind.cold, 812_000_000), (1, SwitchKind.cold, 812_000_000), (0, SwitchKind.hot, 95_000_000)
        ]  # fmt: skip
        assert (packages.alive(), played.deaths, packages.problems()) == (2, [], [])
        pids = [phone.android.running[name] for name in (CHAT, MAPS, CHAT)]
        assert serve.told == [line for pid in pids for line in (f"daemon-front pid={pid}", "daemon-pause")]


def test_faults_and_reads_of_a_switch_are_what_it_added(phone: FakePhone, tmp_path: Path) -> None:
    """The counters stand at other values behind the start than before it."""
    process = "{pid} (e x) (a) S 1 1 0 0 -1 0 5 0 {faults} 0 3 1 0 0\n"
    with packages_of(phone, tmp_path, f"[{CHAT}]") as (packages, _):
        packages.play([0], 0)
        pid = phone.android.running[CHAT]
        books = iter([(77, 800), (177, 1600)])
        read = phone.execute

        def counting(ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
            if f"/proc/{pid}/stat" in map(str, (getattr(op, "path", "") for op in ops)):
                faults, sectors = next(books)
                phone.files[f"/proc/{pid}/stat"] = process.format(pid=pid, faults=faults)
                phone.files[STAT] = f"0 0 {sectors} 0 0 0 0 0 0 0 0\n"
            return read(ops, deadline=deadline, keep_going=keep_going)

        phone.execute = counting  # type: ignore[method-assign]
        (switch,) = packages.play([0], 0).switches
        assert (switch.kind, switch.majflt, switch.flash_4k) == (SwitchKind.hot, 100, 100)


def test_a_kill_is_told_with_its_reason_and_its_time(phone: FakePhone, tmp_path: Path) -> None:
    with packages_of(phone, tmp_path, f"[{CHAT}, {MAPS}]") as (packages, _):
        packages.play([0, 1], 0)
        pid = phone.android.running.pop(CHAT)
        at_s = phone.android.clock_s + 30
        phone.android.events += f"{at_s}.500   480   480 I killinfo: [{pid},10123,900,900,51200,8,1,2,3]\n"
        (death,) = packages.play([1], 0).deaths
        assert (death.app, death.pid, death.killed, death.reason) == (0, pid, True, "lmkd: low memory")
        assert death.t_ns == pytest.approx(130.5 * SECOND, abs=SECOND)
        again = packages.play([0], 0)
        assert ([one.kind for one in again.switches], again.deaths) == ([SwitchKind.cold], [])


def test_an_end_that_no_log_explains_is_a_crash_if_there_is_a_log(phone: FakePhone, tmp_path: Path) -> None:
    with packages_of(phone, tmp_path, f"[{CHAT}]") as (packages, _):
        packages.play([0], 0)
        del phone.android.running[CHAT]
        (death,) = packages.play([], 0).deaths
        assert (death.killed, packages.alive()) == (False, 0)
        packages.play([0], 0)
        del phone.android.running[CHAT]
        phone.android.events = ""
        (death,) = packages.play([], 0).deaths
        assert death.killed


@pytest.mark.parametrize("mood", ["crash", "refused", "silent", "hang", "timeout", "permission"])
def test_an_app_that_cannot_be_used_is_named_and_the_others_go_on(phone: FakePhone, tmp_path: Path, mood: str) -> None:
    phone.android.apps["org.example.bad"] = FakeApp(mood=mood)
    with packages_of(phone, tmp_path, f"[{CHAT}, org.example.bad, {MAPS}]") as (packages, _):
        played = packages.play([0, 1, 2, 1], 0)
        kinds = [one.kind for one in played.switches]
        assert kinds == [SwitchKind.cold, SwitchKind.missed, SwitchKind.cold, SwitchKind.missed]
        (problem,) = packages.problems()
        assert problem.startswith("org.example.bad: ")
        assert "org.example.bad" not in phone.android.running
        assert sum("am start" in line and "org.example.bad/" in line for line in phone.log) == 1


def test_apps_that_are_not_there_are_named_before_any_is_started(phone: FakePhone, tmp_path: Path) -> None:
    phone.android.apps["org.example.keys"] = FakeApp(activity="")
    with packages_of(phone, tmp_path, f"[org.example.gone, {CHAT}, org.example.keys]") as (packages, _):
        assert packages.names == [CHAT]
        assert sorted(packages.problems()) == [
            "org.example.gone: not installed", "org.example.keys: has no launchable activity"
        ]  # fmt: skip


def test_a_time_that_am_did_not_take_is_replaced_and_counted(phone: FakePhone, tmp_path: Path) -> None:
    phone.android.apps[CHAT] = FakeApp(mood="to_front")
    with packages_of(phone, tmp_path, f"[{CHAT}]") as (packages, _):
        played = packages.play([0, 0], 0)
        assert [one.latency_ns for one in played.switches] == [812_000_000, 830_000_000]
        assert packages.facts()["timed_by_wait"] == 1
        assert "brought to the front" in packages.facts()["warnings"][0]


def test_auto_takes_what_can_be_launched(phone: FakePhone, tmp_path: Path) -> None:
    phone.android.apps["org.example.keys"] = FakeApp(activity="")
    with packages_of(phone, tmp_path, "auto") as (packages, _):
        assert packages.names == [CHAT, MAPS]


@pytest.mark.parametrize("packages", ["auto", "[org.example.gone]"])
def test_without_any_app_nothing_is_begun(phone: FakePhone, tmp_path: Path, packages: str) -> None:
    phone.android.apps = {}
    before = phone.state()
    with pytest.raises(EnvironmentRefused, match="no app to switch to"), packages_of(phone, tmp_path, packages):
        pass
    assert phone.state() == before


def test_behind_a_keyguard_nothing_is_begun(phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.android.screen._DISMISS_S", 0.0)
    phone.android.keyguard = "pin"
    before = phone.state()
    with pytest.raises(EnvironmentRefused, match="keyguard"), packages_of(phone, tmp_path, "auto"):
        pass
    assert phone.state() == before


def test_apps_and_screen_are_put_back(phone: FakePhone, tmp_path: Path) -> None:
    phone.android.wakefulness = "Asleep"
    before = phone.state()
    with packages_of(phone, tmp_path, "auto") as (packages, _):
        packages.play([0, 1], 0)
        assert phone.state() != before
    assert phone.state() == before
