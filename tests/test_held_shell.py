"""A shell that stays open: real shells of this host behind the real protocol, and each way to lose one."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from base.deadline import Deadline
from base.errors import CommandFailed, DeviceLost, DeviceTimeout
from devices.adb import AdbTransport
from devices.adb_server import ServerAddress
from devices.transport import CommandResult, Exec, Read
from tests.fake_adb_server import next_service, packet, raw_server

SERIAL = "0A1B2C"


@dataclass
class Phone:
    """``shells`` are the shells that were opened, ``connections`` theirs."""

    shells: list[subprocess.Popen[bytes]] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)
    port: int = 0

    def serve(self, connection: socket.socket) -> None:
        while service := next_service(connection):
            connection.sendall(b"OKAY")
            if service.startswith("shell,v2"):
                self._shell(connection, service.partition("raw:")[2])
                return

    def _shell(self, connection: socket.socket, command: str) -> None:
        pipe = subprocess.PIPE
        with subprocess.Popen(["sh", "-c", command], stdin=pipe, stdout=pipe, stderr=pipe) as shell:
            self.shells.append(shell)
            self.connections.append(connection)
            self._join(shell, connection)

    def _join(self, shell: subprocess.Popen[bytes], connection: socket.socket) -> None:
        readers = [
            threading.Thread(target=self._forward, args=(stream, number, connection))
            for number, stream in ((1, shell.stdout), (2, shell.stderr))
        ]
        for reader in readers:
            reader.start()
        feeder = threading.Thread(target=self._feed, args=(connection, shell))
        feeder.start()
        status = shell.wait()
        for reader in readers:
            reader.join()
        with contextlib.suppress(OSError):
            connection.sendall(packet(3, bytes([status & 0xFF])))
            connection.shutdown(socket.SHUT_RD)
        feeder.join()

    def _forward(self, stream: object, number: int, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := stream.read1(4096):  # type: ignore[attr-defined]
                connection.sendall(packet(number, data))

    def _feed(self, connection: socket.socket, shell: subprocess.Popen[bytes]) -> None:
        assert shell.stdin
        with contextlib.suppress(OSError), shell.stdin as stdin:
            while header := connection.recv(5, socket.MSG_WAITALL):
                data = connection.recv(int.from_bytes(header[1:], "little"), socket.MSG_WAITALL)
                if header[0] == 0:
                    stdin.write(data)
                    stdin.flush()

    def cut(self) -> None:
        """The connection of the last shell is gone; the phone is still there."""
        self.connections[-1].shutdown(socket.SHUT_RDWR)


@pytest.fixture
def phone() -> Iterator[Phone]:
    phone = Phone()
    with raw_server(phone.serve) as phone.port:
        yield phone
    for shell in phone.shells:
        shell.wait(10)


@pytest.fixture
def transport(phone: Phone) -> Iterator[AdbTransport]:
    transport = AdbTransport(SERIAL, client=ServerAddress("127.0.0.1", phone.port))
    transport.hold_shell()
    with contextlib.closing(transport):
        yield transport


def ask(transport: AdbTransport, *argv: str, seconds: float = 20) -> CommandResult:
    return transport.execute([Exec(argv)], deadline=Deadline.after(seconds))[0]


def test_all_round_trips_go_through_one_shell(phone: Phone, transport: AdbTransport) -> None:
    said = [ask(transport, "echo", str(number)).text for number in range(5)]
    assert (said, len(phone.shells)) == (list("01234"), 1)
    missing, failed, good = transport.execute(
        [Read("/nowhere/at/all"), Exec(("sh", "-c", "echo bad >&2; exit 3")), Exec(("echo", "good"))],
        deadline=Deadline.after(20), keep_going=True,
    )  # fmt: skip
    assert (missing.missing, failed.status, failed.stderr, good.text) == (True, 3, "bad\n", "good")
    assert len(phone.shells) == 1


def test_what_a_program_leaves_on_stdin_is_not_the_next_script(transport: AdbTransport) -> None:
    assert ask(transport, "cat").text == ""
    assert ask(transport, "echo", "next").text == "next"


def test_long_output_comes_whole(transport: AdbTransport) -> None:
    assert len(ask(transport, "seq", "100000").text.splitlines()) == 100_000


def test_the_shell_ends_when_the_transport_is_closed(phone: Phone, transport: AdbTransport) -> None:
    ask(transport, "true")
    transport.close()
    assert phone.shells[0].wait(10) == 0


def test_a_script_that_the_phone_killed_is_told_and_the_next_one_runs(phone: Phone, transport: AdbTransport) -> None:
    with pytest.raises(CommandFailed, match="sh -c"):
        ask(transport, "sh", "-c", "kill -9 $PPID")
    assert ask(transport, "echo", "next").text == "next"


def test_a_shell_that_the_phone_killed_costs_no_answer_that_came_whole(phone: Phone, transport: AdbTransport) -> None:
    ask(transport, "true")
    assert ask(transport, "kill", "-9", str(phone.shells[0].pid)).ok
    assert ask(transport, "echo", "next").text == "next"
    assert len(phone.shells) == 2


def test_a_connection_that_was_cut_while_nothing_ran_is_no_loss(phone: Phone, transport: AdbTransport) -> None:
    ask(transport, "true")
    phone.cut()
    assert ask(transport, "echo", "next").text == "next"
    assert len(phone.shells) == 2


def test_a_connection_that_is_cut_within_a_script_is_a_lost_phone(phone: Phone, transport: AdbTransport) -> None:
    ask(transport, "true")
    threading.Timer(0.3, phone.cut).start()
    with pytest.raises(DeviceLost, match="connection lost") as lost:
        ask(transport, "sleep", "2")
    assert type(lost.value) is DeviceLost
    assert ask(transport, "echo", "next").text == "next"


def test_a_script_that_does_not_end_is_given_up_and_its_answer_is_nobodys(transport: AdbTransport) -> None:
    began = time.monotonic()
    with pytest.raises(DeviceTimeout):
        ask(transport, "sh", "-c", "sleep 1; echo late", seconds=0.4)
    assert time.monotonic() - began < 3
    assert ask(transport, "echo", "next").text == "next"


def test_a_file_is_fetched_whatever_bytes_it_is_and_taken_off_in_the_same_trip(
    phone: Phone, transport: AdbTransport, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 2000 + b"\r\n\n\0"
    there, here = tmp_path / "it's there", tmp_path / "here"
    there.write_bytes(content)
    transport.pull(str(there), here, deadline=Deadline.after(20))
    assert (here.read_bytes(), there.exists()) == (content, True)
    transport.pull(str(there), here, deadline=Deadline.after(20), remove=True)
    assert (here.read_bytes(), there.exists(), len(phone.shells)) == (content, False, 1)
    with pytest.raises(CommandFailed, match="No such file"):
        transport.pull(str(there), here, deadline=Deadline.after(20))
    assert ask(transport, "echo", "next").text == "next"
