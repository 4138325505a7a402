"""Two clocks compared: the phone's, by which everything is measured, and this computer's.

A kernel can measure its own clock wrongly (an emulated one on a busy host did, by a factor of nine), and then every
rate and latency is wrong by that factor while each number by itself looks fine. So nobody trusts it: readings of both
clocks are kept, and two pairs of them bound how fast the phone's clock runs.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from base.errors import CommandFailed, DeviceLost
from devices.device import Device
from devices.transport import Read

TOLERANCE = 0.005
"""How far the rates of two sound clocks may be apart. Crystals are within 0.0001 of each other."""

UPTIME = "/proc/uptime"
_RESOLUTION_S = 0.01  # of /proc/uptime
# Everything is compared with a reading, so one that was long under way is taken again.
_READINGS, _NARROW_S = 3, 0.05
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What the phone's clock said at some moment between two of the host's. Seconds."""

    host_before_s: float
    host_after_s: float
    phone_s: float

    @property
    def width_s(self) -> float:
        return self.host_after_s - self.host_before_s


@dataclass(frozen=True, slots=True)
class ClockRate:
    """Seconds of the phone per second of the host: surely from ``low`` to ``high``, seen over ``span_s``."""

    low: float
    high: float
    span_s: float

    def is_off(self, tolerance: float = TOLERANCE) -> bool:
        """True when no reading of the bounds leaves the phone's clock within the tolerance."""
        return self.low > 1 + tolerance or self.high < 1 - tolerance

    def decides(self, tolerance: float = TOLERANCE) -> bool:
        """Whether a deviation of more than the tolerance would have been seen over this span."""
        return self.high - self.low <= tolerance

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def for_people(self) -> str:
        """``9.012 times as fast as this computer's, over 12 s``."""
        return f"{self.middle:.3f} times as fast as this computer's, over {self.span_s:.0f} s"


def clock_rate(first: ClockReading, last: ClockReading, resolution_s: float = _RESOLUTION_S) -> ClockRate:
    """Bounds that follow from two readings; ``high`` is infinite if they overlap."""
    phone = last.phone_s - first.phone_s
    shortest, longest = last.host_before_s - first.host_after_s, last.host_after_s - first.host_before_s
    low = (phone - resolution_s) / longest if longest > 0 else float("-inf")
    high = (phone + resolution_s) / shortest if shortest > 0 else float("inf")
    return ClockRate(low, high, max(0.0, (shortest + longest) / 2))


class ClockWrong(DeviceLost):
    """A virtual phone's clock is not to be trusted, so nothing that it measures is."""


def read_clock(device: Device) -> ClockReading:
    """One round trip. The host's clock counts while it sleeps, as the phone's uptime does."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    text = device.execute(Read(UPTIME))[0].check().text
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    if not (uptime := re.match(r"(\d{1,12}\.\d{1,9}) ", text)):
        raise CommandFailed(f"cat {UPTIME}", 0, f"not an uptime: {text[:80]!r}")
    return ClockReading(before, after, float(uptime[1]))


@dataclass(slots=True)
class ClockWatch:
    """The comparison over a run: begun with the run, checked around every test.

    A deviation is an error on a virtual phone, whose clock is ours to set, and a doubt on a real one.
    """

    device: Device
    virtual: bool
    say: Say
    rate: ClockRate | None = None
    """over the whole run, as of the last check"""
    off: ClockRate | None = None
    """the first deviation that was seen"""
    _first: ClockReading | None = field(default=None, init=False)
    _last: ClockReading | None = field(default=None, init=False)

    def begin(self) -> None:
        """Takes the reading that all later ones are compared with."""
        self._first = self._last = self._narrow_reading()

    def check(self, *, known_for_s: float = 0.0) -> bool:
        """True if the clock is in doubt. Compares with the begin, and with the last check: it may change its mind.

        A check that is not older than ``known_for_s`` is not made again: records that are written one after the other
        share one. Raises ClockWrong on a virtual phone.
        """
        if self._first is None or self._last is None:
            self.begin()
            return False
        if time.clock_gettime(time.CLOCK_BOOTTIME) - self._last.host_after_s < known_for_s:
            return self.off is not None
        now = self._narrow_reading()
        self.rate = clock_rate(self._first, now)
        for rate in (self.rate, clock_rate(self._last, now)):
            if rate.is_off() and self.off is None:
                self.off = rate
                self._complain(rate)
        self._last = now
        return self.off is not None

    def facts(self) -> dict[str, object]:
        """For the run's last record: the bounds of the rate over the run, or of the deviation that was seen."""
        rate = self.off or self.rate
        if rate is None or math.isinf(rate.high):
            return {}
        return {"phone_clock": {"rate": rate.middle, "low": rate.low, "high": rate.high, "span_s": rate.span_s}}

    def _narrow_reading(self) -> ClockReading:
        """A reading that was under way for so short a time that it decides, as far as a few tries give one."""
        best = read_clock(self.device)
        # Over a long span a wide reading decides as well.
        span_s = best.host_before_s - self._first.host_after_s if self._first else 0.0
        narrow_s = max(_NARROW_S, span_s * TOLERANCE / 4)
        for _ in range(_READINGS - 1):
            if best.width_s > narrow_s:
                best = min(best, read_clock(self.device), key=lambda reading: reading.width_s)
        return best

    def _complain(self, rate: ClockRate) -> None:
        message = f"{self.device.serial}: the phone's clock runs {rate.for_people()}"
        if self.virtual:
            raise ClockWrong(message, hint="What was measured meanwhile says nothing: run it again.")
        self.say(f"{message}: every time and rate is in doubt by that much")
