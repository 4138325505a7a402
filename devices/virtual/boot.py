"""Waiting for a virtual phone's console: how long is bounded by work, so that a busy host only takes longer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from base.errors import DeviceLost, DeviceTimeout
from devices.clocks import ClockRate, ClockReading, clock_rate

CPU_S = 120.0
"""CPU time of QEMU until the phone is up; an emulated boot takes 10 to 18 s of it, with a kernel packed by xz 40."""
IDLE_S = 60.0
"""Time in which QEMU had nothing to do until the phone is up; a boot waits 3 s for its UFS."""

_BEGUN, _BOOTED = "begun", "boot completed"
_TIME = re.compile(rf"^lab: ({_BEGUN}|{_BOOTED}) at (\d+\.\d+) s\r?$", re.MULTILINE)
_PANIC = re.compile(r"^.*(?:Kernel panic|Oops:|BUG:|kernel BUG|lab: boot failed).*$", re.MULTILINE)
# On a busy host an emulated CPU can die of chance: of a check of timers, of code that patches itself while others run.
_CHANCE = re.compile(r"^.*(?:Kernel panic|Oops:).*$", re.MULTILINE)
_LAST_LINES = 12
_POLL_S = 0.05
# The guest reads its clock some moment before its line is seen, so only gross errors can be told here.
_GROSS = 0.1


@dataclass(slots=True)
class Effort:
    """What a process has done since this was made: CPU time, and time in which it had nothing to do.

    Idleness is counted in windows, because the kernel books the time that a thread waited for a CPU when it gets one.
    """

    pid: int
    window_s: float = 5.0
    cpu_s: float = 0.0
    idle_s: float = 0.0
    _window_began_s: float = field(default_factory=time.monotonic)
    _wanted_s: float = 0.0

    def look(self) -> None:
        """Looks at the process now; one that is gone has done nothing more."""
        ran = waited = 0.0
        for task in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            try:
                ran_ns, waited_ns, _ = task.read_text().split()
            except (OSError, ValueError):
                continue  # a thread that has just ended
            ran, waited = ran + int(ran_ns) / 1e9, waited + int(waited_ns) / 1e9
        self.cpu_s = max(self.cpu_s, ran)
        window_s = time.monotonic() - self._window_began_s
        if window_s >= self.window_s:
            self.idle_s += max(0.0, window_s - max(0.0, ran + waited - self._wanted_s))
            self._window_began_s += window_s
            self._wanted_s = ran + waited


def await_console(log: Path, pid: int, died: Callable[[], str | None], *, name: str) -> ClockRate:
    """Returns when the guest's init says that it is up: how fast the guest's clock ran until then.

    Raises DeviceLost with what ``died`` says, DeviceTimeout when QEMU has worked or been idle for too long.
    """
    effort = Effort(pid)
    readings: dict[str, ClockReading] = {}
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    while _BOOTED not in readings:
        if why := died():
            raise DeviceLost(f"virtual phone {name} did not boot: {why}", hint=f"See {log}.")
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        said = console(log)
        seen = time.clock_gettime(time.CLOCK_BOOTTIME)
        for what, seconds in _TIME.findall(said):
            readings.setdefault(what, ClockReading(before, seen, float(seconds)))
        before = began
        effort.look()
        if effort.cpu_s > CPU_S or effort.idle_s > IDLE_S:
            spent = f"{effort.cpu_s:.0f} s of CPU time and {effort.idle_s:.0f} s without work"
            raise DeviceTimeout(
                f"virtual phone {name}: not up after {spent}; its console says last:\n{last_lines(said)}",
                hint=f"All of it is in {log}.",
            )
        time.sleep(_POLL_S)
    return clock_rate(readings.get(_BEGUN, readings[_BOOTED]), readings[_BOOTED])


def why_again(log: Path, rate: ClockRate | None) -> str:
    """Why a boot is worth another try, or nothing: a panic by chance, a clock that the kernel measured wrongly."""
    if rate is not None:
        return f"its clock runs {rate.for_people()}" if rate.is_off(_GROSS) else ""
    crash = _CHANCE.search(console(log))
    return f"the emulator crashed the guest: {crash[0].strip()}" if crash else ""


def console(log: Path) -> str:
    """What the guest has said; nothing if it has not yet."""
    try:
        return log.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def last_lines(said: str) -> str:
    return "\n".join(said.splitlines()[-_LAST_LINES:])


def last_words(console_log: Path, qemu_log: Path) -> str:
    """What QEMU itself complained of, and the end of the guest's console."""
    words = ""
    if qemu := console(qemu_log).strip():
        words += f"; QEMU says: {qemu.splitlines()[-1]}"
    # The firmware draws with escape sequences.
    said = re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]", "", console(console_log)).strip()
    if crash := _PANIC.search(said):
        words += f"; cause: {crash[0].strip()}"
    if said:
        words += f"; its console says last:\n{last_lines(said)}"
    return words
