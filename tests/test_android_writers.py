"""The phone's own zram writers: found, quiet for a run, and running again afterwards."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from base.deadline import Deadline
from base.errors import LabError
from devices.android.writers import Silenced, find_writers, stop_writers
from devices.fake.phone import FakePhone
from tests.android_fakes import heal, opened, phone_that_lives

FIRST, PERIODIC = "mm.zram.maintenance.first_delay_seconds", "mm.zram.maintenance.periodic_delay_seconds"


@pytest.fixture(autouse=True)
def state(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))


def phone_with_writers() -> FakePhone:
    phone = phone_that_lives()
    phone.android.services = {"mmd": "running", "vendor.zram-daemon": "running", "surfaceflinger": "running"}
    phone.android.properties[FIRST] = "3600"
    return phone


def test_what_runs_is_stopped_and_put_back(tmp_path: Path) -> None:
    phone = phone_with_writers()
    with opened(phone, tmp_path) as device, device.changes() as changes:
        assert stop_writers(changes) == Silenced(("mmd", "vendor.zram-daemon"), ())
        assert phone.android.services == {
            "mmd": "stopped", "vendor.zram-daemon": "stopped", "surfaceflinger": "running"
        }  # fmt: skip
        assert {phone.android.properties[name] for name in (FIRST, PERIODIC)} == {"2147483647"}
    assert phone.state() == phone_with_writers().state()


def test_mmd_that_did_not_run_is_not_started(tmp_path: Path) -> None:
    phone = phone_with_writers()
    phone.android.services = {"mmd": "stopped"}
    with opened(phone, tmp_path) as device, device.changes() as changes:
        assert stop_writers(changes) == Silenced((), ())
        assert not device.journal.entries
    assert phone.android.services == {"mmd": "stopped"}
    assert not any(line.startswith(("start ", "setprop ")) for line in phone.log)


def test_a_daemon_that_does_not_stop_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.android.writers._STOP_S", 0.05)
    phone = phone_with_writers()
    phone.android.stubborn = {"mmd"}
    with opened(phone, tmp_path) as device, device.changes() as changes:
        assert stop_writers(changes) == Silenced(("vendor.zram-daemon",), ("mmd",))


def test_a_job_and_a_process_without_a_service_are_told_and_left(tmp_path: Path) -> None:
    phone = phone_that_lives()
    phone.android.jobs = {812}
    phone.android.running = {"extm": 512, "com.zramlab.browser": 4001, "[hybridswapd]": 90}
    with opened(phone, tmp_path) as device:
        found = find_writers(phone, deadline=Deadline.after(5))
        assert found.unstoppable == ("extm", "hybridswapd", "job android/812 (writes idle pages back)")
        with device.changes() as changes:
            assert stop_writers(changes) == Silenced((), found.unstoppable)
    assert "extm" in phone.android.running


@pytest.mark.parametrize(
    "name",
    [
        "[hybridswapd:0]", "[hybridswapd:12]", "vendor.xiaomi.hardware.swap@1.0-service", "[nandswapd]", "[zram_wbd]",
        "[zswapd0]", "hyperholdd", "extm", "vendor.oplus.nandswap-service", "[zram_lru_wbd]",
    ],
)  # fmt: skip
def test_vendors_writers_are_known(tmp_path: Path, name: str) -> None:
    phone = phone_that_lives()
    phone.android.running = {name: 512}
    assert find_writers(phone, deadline=Deadline.after(5)).daemons == (name.strip("[]"),)


@pytest.mark.parametrize(
    "name",
    [
        "[zswap-shrink]",
        "[kswapd0]",
        "[kswapd0:0]",
        "[kcompactd0]",
        "com.example.swap",
        "memtrackd",
        "lmkd",
        "swapper",
        "mmdumpd",
    ],
)
def test_what_only_sounds_alike_is_none(tmp_path: Path, name: str) -> None:
    phone = phone_that_lives()
    phone.android.running = {name: 512}
    assert find_writers(phone, deadline=Deadline.after(5)).daemons == ()


def test_a_process_that_went_with_a_service_of_another_name_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = phone_that_lives()
    phone.android.services = {"vendor.swap-hal-1-0": "running"}
    phone.android.running = {"vendor.xiaomi.hardware.swap@1.0-service": 512, "[hybridswapd:0]": 90}
    stop = phone.android._stop

    def stops(argv: tuple[str, ...]) -> str:
        phone.android.running.pop("vendor.xiaomi.hardware.swap@1.0-service")
        return stop(argv)

    phone.android._stop = stops  # type: ignore[method-assign]
    with opened(phone, tmp_path) as device, device.changes() as changes:
        assert stop_writers(changes) == Silenced(("vendor.swap-hal-1-0",), ("hybridswapd:0",))


def test_a_phone_without_any_is_not_touched(tmp_path: Path) -> None:
    phone = phone_that_lives()
    with opened(phone, tmp_path) as device, device.changes() as changes:
        before = phone.wire.trips
        assert stop_writers(changes) == Silenced((), ())
        assert phone.wire.trips - before == 1


def test_after_a_reboot_nothing_is_put_back_because_init_did(tmp_path: Path) -> None:
    phone = phone_with_writers()
    with suppress(LabError), opened(phone, tmp_path) as device, device.changes() as changes:
        stop_writers(changes)
        phone.commands_left = 0
    phone.commands_left = None
    phone.reboot()
    before = len(phone.log)
    heal(phone, tmp_path)
    assert phone.android.services["mmd"] == "running"
    assert not any(line.startswith(("start ", "setprop ")) for line in phone.log[before:])


@pytest.mark.parametrize("lose_answer", [False, True], ids=["cut", "answer_lost"])
def test_a_cable_pulled_at_any_command_is_healed(tmp_path: Path, lose_answer: bool) -> None:
    def run(phone: FakePhone) -> None:
        with opened(phone, tmp_path) as device, device.changes() as changes:
            stop_writers(changes)

    whole = phone_with_writers()
    run(whole)
    for commands_left in range(len(whole.log)):
        phone = phone_with_writers()
        phone.commands_left, phone.lose_answer = commands_left, lose_answer
        with suppress(LabError):
            run(phone)
        heal(phone, tmp_path)
        assert phone.state() == phone_with_writers().state(), f"cut before command {commands_left}"
