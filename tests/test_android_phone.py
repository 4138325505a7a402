"""Apps, writers, screen, kills and health on a virtual phone, whose Android answers in Android's formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from base.deadline import Deadline
from base.errors import EXIT_REFUSED
from devices.adb import AdbTransport
from devices.android.apps import (
    CrashedAtStart,
    KeyguardInTheWay,
    LaunchState,
    NotInstalled,
    NotLaunchable,
    app_launcher,
    find_apps,
    launchable_apps,
)
from devices.android.events import KilledBy, phone_time_s, read_kills
from devices.android.screen import Keyguard, ready_screen
from devices.android.writers import Silenced, stop_writers
from devices.device import Device, open_device
from devices.health import read_health
from devices.transport import Exec
from devices.virtual.phone import RunningPhone
from tests.conftest import lab

pytestmark = pytest.mark.phone


@pytest.fixture
def device(transport: AdbTransport) -> Iterator[Device]:
    with open_device(transport) as device:
        yield device


def on_phone(transport: AdbTransport, *argv: str) -> str:
    return transport.execute([Exec(argv)], deadline=Deadline.after(30))[0].check().text


def test_its_health_is_read_as_a_phones(device: Device) -> None:
    health = read_health(device)
    assert (health.battery_percent, health.battery_temp_c, health.skin_temp_c) == (100, 25.0, 30.0)
    assert (health.thermal_status, health.disk_written_bytes is not None) == (0, True)


def test_a_run_on_an_empty_battery_is_refused(transport: AdbTransport, phone: RunningPhone, tmp_path: Path) -> None:
    profile = tmp_path / "charged.yaml"
    profile.write_text(
        f"name: charged\nextends: virtual\nconnection: {{adb: {{serial: '{phone.serial}'}}}}\nlimits: {{battery: 30}}\n"
    )
    on_phone(transport, "dumpsys", "battery", "set", "level", "5")
    try:
        done = lab("run", "--device", str(profile), "--results", str(tmp_path / "results"), timeout=120)
    finally:
        on_phone(transport, "dumpsys", "battery", "reset")
    assert done.returncode == EXIT_REFUSED, done.stdout + done.stderr
    assert "battery at 5 %, limits.battery is 30 %" in done.stdout + done.stderr


def test_its_mmd_is_quiet_for_a_run_and_then_runs_again(transport: AdbTransport, device: Device) -> None:
    on_phone(transport, "start", "mmd")
    try:
        with device.changes() as changes:
            assert stop_writers(changes) == Silenced(("mmd",), ())
            assert on_phone(transport, "getprop", "init.svc.mmd") == "stopped"
        assert on_phone(transport, "getprop", "init.svc.mmd") == "running"
    finally:
        on_phone(transport, "stop", "mmd")


def test_apps_are_started_switched_and_gone_afterwards(device: Device) -> None:
    began_s = phone_time_s(device)
    (music, notes), _ = find_apps(device, ["com.zramlab.music", "com.zramlab.notes"])
    with device.changes() as changes, app_launcher(device) as launcher:
        assert ready_screen(changes) is Keyguard.gone
        cold = launcher.start(music)
        launcher.home()
        launcher.start(notes)
        hot = launcher.start(music)
        assert launcher.pids([music.package])[music.package][0] == hot.pid
    assert (cold.state, cold.pid_changed) == (LaunchState.cold, True)
    assert cold.total_ms is not None
    assert (hot.pid, hot.pid_changed) == (cold.pid, False)
    assert launcher.pids([music.package, notes.package]) == {music.package: (), notes.package: ()}
    killed = [kill for kill in read_kills(device, since_s=began_s).kills if kill.pid == cold.pid]
    assert [(kill.by, kill.process) for kill in killed] == [(KilledBy.activity_manager, music.package)]
    assert killed[0].reason.startswith(f"stop {music.package}")


def test_apps_that_cannot_be_used_are_named(device: Device) -> None:
    names = ["com.zramlab.none", "com.zramlab.keyboard", "com.zramlab.broken"]
    (broken,), problems = find_apps(device, names)
    assert [type(problem) for problem in problems] == [NotInstalled, NotLaunchable]
    with app_launcher(device) as launcher, pytest.raises(CrashedAtStart, match=broken.package):
        launcher.start(broken)
    installed = {app.package for app in launchable_apps(device, 60)}
    assert "com.zramlab.keyboard" not in installed
    assert "com.zramlab.music" in installed


def test_a_keyguard_with_a_secret_is_named(transport: AdbTransport, device: Device) -> None:
    (music,), _ = find_apps(device, ["com.zramlab.music"])
    on_phone(transport, "setprop", "debug.lab.keyguard", "2")
    try:
        with device.changes() as changes, app_launcher(device) as launcher:
            assert ready_screen(changes) is Keyguard.showing
            with pytest.raises(KeyguardInTheWay):
                launcher.start(music)
    finally:
        on_phone(transport, "setprop", "debug.lab.keyguard", "0")


def test_a_kill_that_only_the_kernels_log_tells_of_is_read_at_once(device: Device) -> None:
    began_s = phone_time_s(device)
    line = (
        "Out of memory: Killed process 4242 (zwb.app01) total-vm:70288kB, anon-rss:460kB, file-rss:188kB, "
        "shmem-rss:0kB, UID:0 pgtables:172kB oom_score_adj:960"
    )
    device.write("/dev/kmsg", f"{line}\n")
    (kill,) = [kill for kill in read_kills(device, since_s=began_s - 1).kills if kill.pid == 4242]
    assert (kill.by, kill.process, kill.adj, kill.rss_kib) == (KilledBy.kernel, "zwb.app01", 960, 460)
