"""What is said where no adb server or no usable phone is: what it is, and what leads on."""

from __future__ import annotations

import gc
import json
import socket
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from base.errors import EnvironmentRefused
from commands.doctor import main as doctor
from devices.adb_server import adb_server
from devices.connect import connect
from devices.phone import open_phone, resolve_target
from tests.fake_adb_server import AdbServer, Reply, packet, uid_shell
from tests.test_hostile_adb import answered

SERIAL = "0A1B2C"


@pytest.mark.parametrize("port", ["abc", "99999", "0", "-1", "²", "1e3", "5037x", "9" * 5000])
def test_a_port_that_is_none_is_named(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", port)
    with pytest.raises(EnvironmentRefused, match=r"ANDROID_ADB_SERVER_PORT=.* is no port") as refused:
        adb_server()
    assert refused.value.exit_status == 11


@pytest.mark.parametrize("host", ["no.such.host.invalid", "::1", "a..b", "a" * 300, "\x1b[2J"])
def test_a_host_where_nothing_listens_is_named_and_leaks_nothing(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("ANDROID_ADB_SERVER_HOST", host)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with pytest.raises(EnvironmentRefused, match="does not answer as an adb server") as refused:
            connect(SERIAL)
        del refused
        gc.collect()


def test_the_server_that_a_profile_names_is_asked_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AdbServer({"OTHER": "device"}) as theirs, AdbServer({SERIAL: "offline"}) as ours:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(theirs.port))
        adb = f'{{serial: "{SERIAL}", server: "127.0.0.1:{ours.port}"}}'
        (tmp_path / "mine.yaml").write_text(f"name: mine\nextends: generic\nconnection: {{adb: {adb}}}\n")
        target = resolve_target(str(tmp_path / "mine.yaml"))
        opened = open_phone(target, run_id="r", say=lambda text: None)
        with pytest.raises(EnvironmentRefused, match=f"phone {SERIAL} is offline"), opened:
            pytest.fail("an offline phone was opened")
    assert theirs.services == []


def test_that_no_adb_program_is_there_to_start_a_server_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/no/such/adb")
    with pytest.raises(EnvironmentRefused, match=r"none can be started: .*/no/such/adb"):
        adb_server()


@pytest.mark.parametrize("name", ["PORT=abc", "PORT=99999", "HOST=no.such.host.invalid", "HOST=::1"])
def test_doctor_has_a_row_for_a_server_that_cannot_be(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    which, value = name.split("=")
    if which == "HOST":
        with socket.create_server(("127.0.0.1", 0)) as free:
            monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv(f"ANDROID_ADB_SERVER_{which}", value)
    assert doctor(["--json"]) == 11
    (row,) = [row for row in json.loads(capsys.readouterr().out)["host"] if row["check"] == "adb server"]
    assert row["verdict"] == "missing"
    assert value in row["detail"]


UDEV = "no permissions (missing udev rules? user is in the plugdev group); see [http://developer.android.com/tools/device.html]"


@pytest.mark.parametrize(
    ("state", "advice"),
    [(UDEV, "plugdev"), ("no permissions; see [http://x]", "plugdev"), ("authorizing", "may debug"),
     ("connecting", "wait a moment"), ("rescue", "into Android"), ("sideload", "into Android"),
     ("bootloader", "into Android"), ("detached", "adb attach"), ("host", "no phone"), ("offline", "plug it in"),
     ("unknown", "adb devices -l"), ("unauthorized", "allow USB debugging")],
)  # fmt: skip
def test_each_state_of_a_phone_has_an_advice_that_leads_on(
    state: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with AdbServer() as server:
        server.listing = f"{SERIAL}\t{state}\nOTHER\toffline\n"
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        doctor(["--json"])
        phones = {row["serial"]: row["detail"] for row in json.loads(capsys.readouterr().out)["phones"]}
    assert set(phones) == {SERIAL, "OTHER"}
    assert state in phones[SERIAL]
    assert advice in phones[SERIAL]
    assert "`./lab doctor` says more" not in phones[SERIAL]


def test_a_phone_without_a_serial_number_cannot_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with AdbServer({"(no serial number)": "device"}, uid_shell(0)) as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        with pytest.raises(EnvironmentRefused, match="without a serial number"):
            connect("(no serial number)")


@pytest.mark.parametrize(
    ("said", "advice"),
    [("ADB Root access is disabled by system setting - enable in Settings -> System -> Developer options\n",
      "Rooted debugging"),
     ("adbd cannot run as root in production builds\n", "root the phone"), ("", "root the phone")],
)  # fmt: skip
def test_what_adb_root_answered_is_passed_on(said: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with AdbServer({SERIAL: "device"}, uid_shell(2000)) as server:
        server.root_says = said
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        with pytest.raises(EnvironmentRefused, match="no root") as refused:
            connect(SERIAL)
    assert (said.strip() or "no answer") in str(refused.value)
    assert advice in refused.value.hint


def bad_phones() -> dict[str, Callable[[str], tuple[bytes, Reply]]]:
    def whole(pieces: Callable[[str], Iterable[bytes]]) -> Callable[[str], tuple[bytes, Reply]]:
        return lambda script: (b"".join(pieces(script)), Reply.close)

    return {
        "clock": whole(answered(clock="1.2.3 4")),
        "exit": lambda script: (packet(3, b""), Reply.close),
        "escapes": whole(answered(out="7\x1b]0;owned\x07\x1b[2J\x1b[H")),
        "status": whole(answered(status="9" * 5000)),
    }


@pytest.mark.parametrize("shell", bad_phones().values(), ids=bad_phones())
def test_a_phone_that_talks_nonsense_has_a_verdict_beside_the_others(
    shell: Callable[[str], tuple[bytes, Reply]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with AdbServer({"BAD": "device", "GOOD\x1b[31m": "device"}, shell) as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        assert doctor([]) == 11
    said = capsys.readouterr()
    assert "BAD" in said.out
    assert "\x1b" not in said.out + said.err
