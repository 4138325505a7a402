"""When a night may measure: from its window in the farm's file, or until a time of the command line."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from base.errors import LabError, ProfileError
from base.units import shown

EXIT_WINDOW_OVER = 14
# A clock that was set, by more than it drifts in a night.
_STEP_S = 60.0


class WindowOver(LabError):
    """Nothing may be measured at this time of the day."""

    exit_status = EXIT_WINDOW_OVER


class Hours(Protocol):
    """What a window is made of; the farm's section has it."""

    @property
    def start(self) -> str:
        """HH:MM."""
        ...

    @property
    def end(self) -> str:
        """HH:MM."""
        ...

    @property
    def restore_reserve(self) -> float:
        """Seconds before the end."""
        ...


def clock_time(text: str) -> str:
    """Return a time of the day as HH:MM. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text)
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        raise ValueError(f"{shown(text)} is not a time of the day; expected for example 22:00")
    return f"{int(found[1]):02}:{found[2]}"


@dataclass(slots=True)
class Window:
    """What is left of a night. ``end`` is None for one that ends when all is measured.

    Time is counted by the monotonic clock from when it was made, so a clock that is set changes nothing; ``stepped_s``
    says how far it was set.
    """

    now: datetime
    end: datetime | None
    reserve_s: float
    made_s: float
    _told_s: float = 0.0

    @classmethod
    def of(cls, hours: Hours | None, until: str | None, *, now: datetime | None = None, where: str = "") -> Window:
        """Open the window that holds now. Raises WindowOver outside of it, ProfileError for an ``until`` that is none.

        ``until`` (HH:MM) goes before the hours' own end, and is the next such time from now on.
        """
        now = now or datetime.now().astimezone()
        reserve_s = hours.restore_reserve if hours else 300.0
        if until is not None:
            try:
                end = _next(now, clock_time(until))
            except ValueError as error:
                raise ProfileError(f"--until {error}") from None
            # A night that is to end within minutes has no room for the whole reserve.
            reserve_s = min(reserve_s, (end - now).total_seconds() / 2)
            return cls(now, end, reserve_s, time.monotonic())
        if hours is None:
            return cls(now, None, reserve_s, time.monotonic())
        begin, end = _next(now, hours.start), _next(now, hours.end)
        if begin < end:
            raise WindowOver(
                f"{where}window: it is {now:%H:%M}, and the window is from {hours.start} to {hours.end}",
                hint=f"it opens again at {begin:%F %H:%M}; --until HH:MM measures now, until then",
            )
        return cls(now, end, reserve_s, time.monotonic())

    def kept(self, until: object) -> Window:
        """Return the window of a night that is taken up again: to its own end, unless that is over."""
        try:
            end = datetime.fromisoformat(str(until))
        except ValueError:
            return self
        # A night that was to end within minutes has no room for the whole reserve.
        left_s = (end - self.now).total_seconds()
        return replace(self, end=end, reserve_s=min(self.reserve_s, left_s / 2)) if left_s > 0 else self

    @property
    def left_s(self) -> float:
        """Seconds until what runs is stopped; endless without an end."""
        if self.end is None:
            return float("inf")
        return (self.end - self.now).total_seconds() - self.reserve_s - (time.monotonic() - self.made_s)

    def stepped_s(self) -> float:
        """Return by how much the clock was set since this was last asked, 0 for less than a minute."""
        off_s = (datetime.now().astimezone() - self.now).total_seconds() - (time.monotonic() - self.made_s)
        step_s = off_s - self._told_s
        if abs(step_s) <= _STEP_S:
            return 0.0
        self._told_s = off_s
        return step_s

    def __str__(self) -> str:
        if self.end is None:
            return "until all is measured"
        return f"until {self.end:%F %H:%M}, what still runs is stopped {self.reserve_s / 60:.0f} min before"


def _next(now: datetime, clock: str) -> datetime:
    """The next time that the clock shows this, from now on."""
    hour, minute = map(int, clock.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return then if then > now else then + timedelta(days=1)
