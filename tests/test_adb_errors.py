"""Every way in which adb fails, against a server on loopback that fails so; through the real transport."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from adbutils import adb_path

from base.deadline import Deadline
from base.errors import CommandFailed, DeviceLost, DeviceTimeout, EnvironmentRefused
from devices.adb import AdbTransport
from devices.connect import ADB_SERVER_VERSION, attached, connect, server_version
from devices.phone import open_phone, resolve_target
from devices.transport import Read
from tests.fake_adb_server import AdbServer, Reply, Shell, packet, uid_shell, whole_answer

SERIAL = "0A1B2C"
START = Callable[[AdbServer], AdbServer]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[START]:
    """Starts a server and makes it the one that is used."""
    with ExitStack() as stack:

        def begin(server: AdbServer) -> AdbServer:
            stack.enter_context(server)
            monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
            return server

        yield begin


def read(seconds: float = 10) -> None:
    AdbTransport(SERIAL).execute([Read("/x")], deadline=Deadline.after(seconds))


def sends(make: Callable[[str], bytes], then: Reply) -> Shell:
    return lambda script: (make(script), then)


def test_a_phone_that_is_root_is_connected(serve: START) -> None:
    serve(AdbServer({SERIAL: "device"}, uid_shell(0)))
    with closing(connect(SERIAL)) as transport:
        assert (transport.serial, str(transport.root)) == (SERIAL, "adbd")
        assert transport.execute([Read("/x")], deadline=Deadline.after(5))[0].stdout == "0"


def test_attached_phones_are_listed_with_their_states(serve: START) -> None:
    serve(AdbServer({SERIAL: "device", "B": "offline"}))
    assert attached() == {SERIAL: "device", "B": "offline"}


def test_a_server_is_started_where_none_listens(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    try:
        assert server_version() == ADB_SERVER_VERSION
        assert capfd.readouterr() == ("", "")
    finally:
        subprocess.run([adb_path(), "-P", str(port), "kill-server"], capture_output=True, check=True, timeout=20)


def test_a_serial_that_is_not_attached_is_refused_with_those_that_are(serve: START) -> None:
    serve(AdbServer({"A": "device", "B": "unauthorized"}))
    with pytest.raises(EnvironmentRefused, match=rf"no phone {SERIAL} on adb; attached: A \(device\), B \(unauth"):
        connect(SERIAL)


def test_that_nothing_is_attached_is_said(serve: START) -> None:
    serve(AdbServer())
    with pytest.raises(EnvironmentRefused, match="attached: none"):
        connect(SERIAL)


@pytest.mark.parametrize(
    ("state", "advice"),
    [("offline", "plug it in again"), ("unauthorized", "allow USB debugging"), ("recovery", "reboot the phone"),
     ("host", "lab doctor")],
)  # fmt: skip
def test_a_phone_in_another_state_is_refused_and_never_spoken_to(serve: START, state: str, advice: str) -> None:
    server = serve(AdbServer({SERIAL: state}))
    with pytest.raises(EnvironmentRefused, match=f"{SERIAL} is {state}") as refused:
        connect(SERIAL)
    assert advice in refused.value.hint
    assert set(server.services) == {"host:version", "host:devices"}


@pytest.mark.parametrize("version", [40, 42])
def test_a_server_of_another_version_is_refused_and_left_running(serve: START, version: int) -> None:
    server = serve(AdbServer({SERIAL: "device"}, uid_shell(0), version=version))
    with pytest.raises(EnvironmentRefused, match=f"has version {version}, 41 is needed") as refused:
        connect(SERIAL)
    assert "ANDROID_ADB_SERVER_PORT" in refused.value.hint
    assert server.services == ["host:version"]


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"OKAY", b"OKAYzzzzzzzz", b"", Reply.close], ids=str
)
def test_another_program_on_the_port_is_no_adb_server(serve: START, greeting: bytes | Reply) -> None:
    serve(AdbServer(greeting=greeting))
    with pytest.raises(EnvironmentRefused, match="does not answer as an adb server"):
        connect(SERIAL)


def test_a_program_on_the_port_that_never_answers_is_not_waited_for_forever(
    serve: START, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.adb_server.SERVER_ANSWERS_S", 0.5)
    serve(AdbServer(greeting=Reply.hang))
    with pytest.raises(EnvironmentRefused, match="does not answer as an adb server"):
        connect(SERIAL)


def test_a_phone_without_root_is_refused_with_what_each_way_answered(serve: START) -> None:
    server = serve(AdbServer({SERIAL: "device"}, uid_shell(2000)))
    with pytest.raises(EnvironmentRefused, match=f"{SERIAL}: no root") as refused:
        connect(SERIAL)
    assert "adbd: 2000" in str(refused.value)
    assert "su-c: /system/bin/sh: su: inaccessible or not found" in str(refused.value)
    assert "root the phone" in refused.value.hint
    assert not any(service.startswith("host:kill") for service in server.services)


def test_a_root_style_that_was_named_is_the_only_one_tried(serve: START) -> None:
    server = serve(AdbServer({SERIAL: "device"}, uid_shell(2000)))
    with pytest.raises(EnvironmentRefused, match="no root"):
        connect(SERIAL, root="su-c")
    shells = [service for service in server.services if service.startswith("shell,")]
    assert [service.startswith("shell,v2,raw:su -c ") for service in shells] == [True]


def test_adbd_is_not_restarted_for_who_only_looks(serve: START) -> None:
    server = serve(AdbServer({SERIAL: "device"}, uid_shell(2000)))
    server.root_says = "restarting adbd as root"
    with pytest.raises(EnvironmentRefused, match="adb root: not tried"):
        connect(SERIAL, may_restart=False)
    assert "root:" not in server.services


def test_with_several_phones_and_none_named_by_the_profile_they_are_listed(serve: START) -> None:
    serve(AdbServer({"A": "device", "B": "device"}, uid_shell(0)))
    with pytest.raises(EnvironmentRefused, match="names no serial; attached: A, B") as refused:  # noqa: SIM117
        with open_phone(resolve_target("generic"), run_id="x", say=print):
            pass
    assert "ANDROID_SERIAL" in refused.value.hint


def whole(script: str) -> bytes:
    out, err = whole_answer(script, "text")
    return packet(1, out) + packet(2, err) + packet(3, b"\0")


def test_a_connection_that_ends_anywhere_before_the_exit_status_is_a_lost_phone(serve: START) -> None:
    server = serve(AdbServer({SERIAL: "device"}))
    script = "T=LAB0123456789abcdef;"
    for size in range(0, len(whole(script)), 5):
        server.shell = sends(lambda script, size=size: whole(script)[:size], Reply.close)  # type: ignore[misc]
        with pytest.raises(DeviceLost, match=f"{SERIAL}: cat /x: connection lost") as lost:
            read()
        assert type(lost.value) is DeviceLost
        assert "lab restore" in lost.value.hint


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_phone_that_falls_silent_is_given_up_at_the_deadline(serve: START, share: float) -> None:
    serve(AdbServer({SERIAL: "device"}, sends(lambda s: whole(s)[: int(len(whole(s)) * share)], Reply.hang)))
    began = time.monotonic()
    with pytest.raises(DeviceTimeout, match=r"no answer within 0\.3 s"):
        read(0.3)
    assert time.monotonic() - began < 1.0


def test_a_phone_that_vanished_between_two_commands_is_lost(serve: START) -> None:
    server = serve(AdbServer({SERIAL: "device"}, sends(whole, Reply.close)))
    read()
    server.states = {}
    with pytest.raises(DeviceLost, match="connection lost"):
        read()


def test_a_shell_that_ends_without_carrying_anything_out_says_so(serve: START) -> None:
    denied = packet(2, b"/system/bin/sh: Permission denied\n") + packet(3, b"\x7e")
    serve(AdbServer({SERIAL: "device"}, sends(lambda script: denied, Reply.close)))
    with pytest.raises(CommandFailed, match=r"exit status 126: .*Permission denied"):
        read()


def test_answers_in_many_small_packets_are_put_together(serve: START) -> None:
    def crumbled(script: str) -> bytes:
        out, err = whole_answer(script, "text")
        crumbs = [packet(1, out[n : n + 1]) for n in range(len(out))] + [
            packet(2, err[n : n + 3]) for n in range(0, len(err), 3)
        ]
        return b"".join(crumbs) + packet(3, b"\0")

    serve(AdbServer({SERIAL: "device"}, sends(crumbled, Reply.close)))
    (result,) = AdbTransport(SERIAL).execute([Read("/x")], deadline=Deadline.after(5))
    assert (result.stdout, result.stderr, result.ok) == ("text", "", True)
