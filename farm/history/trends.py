"""What the history says by now: alarms, boundaries, phones that left their own past, and what could not be judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from farm.history import trend
from farm.history.alarms import Alarm, Raised, alarm_id, alarms
from farm.history.figures import Watched
from farm.history.folder import RunKind, date_of
from farm.history.index import HistoryIndex
from farm.history.marks import acknowledged

# Boundaries and alarms that ended are told for so many nights.
_TOLD_FOR = 14


@dataclass(frozen=True, slots=True)
class ToldAlarm:
    """An alarm for people. ``state``: ``open``, ``known`` (acknowledged, by whom and why in ``known``) or ``ended``."""

    id: str
    kind: RunKind
    opened: str
    state: str
    known: str
    is_common: bool
    is_worse: bool
    series: Sequence[str]

    @property
    def calls(self) -> bool:
        """Whether somebody must look: worse, open, and nobody has said that he knows."""
        return self.state == "open" and self.is_worse


@dataclass(frozen=True, slots=True)
class ToldBoundary:
    """What a known change moved: one line for each series whose interval lies beyond the least change."""

    kind: RunKind
    night: str
    what: str
    series: Sequence[str]


@dataclass(frozen=True, slots=True)
class KindState:
    """How well one kind is watched. ``lacks`` says why its alarms are fewer than they could be; empty: they are not."""

    kind: RunKind
    phones: int
    night: str
    lacks: Sequence[str]


@dataclass(frozen=True, slots=True)
class Trends:
    """Everything, as of the last night. ``suspects`` are phones alone: a matter of their health."""

    night: str
    alarms: Sequence[ToldAlarm]
    boundaries: Sequence[ToldBoundary]
    suspects: Mapping[str, Sequence[str]]
    kinds: Sequence[KindState]


def trends(index: HistoryIndex) -> Trends | None:
    """Sum up the history; None for an index without runs."""
    ((last,),) = index.rows("SELECT max(night) FROM run")
    if last is None:
        return None
    series, kinds = index.series(), index.kinds()
    return Trends(
        date_of(last),
        _alarms(index, last, kinds, series),
        _boundaries(index, last, kinds, series),
        _suspects(index, last, series),
        _states(index, last, kinds),
    )


def percent(log_ratio: float) -> str:
    """``+5.1 %``: how much worse; ``-3.0 %`` is better."""
    return f"{math.expm1(log_ratio) * 100:+.1f} %"


def open_alarms(index: HistoryIndex) -> list[Alarm]:
    """Alarms that have not ended, known or not."""
    return [alarm for alarm in _all_alarms(index) if alarm.ended is None]


def _all_alarms(index: HistoryIndex) -> list[Alarm]:
    found = [
        Raised(night, kind, number, word, drift if word == "drift" else change)
        for night, kind, number, change, drift, words in index.rows(
            "SELECT night, kind, series, change, drift, raised FROM pooled WHERE raised <> ''"
        )
        for word in words.split()
    ]
    nights: dict[int, list[int]] = {}
    for kind, night in index.rows("SELECT DISTINCT kind, night FROM pooled ORDER BY kind, night") if found else ():
        nights.setdefault(kind, []).append(night)
    return alarms(found, nights)


def _alarms(
    index: HistoryIndex, last: int, kinds: Mapping[int, RunKind], series: Mapping[int, Watched]
) -> list[ToldAlarm]:
    known = acknowledged()
    told = [
        _told(alarm, kinds[alarm.kind], series, known)
        for alarm in _all_alarms(index)
        if alarm.ended is None or alarm.ended > last - _TOLD_FOR
    ]
    return sorted(told, key=lambda alarm: not alarm.calls)


def _told(alarm: Alarm, kind: RunKind, series: Mapping[int, Watched], known: Mapping[str, str]) -> ToldAlarm:
    name = alarm_id(alarm, kind)
    state = "ended" if alarm.ended is not None else "known" if name in known else "open"
    lines = [
        f"{series[number].name}: {percent(change)}"
        + (" against the baseline" if word == "drift" else " in 5 nights against 20")
        for (number, word), change in sorted(alarm.series.items(), key=lambda item: -item[1])
    ]
    return ToldAlarm(
        name, kind, date_of(alarm.opened), state, known.get(name, ""), alarm.is_common, alarm.is_worse, lines
    )


def _boundaries(
    index: HistoryIndex, last: int, kinds: Mapping[int, RunKind], series: Mapping[int, Watched]
) -> list[ToldBoundary]:
    found: dict[tuple[int, str, int], list[str]] = {}
    for kind, what, night, number, n, ratio, low, high, word in index.rows(
        "SELECT kind, before, night, series, n, ratio, low, high, word FROM boundary WHERE night > ? "
        "ORDER BY kind, night, ratio DESC", last - _TOLD_FOR,
    ):  # fmt: skip
        lines = found.setdefault((kind, what, night), [])
        if word:
            lines.append(
                f"{series[number].name}: {ratio:.3f} [{low:.3f}, {high:.3f}] over {n} phones, "
                f"{'worse' if word > 0 else 'better'}"
            )
    return [ToldBoundary(kinds[kind], date_of(night), what, lines) for (kind, what, night), lines in found.items()]


def _suspects(index: HistoryIndex, last: int, series: Mapping[int, Watched]) -> dict[str, list[str]]:
    phones = index.phones()
    found: dict[str, list[str]] = {}
    for phone, number, change in index.rows(
        "SELECT phone, series, change FROM moved WHERE night = ? ORDER BY phone, change DESC", last
    ):
        found.setdefault(phones[phone], []).append(f"{series[number].name}: {percent(change)} for 7 nights")
    return found


def _states(index: HistoryIndex, last: int, kinds: Mapping[int, RunKind]) -> list[KindState]:
    controlled = {number for number, watched in index.series().items() if watched.is_control}
    told = []
    for kind, night, phones in index.rows(
        "SELECT kind, max(night), max(n) FROM pooled WHERE night > ? GROUP BY kind ORDER BY kind", last - _TOLD_FOR
    ):
        rows = index.rows("SELECT series, change FROM pooled WHERE night = ? AND kind = ?", night, kind)
        lacks = []
        if phones < trend.FEWEST_PHONES:
            lacks.append(f"{phones} phones, {trend.FEWEST_PHONES} are needed: each is looked at alone")
        elif all(change is None for _, change in rows):
            lacks.append(f"not yet {trend.WINDOW} nights by one version, of {trend.FEWEST_PHONES} phones or more")
        if controlled.isdisjoint(number for number, _ in rows):
            lacks.append("no control: what room and host do cannot be told from what writeback does")
        if not index.rows("SELECT 1 FROM baseline WHERE kind = ? LIMIT 1", kind):
            lacks.append("no baseline is pinned: a slow drift is not looked for")
        told.append(KindState(kinds[kind], phones, date_of(night), lacks))
    return told
