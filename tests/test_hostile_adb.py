"""Adb servers and phones that say what none says, or never stop: one clear error, in bounded time and memory."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from base.deadline import Deadline
from base.errors import CommandFailed, DeviceLost, DeviceTimeout, EnvironmentRefused, LabError, UnreadableAnswer
from devices.adb import AdbTransport
from devices.adb_server import ServerAddress
from devices.connect import attached, server_version
from devices.transport import CommandResult, Exec
from tests.fake_adb_server import next_service, packet, raw_server, token_of

SERIAL = "0A1B2C"
ID = Exec(("id", "-u"))
OVER_S = 2.0
"""what a loaded host may add to a deadline"""


def ask(port: int, seconds: float = 3) -> list[CommandResult]:
    transport = AdbTransport(SERIAL, client=ServerAddress("127.0.0.1", port))
    return transport.execute([ID], deadline=Deadline.after(seconds))


def phone_that_sends(pieces: Callable[[str], Iterable[bytes]]) -> Callable[[socket.socket], None]:
    """The server's part is right; what comes back for a command is ``pieces`` of its script."""

    def serve(connection: socket.socket) -> None:
        while service := next_service(connection):
            connection.sendall(b"OKAY")
            if service.startswith("shell,v2"):
                connection.recv(5)
                for piece in pieces(service):
                    connection.sendall(piece)
                return

    return serve


def server_that_says(data: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        next_service(connection)
        connection.sendall(data)

    return serve


def drip(data: bytes, every_s: float) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        next_service(connection)
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(every_s)  # sleep: a slow server

    return serve


@pytest.mark.parametrize(
    "data",
    [b"", b"O", b"OKAY", b"FAIL", b"FAIL00", b"FAIL0010abc", b"FAILzzzz", b"FAIL-001", b"FAIL 0x1", b"XXXX",
     b"\xff\xff\xff\xff", b"OKAY" * 4],
)  # fmt: skip
def test_a_server_that_breaks_off_or_talks_nonsense_is_a_lost_phone(data: bytes) -> None:
    with raw_server(server_that_says(data)) as port, pytest.raises(DeviceLost, match=f"{SERIAL}: id -u: connection"):
        ask(port)


def test_the_servers_own_words_are_passed_on_clean() -> None:
    words = b"\x1b[2Jdevice offline\xff\xfe"
    said = server_that_says(b"FAIL" + f"{len(words):04x}".encode() + words)
    with raw_server(said) as port, pytest.raises(DeviceLost, match="device offline") as lost:
        ask(port)
    assert "\x1b" not in str(lost.value)


@pytest.mark.parametrize(
    "serve", [drip(b"FAIL0040" + b"x" * 64, 0.1), drip(b"OKAY", 0.5), drip(b"FAILffff" + b"x" * 65535, 0.05)]
)
def test_a_server_that_sends_a_byte_now_and_then_does_not_stretch_the_deadline(
    serve: Callable[[socket.socket], None],
) -> None:
    began = time.monotonic()
    with raw_server(serve) as port, pytest.raises(DeviceTimeout, match=r"no answer within 0\.8 s"):
        ask(port, 0.8)
    assert time.monotonic() - began < 0.8 + OVER_S


@pytest.mark.parametrize("question", [attached, server_version], ids=lambda question: question.__name__)
def test_questions_to_a_slow_server_end_at_their_deadline(
    question: Callable[[ServerAddress], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.adb_server.SERVER_ANSWERS_S", 0.8)
    began = time.monotonic()
    with (
        raw_server(drip(b"OKAYffff" + b"0" * 65535, 0.1)) as port,
        pytest.raises(EnvironmentRefused, match=r"nothing came within 0\.8 s"),
    ):
        question(ServerAddress("127.0.0.1", port))
    assert time.monotonic() - began < 0.8 + OVER_S


@pytest.mark.parametrize(
    "answer", [b"0004zzzz", b"0004", b"0004\xff\xff\xff\xff", b"zzzz", b"-001", b"0002 4", b"0000"]
)
def test_a_version_that_is_none_is_refused(answer: bytes) -> None:
    with raw_server(server_that_says(b"OKAY" + answer)) as port, pytest.raises(EnvironmentRefused):
        server_version(ServerAddress("127.0.0.1", port))


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("", {}),
        ("hello\n", {}),
        ("a\tb\tc\td\n", {"a": "b\tc\td"}),
        (
            "A\tno permissions (x y); see [http://z]\nB\tdevice\n",
            {"A": "no permissions (x y); see [http://z]", "B": "device"},
        ),
        ("(no serial number)\tdevice\n", {"(no serial number)": "device"}),
        ("192.0.2.1:5555\toffline\n", {"192.0.2.1:5555": "offline"}),
    ],
)
def test_a_listing_is_taken_apart_at_its_tabs(text: str, phones: dict[str, str]) -> None:
    with raw_server(server_that_says(b"OKAY" + f"{len(text):04x}{text}".encode())) as port:
        assert attached(ServerAddress("127.0.0.1", port)) == phones


def wrong_packets() -> dict[str, Callable[[str], Iterable[bytes]]]:
    return {
        "exit without payload": lambda script: [packet(3, b"")],
        "exit of two bytes": lambda script: [packet(3, b"\0\0")],
        "unknown packets": lambda script: [packet(9, b"zz"), packet(255, b"")],
        "header cut": lambda script: [b"\x01\xff\xff"],
        "nothing": lambda script: [],
    }


@pytest.mark.parametrize("pieces", wrong_packets().values(), ids=wrong_packets())
def test_packets_that_no_phone_sends_are_a_lost_phone(pieces: Callable[[str], Iterable[bytes]]) -> None:
    with raw_server(phone_that_sends(pieces)) as port, pytest.raises(DeviceLost, match=f"{SERIAL}: id -u: connection"):
        ask(port)


def endless(number: int) -> Callable[[str], Iterator[bytes]]:
    def pieces(script: str) -> Iterator[bytes]:
        while True:
            yield packet(number, b"A" * 65536)

    return pieces


def giant(script: str) -> Iterator[bytes]:
    yield b"\x01\xff\xff\xff\xff"
    while True:
        yield b"A" * 65536


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


@pytest.mark.parametrize("pieces", [endless(1), endless(2), endless(9), giant], ids=["out", "err", "unknown", "giant"])
def test_output_that_never_ends_is_given_up_at_a_limit_and_told_so(
    pieces: Callable[[str], Iterable[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.adb._KEPT_BYTES", 4 << 20)
    before = peak_mib()
    with raw_server(phone_that_sends(pieces)) as port, pytest.raises(CommandFailed, match="more than 4MiB"):
        ask(port, 30)
    assert peak_mib() - before < 64


def slow(script: str) -> Iterator[bytes]:
    for byte in packet(1, b"a" * 1000):
        time.sleep(0.1)  # sleep: a slow phone
        yield bytes([byte])


def test_a_phone_that_sends_a_byte_now_and_then_does_not_stretch_the_deadline() -> None:
    began = time.monotonic()
    with raw_server(phone_that_sends(slow)) as port, pytest.raises(DeviceTimeout):
        ask(port, 0.8)
    assert time.monotonic() - began < 0.8 + OVER_S


def answered(status: str = "0", clock: str = "1.0 1.001", out: str = "0") -> Callable[[str], Iterable[bytes]]:
    def pieces(script: str) -> Iterable[bytes]:
        token = token_of(script)
        text, words = f"{out}\n{token} 0 {status}\n", f"\n{token} 0\n{token} end {clock}\n"
        return [packet(1, text.encode(errors="surrogateescape")), packet(2, words.encode()), packet(3, b"\0")]

    return pieces


@pytest.mark.parametrize(
    "clock",
    ["1.2.3 4", ". .", ",,, 1", "1 1e5", "٣.٣ 4.0", "9" * 5000 + " 1", "-1 5", "inf inf", "nan 1", "5 1", "1 99999",
     "1 2 x y", "1 2 3 99999", "1700000000.5 1699996400.1"],
)  # fmt: skip
def test_a_clock_that_is_none_or_jumps_counts_as_unknown_time(clock: str) -> None:
    with raw_server(phone_that_sends(answered(clock=clock))) as port:
        transport = AdbTransport(SERIAL, client=ServerAddress("127.0.0.1", port))
        (result,) = transport.execute([ID], deadline=Deadline.after(5))
    assert result.stdout == "0"
    wire = transport.wire
    assert wire.on_phone_s == 0
    assert wire.total_s > 0
    assert transport.clock_missing or wire.doubted == 1


def test_a_clock_that_jumps_in_a_trip_is_told_by_the_phones_uptime() -> None:
    clock = "1700000000.5 1699996400.1 1234.50 1234.50"
    with raw_server(phone_that_sends(answered(clock=clock))) as port:
        transport = AdbTransport(SERIAL, client=ServerAddress("127.0.0.1", port))
        transport.execute([ID], deadline=Deadline.after(5))
    assert (transport.wire.on_phone_s, transport.wire.doubted, transport.clock_missing) == (0, 0, False)


def test_more_time_at_the_phone_than_the_host_waited_is_a_doubt_that_says_how_much() -> None:
    with raw_server(phone_that_sends(answered(clock="100.0 186.0"))) as port:
        transport = AdbTransport(SERIAL, client=ServerAddress("127.0.0.1", port))
        for _ in range(2):
            transport.execute([ID], deadline=Deadline.after(5))
    assert transport.wire.doubted == 2
    assert transport.wire.doubt.startswith("86.000 s by the phone's clock in a trip that took 0.0")


@pytest.mark.parametrize("status", ["9" * 5000, "٣", "256", "-1", "²", "x"])
def test_an_exit_status_that_is_none_is_one_error(status: str) -> None:
    with raw_server(phone_that_sends(answered(status=status))) as port, pytest.raises(UnreadableAnswer, match="id -u"):
        ask(port)


def test_what_is_no_text_is_passed_on_and_not_believed() -> None:
    out = "\udcff\udcfe\0\x1b]0;pwned\x07"
    with raw_server(phone_that_sends(answered(out=out))) as port:
        (result,) = ask(port)
    assert result.stdout.endswith("\x1b]0;pwned\x07")


def request(port: int, seconds: float = 1) -> list[str]:
    transport = AdbTransport(SERIAL, client=ServerAddress("127.0.0.1", port))
    process = transport.start(("probe", "serve"), deadline=Deadline.after(5))
    try:
        return [process.request("hello", deadline=Deadline.after(seconds)) for _ in range(2)]
    finally:
        process.close()


def test_lines_of_a_program_come_whole_however_they_are_packed() -> None:
    def pieces(script: str) -> Iterator[bytes]:
        yield from (packet(1, b"he"), packet(1, b"llo\nsec"), packet(1, b"ond\nrest"))
        time.sleep(1)  # sleep: it runs on

    with raw_server(phone_that_sends(pieces)) as port:
        assert request(port) == ["hello", "second"]


@pytest.mark.parametrize(
    ("pieces", "error"),
    [(endless(1), CommandFailed), (giant, CommandFailed), (endless(2), DeviceTimeout),
     (lambda script: [packet(3, b"")], DeviceLost), (lambda script: [packet(3, b"\x07")], DeviceLost)],
)  # fmt: skip
def test_a_program_that_floods_or_ends_wrongly_is_one_error(
    pieces: Callable[[str], Iterable[bytes]], error: type[LabError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.adb._KEPT_BYTES", 4 << 20)
    began, before = time.monotonic(), peak_mib()
    with raw_server(phone_that_sends(pieces)) as port, pytest.raises(error):
        request(port)
    assert time.monotonic() - began < 2 + OVER_S
    assert peak_mib() - before < 64


def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one() -> None:
    def pieces(script: str) -> Iterator[bytes]:
        time.sleep(0.4)  # sleep: longer than the first request waits
        yield packet(1, b"to the first\n")
        time.sleep(5)  # sleep: until the test is over

    with raw_server(phone_that_sends(pieces)) as port:
        transport = AdbTransport(SERIAL, client=ServerAddress("127.0.0.1", port))
        process = transport.start(("probe", "serve"), deadline=Deadline.after(5))
        with pytest.raises(DeviceTimeout):
            process.request("first", deadline=Deadline.after(0.1))
        with pytest.raises(DeviceTimeout):
            process.request("second", deadline=Deadline.after(2))


def test_an_interrupt_stays_one_when_the_way_out_asks_once_more() -> None:
    """Seen: Ctrl-C in a writeback whose cleanup spoke to the probe was told as a lost phone."""

    def pieces(script: str) -> Iterator[bytes]:
        time.sleep(0.3)  # sleep: somebody presses Ctrl-C now
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)  # sleep: until the test is over
        yield b""

    with raw_server(phone_that_sends(pieces)) as port:
        transport = AdbTransport(SERIAL, client=ServerAddress("127.0.0.1", port))
        process = transport.start(("probe", "serve"), deadline=Deadline.after(5))
        with pytest.raises(KeyboardInterrupt):
            try:
                process.request("write-timed", deadline=Deadline.after(10))
            finally:
                process.request("sample-stop", deadline=Deadline.after(10))
