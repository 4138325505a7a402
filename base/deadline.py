"""A point in time by which something must have happened, passed down through every wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from base.errors import DeviceTimeout


@dataclass(frozen=True, slots=True)
class Deadline:
    """A total time limit; ``seconds`` is what was granted, ``end_s`` is on the monotonic clock."""

    seconds: float
    end_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(seconds, time.monotonic() + seconds)

    @property
    def left_s(self) -> float:
        return max(0.0, self.end_s - time.monotonic())

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.end_s


def wait_until(what: str, ready: Callable[[], bool], deadline: Deadline, *, pause_s: float = 0.01) -> None:
    """Poll ``ready`` with doubling pauses (at most 0.5 s) until it is true.

    Raises DeviceTimeout that names ``what`` was awaited.
    """
    while not ready():
        if deadline.expired:
            raise DeviceTimeout(f"{what}: not within {deadline.seconds:g} s")
        time.sleep(min(pause_s, deadline.left_s))
        pause_s = min(pause_s * 2, 0.5)
