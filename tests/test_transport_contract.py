"""What every transport promises, tried alike on the fake phone and on a virtual one."""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from base.deadline import Deadline, wait_until
from base.errors import CommandFailed, DeviceLost, DeviceTimeout
from devices.adb import AdbTransport, RootStyle
from devices.fake.phone import FakePhone
from devices.probe.build import build
from devices.probe.session import PROBE_FOLDER, PROBE_PATH, Probe
from devices.transport import CommandResult, Exec, Op, Read, Transport, Write
from devices.virtual.phone import RunningPhone
from devices.zram import errno_of

FOLDER = "/data/local/tmp/contract"
HERE, NOWHERE = "/proc/sys/kernel/random/boot_id", "/data/local/tmp/no such file"
DISKSIZE = "/sys/block/zram0/disksize"


@dataclass(frozen=True)
class Subject:
    """A phone with a live zram0 and the two hands at its cable."""

    transport: Transport
    pull_cable: Callable[[], None]
    plug_cable: Callable[[], None]

    def execute(self, *ops: Op, keep_going: bool = False, seconds: float = 30) -> list[CommandResult]:
        return self.transport.execute(ops, deadline=Deadline.after(seconds), keep_going=keep_going)


def fake_subject() -> Subject:
    fake = FakePhone()
    fake.files[DISKSIZE] = "1048576"
    fake.swaps = {"/dev/block/zram0": (1024, 100)}

    def cable(commands_left: int | None) -> None:
        fake.commands_left = commands_left

    return Subject(fake, lambda: cable(0), lambda: cable(None))


@pytest.fixture(params=["fake", pytest.param("virtual", marks=pytest.mark.phone)])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "fake":
        yield fake_subject()
        return
    phone: RunningPhone = request.getfixturevalue("phone")
    transport: AdbTransport = request.getfixturevalue("transport")
    transport.execute([Exec(("mkdir", "-p", FOLDER))], deadline=Deadline.after(30))[0].check()
    yield Subject(transport, phone.unplug_cable, phone.plug_cable)
    transport.execute([Exec(("rm", "-rf", FOLDER))], deadline=Deadline.after(30))[0].check()


def test_a_file_is_read(subject: Subject) -> None:
    (result,) = subject.execute(Read(HERE))
    assert (result.ok, result.status, result.missing, result.stderr) == (True, 0, False, "")
    assert len(result.text) == 36


def test_a_missing_file_is_missing_and_not_just_a_failure(subject: Subject) -> None:
    (result,) = subject.execute(Read(NOWHERE))
    assert (result.ok, result.missing, result.skipped, result.stdout) == (False, True, False, "")
    with pytest.raises(CommandFailed, match="no such file"):
        result.check()


def test_a_write_takes_effect(subject: Subject) -> None:
    path = "/sys/block/zram0/writeback_limit"
    before, written, after, put_back = subject.execute(Read(path), Write(path, "4096"), Read(path), Write(path, "0"))
    assert [before.ok, written.ok, put_back.ok] == [True, True, True]
    assert after.text == "4096"


def test_the_kernels_refusal_comes_back_with_its_reason(subject: Subject) -> None:
    (result,) = subject.execute(Write(DISKSIZE, "4194304"))
    assert (result.ok, result.missing, result.skipped) == (False, False, False)
    assert errno_of(result.stderr) == "EBUSY"
    with pytest.raises(CommandFailed, match="busy"):
        result.check()


def test_what_stands_behind_a_failure_is_not_carried_out(subject: Subject) -> None:
    path = f"{FOLDER}/after"
    results = subject.execute(Read(HERE), Read(NOWHERE), Write(path, "x"), Read(HERE))
    assert [result.ok for result in results] == [True, False, False, False]
    assert [result.skipped for result in results] == [False, False, True, True]
    assert subject.execute(Read(path))[0].missing


def test_with_keep_going_everything_is_tried(subject: Subject) -> None:
    results = subject.execute(Read(NOWHERE), Write(DISKSIZE, "1"), Read(HERE), keep_going=True)
    assert [result.ok for result in results] == [False, False, True]
    assert not any(result.skipped for result in results)


def test_a_program_may_end_with_any_status_that_is_accepted(subject: Subject) -> None:
    absent = ("test", "-e", NOWHERE)
    accepted, behind = subject.execute(Exec(absent, accept=(0, 1)), Read(HERE))
    assert (accepted.status, accepted.ok, behind.ok) == (1, True, True)
    refused, behind = subject.execute(Exec(absent), Read(HERE))
    assert (refused.status, refused.ok, behind.skipped) == (1, False, True)


def test_a_failing_program_says_why_on_stderr(subject: Subject) -> None:
    (result,) = subject.execute(Exec(("cat", NOWHERE)))
    assert (result.ok, result.stdout) == (False, "")
    assert "No such file or directory" in result.stderr


def test_several_operations_take_one_trip(subject: Subject) -> None:
    trips = subject.transport.wire.trips
    results = subject.execute(*(Read(HERE) for _ in range(100)))
    assert len({result.text for result in results}) == 1
    assert subject.transport.wire.trips - trips == 1


def test_no_operations_are_no_trip_for_adb_and_no_results(subject: Subject) -> None:
    assert subject.execute() == []


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "two  words", "'single' \"double\"", "$HOME `id` $(id) ${x}", "back\\slash \\n \\0", "-n", "--",
        "* ? [a]", "line 1\nline 2", "\n\nnewlines around\n\n", "a;b&c|d>e<f#g!h~", "tab\there",
        "ümlaut → 漢字", "x" * 20_000,
    ],
    ids=lambda value: repr(value[:14]),
)  # fmt: skip
def test_a_value_arrives_as_it_is(subject: Subject, value: str) -> None:
    path = f'{FOLDER}/it\'s a "$name"\n*'
    results = subject.execute(Write(path, value), Read(path), Exec(("cat", path)), Exec(("rm", "-f", path)))
    assert [result.ok for result in results] == [True] * 4
    assert [result.stdout for result in results[1:3]] == [value, value]


def test_a_lost_cable_is_an_error_of_its_own_and_can_be_healed(subject: Subject) -> None:
    subject.pull_cable()
    try:
        with pytest.raises(DeviceLost):
            subject.execute(Read(HERE), seconds=5)
    finally:
        subject.plug_cable()
    assert subject.execute(Read(HERE))[0].ok


# What the fake phone has no programs for: the virtual one only.


def shell(transport: AdbTransport, script: str, *, seconds: float = 30) -> CommandResult:
    return transport.execute([Exec(("sh", "-c", script))], deadline=Deadline.after(seconds))[0]


@pytest.mark.phone
def test_both_streams_come_apart_and_whole(transport: AdbTransport) -> None:
    result = shell(transport, "echo out; echo err >&2; echo more; exit 3")
    assert (result.stdout, result.stderr, result.status) == ("out\nmore\n", "err\n", 3)


@pytest.mark.phone
def test_much_output_comes_whole(transport: AdbTransport) -> None:
    lines = 300_000
    result = shell(transport, f"seq 1 {lines}", seconds=60)
    assert result.stdout == "".join(f"{number}\n" for number in range(1, lines + 1))


@pytest.mark.phone
def test_the_deadline_holds_for_the_whole_call(transport: AdbTransport) -> None:
    began = time.monotonic()
    with pytest.raises(DeviceTimeout, match="no answer within 1 s"):
        shell(transport, "sleep 30", seconds=1)
    assert time.monotonic() - began < 2


@pytest.mark.phone
def test_output_that_never_stops_does_not_stretch_the_deadline(transport: AdbTransport) -> None:
    """A limit per read would never be reached here."""
    began = time.monotonic()
    with pytest.raises(DeviceTimeout):
        shell(transport, "for i in $(seq 1 300); do echo $i; sleep 0.1; done", seconds=1)
    assert time.monotonic() - began < 2


@pytest.mark.phone
def test_a_cable_pulled_during_a_command_is_noticed_before_the_deadline(
    phone: RunningPhone, transport: AdbTransport
) -> None:
    started = "/data/local/tmp/contract-started"
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(shell, transport, f"touch {started}; sleep 60", seconds=60)
        try:
            wait_until("the command", lambda: shell(transport, f"test -e {started}").ok, Deadline.after(20))
            began = time.monotonic()
            phone.unplug_cable()
            error = command.exception(timeout=30)
        finally:
            phone.plug_cable()
    assert type(error) is DeviceLost
    assert time.monotonic() - began < 25
    assert shell(transport, f"rm {started}").ok


@pytest.mark.phone
def test_binary_files_come_and_go_unchanged(transport: AdbTransport, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3 << 20) + bytes(range(256)) * 16 + b"\r\n\n\x00"
    here, back, remote = tmp_path / "here", tmp_path / "back", "/data/local/tmp/it's binary"
    here.write_bytes(content)
    transport.push(here, remote, mode=0o755, deadline=Deadline.after(60))
    summed, mode = transport.execute(
        [Exec(("sha256sum", remote)), Exec(("stat", "-c", "%a", remote))], deadline=Deadline.after(60)
    )
    transport.pull(remote, back, deadline=Deadline.after(60))
    held = AdbTransport(transport.serial, root=RootStyle.su_c)
    held.hold_shell()
    with contextlib.closing(held):
        held.pull(remote, tmp_path / "again", deadline=Deadline.after(60), remove=True)
        with pytest.raises(CommandFailed, match="No such file or directory"):
            held.pull(remote, tmp_path / "gone", deadline=Deadline.after(30))
    assert (tmp_path / "again").read_bytes() == content
    assert summed.text.split()[0] == hashlib.sha256(content).hexdigest()
    assert mode.text == "755"
    assert back.read_bytes() == content


@pytest.mark.phone
def test_a_file_that_is_not_there_cannot_be_pulled_nor_pushed_to_a_missing_folder(
    transport: AdbTransport, tmp_path: Path
) -> None:
    with pytest.raises(CommandFailed, match="No such file or directory"):
        transport.pull(NOWHERE, tmp_path / "x", deadline=Deadline.after(30))
    with pytest.raises(CommandFailed):
        transport.push(Path(__file__), "/data/local/tmp/no/such/folder", deadline=Deadline.after(30))


@pytest.mark.phone
def test_a_running_program_answers_line_by_line_and_ends_with_its_connection(transport: AdbTransport) -> None:
    name = "contract-echo"
    process = transport.start(
        ("sh", "-c", 'while read -r line; do echo "<$line>"; done', name), deadline=Deadline.after(30)
    )
    running = "ps -A -o ARGS | grep '[c]ontract-echo$' || true"
    answers = [process.request(line, deadline=Deadline.after(10)) for line in ("one", "two  words", "")]
    assert answers == ["<one>", "<two  words>", "<>"]
    assert shell(transport, running).text != ""
    process.close()
    wait_until("its end", lambda: shell(transport, running).text == "", Deadline.after(10))


@pytest.mark.phone
def test_a_program_that_ends_on_its_own_is_told_with_its_last_words(transport: AdbTransport) -> None:
    process = transport.start(("sh", "-c", "read line; echo broken >&2; exit 5"), deadline=Deadline.after(30))
    with pytest.raises(DeviceLost, match="ended on its own with status 5: broken"):
        process.request("go", deadline=Deadline.after(10))
    process.close()


@pytest.mark.phone
@pytest.mark.parametrize("end", ["scope", "cable"])
def test_the_probe_never_outlives_its_connection(phone: RunningPhone, transport: AdbTransport, end: str) -> None:
    probe = Probe(transport, build)
    probe.install(phone.arch)
    pids = f"pidof {PROBE_PATH.rsplit('/', 1)[-1]} || true"
    with probe.session(alarm_s=600) as session:
        assert session.overhead(100).samples == 100
        assert shell(transport, pids).text != ""
        if end == "cable":
            phone.unplug_cable()
            with pytest.raises(DeviceLost):
                session.overhead(100, seconds=5)
            phone.plug_cable()
    wait_until("the probe's end", lambda: shell(transport, pids).text == "", Deadline.after(60))
    transport.execute([Exec(("rm", "-rf", PROBE_FOLDER))], deadline=Deadline.after(30))
