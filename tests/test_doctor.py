"""``./lab doctor``: one verdict per phone, what to do about it, and nothing changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.doctor import main as doctor
from commands.restore import main as restore
from devices.device import MARKER
from devices.transport import Read
from devices.virtual.phone import RunningPhone
from tests.conftest import lab
from tests.fake_adb_server import AdbServer, uid_shell


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[AdbServer]:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    with AdbServer({"0A1B": "device", "2C3D": "unauthorized", "4E5F": "offline"}, uid_shell(2000)) as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        yield server


def verdicts(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    answer = json.loads(capsys.readouterr().out)
    return {row.get("serial") or row["check"]: row for row in [*answer["host"], *answer["phones"]]}


def test_each_phone_gets_a_verdict_and_a_bad_one_does_not_hide_the_others(
    server: AdbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(["--json"]) == 11
    found = verdicts(capsys)
    assert [found[serial]["verdict"] for serial in server.states] == ["not ready"] * 3
    assert "no root" in found["0A1B"]["detail"]
    assert "allow USB debugging" in found["2C3D"]["detail"]
    assert "plug it in again" in found["4E5F"]["detail"]
    assert found["adb server"]["verdict"] == "ok"


def test_a_phone_that_was_named_and_is_not_there_has_a_verdict_too(
    server: AdbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(["--json", "--device", "NOSUCH"]) == 11
    found = verdicts(capsys)
    assert "no phone NOSUCH on adb" in found["NOSUCH"]["detail"]
    assert "0A1B" not in found


def test_a_server_of_another_version_is_told_and_left_alone(
    server: AdbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.version = 40
    assert doctor(["--json"]) == 11
    found = verdicts(capsys)
    assert (found["adb server"]["verdict"], "version 40" in found["adb server"]["detail"]) == ("missing", True)
    assert set(server.services) == {"host:version"}


def test_another_program_on_the_port_is_told_beside_the_other_checks(
    server: AdbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.greeting = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    assert doctor(["--json"]) == 11
    found = verdicts(capsys)
    assert "does not answer as an adb server" in found["adb server"]["detail"]
    assert "nothing left to restore" in found


def test_a_journal_that_was_left_is_told(server: AdbServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "state/journals"
    folder.mkdir(parents=True)
    undo = {"what": "x", "steps": [], "expect": [], "survives_reboot": False}
    (folder / "0A1B.jsonl").write_text(json.dumps({"number": 0, "boot_id": "b", "undo": undo}) + "\n")
    doctor(["--json"])
    assert verdicts(capsys)["nothing left to restore"] == {
        "check": "nothing left to restore", "verdict": "missing", "detail": "./lab restore: 0A1B"
    }  # fmt: skip
    assert restore([]) == 11
    assert "0A1B: not attached" in capsys.readouterr().err


def test_with_nothing_to_restore_no_phone_is_spoken_to(server: AdbServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore([]) == 0
    assert capsys.readouterr().out == "nothing to restore: no journal of an unfinished run\n"
    assert not any(service.startswith(("host:transport", "shell")) for service in server.services)


@pytest.mark.phone
def test_a_phone_that_is_fit_is_ready_and_stays_as_it_is(phone: RunningPhone, tmp_path: Path) -> None:
    # A state folder of its own: what a killed run of another test left pending is told too.
    done = lab("doctor", "--device", phone.serial, "--json", timeout=120, env={"ZRAM_LAB_STATE": str(tmp_path)})
    answer = json.loads(done.stdout)
    (verdict,) = answer["phones"]
    assert (verdict["serial"], verdict["verdict"]) == (phone.serial, "ready"), verdict
    assert phone.kernel_release in verdict["detail"]
    assert "root by su-c" in verdict["detail"]
    assert done.returncode == 0, done.stdout


@pytest.mark.phone
def test_the_changes_of_another_host_are_told(phone: RunningPhone) -> None:
    from base.deadline import Deadline
    from devices.adb import AdbTransport, RootStyle
    from devices.transport import Exec, Write

    transport = AdbTransport(phone.serial, root=RootStyle.su_c)
    (boot,) = transport.execute([Read("/proc/sys/kernel/random/boot_id")], deadline=Deadline.after(30))
    transport.execute([Write(MARKER, f"elsewhere {boot.text} run7")], deadline=Deadline.after(30))[0].check()
    try:
        done = lab("doctor", "--device", phone.serial)
        refused = lab("run", "--device", phone.serial)
    finally:
        transport.execute([Exec(("rm", "-f", MARKER))], deadline=Deadline.after(30))
    assert "an earlier run left changes" in done.stdout
    assert refused.returncode == 11
    assert "run run7 on host elsewhere left changes on this phone" in refused.stdout + refused.stderr
