"""How long a boot may take, what is worth another one, and what it says about the guest's clock."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.errors import DeviceLost, DeviceTimeout
from devices.clocks import ClockRate
from devices.virtual import boot
from devices.virtual.boot import Effort, await_console, why_again

IDLE = "import time; time.sleep(60)"
BUSY = "while True: pass"


@pytest.fixture
def pid(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process that stands for QEMU."""
    with subprocess.Popen([sys.executable, "-c", getattr(request, "param", IDLE)]) as process:
        yield process.pid
        process.kill()


def write_later(log: Path, *lines: tuple[float, str]) -> threading.Thread:
    """A guest that says each line so many seconds after the one before."""

    def speak() -> None:
        for after, line in lines:
            time.sleep(after)  # sleep: the guest's boot
            with log.open("a") as file:
                file.write(line)

    thread = threading.Thread(target=speak)
    thread.start()
    return thread


def guest(seconds: float, *, speed: float = 1.0) -> tuple[tuple[float, str], ...]:
    """A boot of so many seconds between its two words."""
    up = f"lab: boot completed at {1 + seconds * speed:.2f} s\r\n"
    return (0.1, "[ 0.1] UFS\r\nlab: begun at 1.00 s\r\n"), (seconds, up)


def test_the_console_tells_that_the_phone_is_up_and_how_fast_its_clock_runs(tmp_path: Path, pid: int) -> None:
    log = tmp_path / "console.log"
    speaking = write_later(log, *guest(1.0, speed=9.0))
    rate = await_console(log, pid, lambda: None, name="x")
    speaking.join()
    assert rate.is_off(0.1)
    assert "its clock runs " in why_again(log, rate)


def test_a_boot_with_a_sound_clock_is_a_boot(tmp_path: Path, pid: int) -> None:
    log = tmp_path / "console.log"
    speaking = write_later(log, *guest(1.0))
    assert why_again(log, await_console(log, pid, lambda: None, name="x")) == ""
    speaking.join()


def test_half_a_line_is_no_word(tmp_path: Path, pid: int) -> None:
    log = tmp_path / "console.log"
    speaking = write_later(log, (0.0, "lab: begun at 1.00 s\nlab: boot completed at 1"), (0.4, "1.00 s\n"))
    rate = await_console(log, pid, lambda: None, name="x")
    speaking.join()
    assert rate.middle > 10 / 2


def test_what_died_is_told_at_once(tmp_path: Path, pid: int) -> None:
    with pytest.raises(DeviceLost, match="virtual phone x did not boot: QEMU is gone"):
        await_console(tmp_path / "console.log", pid, lambda: "QEMU is gone", name="x")


@pytest.mark.parametrize(("pid", "limit"), [(BUSY, "CPU_S"), (IDLE, "IDLE_S")], indirect=["pid"])
def test_a_boot_is_given_up_for_work_without_end_and_for_none(
    tmp_path: Path, pid: int, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, limit, 0.4)
    (tmp_path / "console.log").write_text("Freeing unused kernel memory\n")
    with pytest.raises(DeviceTimeout, match=r"not up after \d+ s of CPU time and \d+ s without work(.|\n)*Freeing"):
        await_console(tmp_path / "console.log", pid, lambda: None, name="x")


@pytest.mark.parametrize("pid", [BUSY], indirect=True)
def test_waiting_for_a_busy_host_is_neither_work_nor_idleness(pid: int) -> None:
    """Many processes for each CPU: what the process waits for one is the host's fault."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(8)]
    try:
        effort = Effort(pid, window_s=1.5)
        end = time.monotonic() + 4.0
        while time.monotonic() < end:
            effort.look()
            time.sleep(0.05)  # sleep: between two looks, as while booting
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert effort.idle_s < 1.5


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("Kernel panic - not syncing: IO-APIC + timer doesn't work!", True),
        ("[    3.1] Oops: int3: 0000 [#1] SMP", True),
        ("lab: boot failed: mke2fs on sdc", False),
        ("", False),
    ],
)
def test_what_chance_did_is_worth_another_boot(tmp_path: Path, said: str, again: bool) -> None:
    (tmp_path / "console.log").write_text(f"Linux\n{said}\nmore\n")
    assert (said in why_again(tmp_path / "console.log", None)) == (again or not said)
    assert bool(why_again(tmp_path / "console.log", None)) == again


def test_a_clock_that_may_be_right_is_no_reason(tmp_path: Path) -> None:
    assert why_again(tmp_path / "console.log", ClockRate(0.9, 1.2, 4.0)) == ""
