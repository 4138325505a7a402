"""The life of an alarm: raised once, open while it lasts, ended when it was gone for three nights."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from farm.history.folder import RunKind, date_of

GONE = 3


@dataclass(frozen=True, slots=True)
class Raised:
    """A series of one kind that alarmed in a night: ``change`` is a log ratio, larger is worse."""

    night: int
    kind: int
    series: int
    word: str
    change: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm of one kind of phone, with every series in it and how far it moved when it was seen last.

    ``last`` is the last night that raised it; ``ended`` the night at which it had been gone for three, None: it is
    open. ``series`` maps number and word (``step``, ``drift``, ``control``) to the change.
    """

    kind: int
    opened: int
    last: int
    ended: int | None
    series: Mapping[tuple[int, str], float]

    @property
    def is_common(self) -> bool:
        """Whether the control moved too: then it is room or host, and not what is measured."""
        return any(word == "control" for _, word in self.series)

    @property
    def is_worse(self) -> bool:
        """Whether anything of it got worse; what got better is told, and pages nobody."""
        return not self.is_common and max(self.series.values()) > 0


def alarms(raised: Iterable[Raised], nights: Mapping[int, Sequence[int]]) -> list[Alarm]:
    """Make alarms from what was raised, newest first; ``nights`` has those of each kind in order."""
    found: list[Alarm] = []
    open_of: dict[int, Alarm] = {}
    for each in sorted(raised, key=lambda one: (one.night, one.kind, one.series)):
        alarm = open_of.get(each.kind)
        if alarm is not None and (ended := _ended(alarm, nights[each.kind], each.night - 1)) is not None:
            found.append(replace(alarm, ended=ended))
            alarm = None
        if alarm is None:
            alarm = Alarm(each.kind, each.night, each.night, None, {})
        series = {**alarm.series, (each.series, each.word): each.change}
        open_of[each.kind] = replace(alarm, last=each.night, series=series)
    for kind, alarm in open_of.items():
        found.append(replace(alarm, ended=_ended(alarm, nights[kind], nights[kind][-1])))
    return sorted(found, key=lambda alarm: (-alarm.opened, alarm.kind))


def alarm_id(alarm: Alarm, kind: RunKind) -> str:
    """Name an alarm by what does not change when the index is made anew: ``20261123-1a2b3c4d``."""
    key = "\n".join((kind.profile, kind.kernel, kind.build, kind.plan))
    return f"{date_of(alarm.opened).replace('-', '')}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _ended(alarm: Alarm, nights: Sequence[int], until: int) -> int | None:
    """The third night since the last one that raised it, if there was one by then."""
    since = nights[bisect_right(nights, alarm.last) :]
    return since[GONE - 1] if len(since) >= GONE and since[GONE - 1] <= until else None
