"""Kills as Android's event log and the kernel's log tell of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.android.events import Kill, KilledBy, parse_events, parse_kernel_log, phone_time_s, read_kills
from devices.fake.phone import FakePhone
from tests.android_fakes import opened, sample


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))


def by_pid(kills: list[Kill]) -> dict[int, Kill]:
    return {kill.pid: kill for kill in kills}


def test_kills_by_the_activity_manager_with_and_without_rss() -> None:
    kills = by_pid(parse_events(sample("events")))
    am = KilledBy.activity_manager
    assert kills[1979] == Kill(
        1790448214.411, 1979, am, None, "org.example.maps", 905, "kill background", 79208
    )  # fmt: skip
    assert kills[24696] == Kill(1790448220.017, 24696, am, None, "org.example.news", 945, "empty #17", None)


def test_a_reason_may_hold_commas() -> None:
    kill = by_pid(parse_events(sample("events")))[24710]
    assert (kill.reason, kill.rss_kib) == ("isolated not needed, really", 40960)


def test_kills_by_lmkd_have_the_name_that_the_activity_manager_knew() -> None:
    kill = by_pid(parse_events(sample("events")))[8123]
    assert kill == Kill(
        1790448230.25, 8123, KilledBy.lmkd, 10144, "org.example.game", 950, "low memory and swap", 266188
    )


def test_more_fewer_and_vendors_fields_of_killinfo() -> None:
    kills = by_pid(parse_events(sample("events")))
    assert (kills[8200].process, kills[8200].reason, kills[8200].rss_kib) == (None, "low memory", 120044)
    assert (kills[8300].adj, kills[8300].reason) == (701, "reason 1003")


def test_a_process_that_ended_by_itself_and_a_torn_line_are_no_kills() -> None:
    assert set(by_pid(parse_events(sample("events")))) == {1979, 24696, 24700, 24710, 8123, 8200, 8300}


def test_a_pid_that_is_used_again_keeps_its_own_name() -> None:
    died = "1790449230.391  1409  3011 I am_proc_died: [0,8200,org.example.later,950,19]\n"
    assert by_pid(parse_events(sample("events") + died))[8200].process is None


def test_kernel_lines_of_lmkd_of_old_kernels_and_of_the_oom_killer() -> None:
    kills = by_pid(parse_kernel_log(sample("dmesg"), now_s=1790448418.146))
    lmkd = kills[8123]
    assert lmkd.t_epoch_s == pytest.approx(1790448230.25)
    assert (lmkd.by, lmkd.uid, lmkd.process, lmkd.adj) == (KilledBy.lmkd, 10144, "org.example.game", 950)
    assert (lmkd.reason, lmkd.rss_kib) == ("min watermark is breached even after kill", 266188)
    assert (kills[7001].by, kills[7001].process, kills[7001].adj) == (KilledBy.kernel, "org.example.old", 906)
    oom = kills[7100]
    assert (oom.reason, oom.uid, oom.adj, oom.rss_kib) == ("out of memory", 10150, 900, 412200)
    assert kills[7200].reason == "memory cgroup out of memory"
    assert set(kills) == {8123, 7001, 7100, 7200}


def test_both_logs_are_put_together(tmp_path: Path) -> None:
    phone = FakePhone()
    phone.android.events = sample("events")
    phone.android.dmesg = sample("dmesg").splitlines()[:-1]
    phone.android.clock_s = 1790448418
    with opened(phone, tmp_path) as device:
        before = phone.wire.trips
        log = read_kills(device)
        assert phone.wire.trips - before == 1
    assert log.events
    assert log.count == len({kill.pid for kill in log.kills}) == 10
    assert [kill.t_epoch_s for kill in log.kills] == sorted(kill.t_epoch_s for kill in log.kills)
    twin = next(kill for kill in log.kills if kill.pid == 8123)
    assert twin.reason == "low memory and swap"


def test_only_kills_since_a_moment(tmp_path: Path) -> None:
    phone = FakePhone()
    phone.android.events = sample("events")
    phone.android.clock_s = 1790448240
    with opened(phone, tmp_path) as device:
        log = read_kills(device, since_s=phone_time_s(device))
    assert [kill.pid for kill in log.kills] == [8200, 8300]


def test_without_an_event_log_the_count_is_unknown_and_not_zero(tmp_path: Path) -> None:
    phone = FakePhone()
    phone.android.dmesg = sample("dmesg").splitlines()[:-1]
    with opened(phone, tmp_path) as device:
        log = read_kills(device)
    assert (log.events, log.count, len(log.kills)) == (False, None, 4)


def test_with_an_event_log_and_no_kill_the_count_is_zero(tmp_path: Path) -> None:
    phone = FakePhone()
    phone.android.events = sample("events").splitlines()[1] + "\n"
    with opened(phone, tmp_path) as device:
        assert read_kills(device).count == 0
