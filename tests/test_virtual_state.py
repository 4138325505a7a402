"""What is kept of a virtual phone on the host: disks, port, the process that runs it; and its commands' bad input."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from base.errors import EnvironmentRefused, ProfileError
from base.units import MIB
from commands.__main__ import main as lab_main
from devices.virtual.phone import find, running
from devices.virtual.state import UNITS, PhoneState, QemuRecord, phone_state, process_start


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))


@pytest.fixture
def state() -> PhoneState:
    return phone_state("p")


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", "x" * 41])
def test_names_that_are_not_folder_names_are_refused(name: str) -> None:
    with pytest.raises(ProfileError, match="cannot be a virtual phone's name"):
        phone_state(name)


def test_new_disks_want_formatting_until_a_boot_is_through(state: PhoneState) -> None:
    assert state.disks(64 * MIB, page_bytes=4096, fresh=False) is True
    assert state.disks(64 * MIB, page_bytes=4096, fresh=False) is True
    state.mark_formatted(4096)
    assert state.disks(64 * MIB, page_bytes=4096, fresh=False) is False
    assert (state.folder / UNITS[0]).stat().st_size == 64 * MIB


def test_disks_take_no_room_until_they_are_written(state: PhoneState) -> None:
    state.disks(1 << 30, page_bytes=4096, fresh=False)
    assert sum((state.folder / unit).stat().st_blocks for unit in UNITS) < 100


def test_fresh_means_empty_disks_that_want_formatting(state: PhoneState) -> None:
    state.disks(64 * MIB, page_bytes=4096, fresh=False)
    state.mark_formatted(4096)
    (state.folder / UNITS[0]).write_bytes(b"x")
    assert state.disks(64 * MIB, page_bytes=4096, fresh=True) is True
    assert (state.folder / UNITS[0]).read_bytes()[:1] == b"\0"


def test_a_disk_of_another_size_is_not_thrown_away(state: PhoneState) -> None:
    state.disks(64 * MIB, page_bytes=4096, fresh=False)
    with pytest.raises(EnvironmentRefused, match="64 MiB, asked for are 32 MiB") as caught:
        state.disks(32 * MIB, page_bytes=4096, fresh=False)
    assert "--fresh" in caught.value.hint


def test_a_disk_that_was_formatted_for_other_pages_is_named_and_kept(state: PhoneState) -> None:
    state.disks(64 * MIB, page_bytes=4096, fresh=False)
    state.mark_formatted(4096)
    with pytest.raises(EnvironmentRefused, match=r"for pages of 4096 bytes.*asked for are 16384") as caught:
        state.disks(64 * MIB, page_bytes=16384, fresh=False)
    assert "--fresh" in caught.value.hint
    assert state.disks(64 * MIB, page_bytes=16384, fresh=True) is True


def test_a_full_disk_of_the_host_is_refused(state: PhoneState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100 * MIB))
    with pytest.raises(EnvironmentRefused, match="100 MiB are free") as caught:
        state.disks(64 * MIB, page_bytes=4096, fresh=False)
    assert "ZRAM_LAB_STATE" in caught.value.hint


def test_the_port_is_kept_while_it_is_free(state: PhoneState) -> None:
    port = state.choose_port()
    assert state.choose_port() == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        other = state.choose_port()
    assert other != port
    assert state.choose_port() == other


def run_of(pid: int, pid_start: int) -> QemuRecord:
    return QemuRecord(pid, pid_start, 40001, "arm64", 4096, "7.3", "7.3.4", "tcg", 2 << 30, 2, True)


def test_a_phone_runs_while_its_very_process_lives(state: PhoneState) -> None:
    mine = process_start(os.getpid())
    assert mine is not None
    state.record(run_of(os.getpid(), mine))
    assert [(phone.name, phone.serial) for phone in running()] == [("p", "127.0.0.1:40001")]
    assert find("p") is not None
    assert find("q") is None
    state.record(run_of(os.getpid(), mine + 1))
    assert running() == []


def test_a_damaged_record_is_no_running_phone(state: PhoneState) -> None:
    (state.folder / "meta.json").write_text("{")
    assert running() == []


def test_one_process_at_a_time_starts_or_stops_a_phone(state: PhoneState) -> None:
    with state.locked(), pytest.raises(EnvironmentRefused, match="starting or stopping"):  # noqa: SIM117
        with phone_state("p").locked(wait_s=0.1):
            pass


def main(argv: list[str]) -> int:
    return lab_main(["phone", *argv])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["start", "--memory", "2GB"], "--memory: "),
        (["start", "--memory", "1MiB"], "at least 512MiB"),
        (["start", "--ufs", "1000000001"], "whole MiB"),
        (["start", "--cpus", "0"], "--cpus: 0"),
        (["start", "--name", "../x"], "cannot be a virtual phone's name"),
    ],
)
def test_bad_options_are_usage_errors(argv: list[str], says: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 4
    out, err = capfd.readouterr()
    assert out == ""
    assert says in err


def test_listing_none(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert capfd.readouterr().out == "no phones\n"
    assert main(["list", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == []


def test_a_shell_needs_a_running_phone(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["shell", "--name", "p"]) == 11
    assert "./lab phone start --name p" in capfd.readouterr().err


def test_stopping_what_does_not_run_is_fine(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["stop"]) == 0
    assert main(["stop", "--all"]) == 0
    assert capfd.readouterr().out == ""
