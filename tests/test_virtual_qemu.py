"""QEMU's command line, its life and death with the process that started it, and its control socket."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from base.deadline import Deadline, wait_until
from base.errors import CommandFailed, DeviceLost, DeviceTimeout, EnvironmentRefused
from devices.virtual.host_tsc import tsc_khz
from devices.virtual.image import Image, Qemu
from devices.virtual.machines import ARM64, X86_64, find, of_host
from devices.virtual.qemu import Hardware, QemuProcess, kill, phone_argv, supports_direct_io
from devices.virtual.qmp import Qmp
from devices.virtual.state import process_start

IMAGES = {
    processor.name: Image(
        "0123abcd",
        find("7.3", processor.name, 4096),
        "7.3.4",
        Path("/c/vmlinuz"),
        Path("/c/initramfs"),
        Qemu(processor, Path("/c/qemu"), "10"),
    )
    for processor in (ARM64, X86_64)
}


def argv(accelerator: str = "tcg", *, arch: str = "arm64", direct_io: bool = True) -> str:
    options = {"serialno": "virtual-x", "lab.format": "1"}
    return " ".join(phone_argv(IMAGES[arch], Hardware(2 << 30, 2, accelerator, 40001, direct_io, options)))


def test_the_phone_is_reached_over_loopback_and_reaches_nothing_itself() -> None:
    assert "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:40001-:5555" in argv()


def test_a_panic_ends_qemu() -> None:
    assert "-no-reboot" in argv()
    assert " panic=-1 " in argv()


def test_what_the_host_decides_reaches_the_guest_as_boot_properties() -> None:
    assert "androidboot.serialno=virtual-x androidboot.lab.format=1" in argv()


def test_all_three_units_share_one_throttle_group() -> None:
    assert argv().count("throttle-group=storage") == 3
    assert argv().count("-device ufs-lu,") == 3
    assert argv().count("-device ufs,") == 1


def test_accelerators() -> None:
    assert "-accel tcg,thread=multi," in argv("tcg")
    assert "-accel kvm " in argv("kvm")


def test_the_hosts_page_cache_is_left_out_where_that_is_possible() -> None:
    assert argv(direct_io=True).count("cache.direct=on") == 6
    assert argv(direct_io=False).count("cache.direct=off") == 6


@pytest.mark.parametrize("arch", ["arm64", "x86_64"])
def test_qemu_runs_with_the_hosts_own_loader_and_libraries(arch: str) -> None:
    host = of_host()
    loader = f"/c/qemu/{host.libraries}/{host.loader}"
    assert argv(arch=arch).startswith(f"{loader} --library-path /c/qemu/{host.libraries}:")


@pytest.mark.parametrize(("arch", "console"), [("arm64", "ttyAMA0"), ("x86_64", "ttyS0")])
def test_the_board_is_the_processors(arch: str, console: str) -> None:
    assert f"console={console} " in argv(arch=arch)
    assert f" -machine {find('7.3', arch, 4096).processor.board}" in argv(arch=arch)


@pytest.mark.skipif(tsc_khz() is None, reason="this computer has no time stamp counter")
def test_an_emulated_pc_is_told_the_rate_of_its_clock_instead_of_measuring_it() -> None:
    """Measured by another way: the counter's rate over a second is what the command line says, within 0.1 %."""
    told = re.search(r" tsc_early_khz=(\d+) ", argv(arch="x86_64"))
    assert told is not None
    assert tsc_khz() == pytest.approx(int(told[1]), rel=0.001)
    assert " tsc_early_khz=" not in argv("kvm", arch="x86_64") + argv(arch="arm64")


def started(folder: Path, *, detached: bool = False) -> QemuProcess:
    log = folder / "qemu.log"
    return QemuProcess(["sleep", "60"], folder=folder, log=log, env=dict(os.environ), detached=detached)


def test_a_started_process_is_killed_for_good(tmp_path: Path) -> None:
    process = started(tmp_path)
    assert process_start(process.pid) == process.pid_start
    kill(process.pid, process.pid_start)
    assert process_start(process.pid) is None


def test_another_process_with_the_same_pid_is_left_alone() -> None:
    kill(os.getpid(), 1)
    assert process_start(os.getpid()) is not None


def test_the_thread_that_asked_for_it_may_end_without_ending_it(tmp_path: Path) -> None:
    processes: list[QemuProcess] = []
    asking = threading.Thread(target=lambda: processes.append(started(tmp_path)))
    asking.start()
    asking.join()
    # The kernel's signal comes at the thread's end, which join() may see a moment earlier.
    time.sleep(0.2)  # sleep: gives a wrong end the time to happen
    assert process_start(processes[0].pid) == processes[0].pid_start
    kill(processes[0].pid, processes[0].pid_start)


STARTER = """
import os, sys, time
from pathlib import Path
from devices.virtual.qemu import QemuProcess
folder = Path(sys.argv[1])
process = QemuProcess(
    ["sleep", "60"], folder=folder, log=folder / "log", env=dict(os.environ), detached=sys.argv[2] == "detached"
)
print(process.pid, process.pid_start, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("how", "survives"), [("attached", False), ("detached", True)])
def test_qemu_ends_with_a_killed_starter_unless_detached(tmp_path: Path, how: str, survives: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER, tmp_path, how], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid, pid_start = (int(word) for word in starter.stdout.readline().split())
        starter.send_signal(signal.SIGKILL)
    try:
        if survives:
            time.sleep(0.3)  # sleep: gives a wrong end the time to happen
            assert process_start(pid) == pid_start
        else:
            wait_until("the process to end", lambda: process_start(pid) != pid_start, Deadline.after(5))
    finally:
        kill(pid, pid_start)


def test_a_program_that_cannot_be_started_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentRefused, match="QEMU cannot be started") as caught:
        QemuProcess(["/nowhere/qemu"], folder=tmp_path, log=tmp_path / "log", env={}, detached=True)
    assert caught.value.hint


def test_direct_io_is_asked_of_the_file_system(tmp_path: Path) -> None:
    assert supports_direct_io(tmp_path / "missing") is False


@contextmanager
def fake_qemu(path: Path, *answers: str) -> Iterator[list[str]]:
    """Greets, then gives one answer per line that it is sent; hangs when it has none left."""
    heard: list[str] = []
    folder = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        listener.listen()

        def serve() -> None:
            link, _ = listener.accept()
            with link, link.makefile("rw") as stream:
                stream.write('{"QMP": {}}\n')
                for answer in answers:
                    stream.flush()
                    heard.append(stream.readline())
                    stream.write(answer)
                stream.flush()
                stop.wait(5)

        stop = threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            stop.set()
            thread.join(5)
            os.close(folder)


OK = '{"return": {}}\n'


def test_a_qmp_command_returns_its_value_and_events_are_passed_over(tmp_path: Path) -> None:
    event = '{"event": "STOP"}\n'
    with fake_qemu(tmp_path / "qmp.sock", OK, event + '{"return": {"status": "running"}}\n') as heard:
        assert Qmp(tmp_path / "qmp.sock").execute("query-status", verbose=True) == {"status": "running"}
    assert json.loads(heard[1]) == {"execute": "query-status", "arguments": {"verbose": True}}


def test_a_socket_deep_down_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with fake_qemu(deep / "qmp.sock", OK, OK):
        assert Qmp(deep / "qmp.sock").execute("quit") == {}


def test_qemu_refusing_a_command_is_not_qemu_being_gone(tmp_path: Path) -> None:
    refusal = '{"error": {"class": "GenericError", "desc": "Device net9 not found"}}\n'
    with fake_qemu(tmp_path / "qmp.sock", OK, refusal), pytest.raises(CommandFailed, match="Device net9 not found"):
        Qmp(tmp_path / "qmp.sock").execute("set_link", name="net9", up=False)


def test_no_qemu_at_the_socket(tmp_path: Path) -> None:
    with pytest.raises(DeviceLost, match="no QEMU answers quit"):
        Qmp(tmp_path / "qmp.sock").execute("quit")


def test_qemu_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    with fake_qemu(tmp_path / "qmp.sock", OK), pytest.raises(DeviceTimeout, match=r"within 0\.2 s"):
        Qmp(tmp_path / "qmp.sock").execute("quit", deadline=Deadline.after(0.2))
