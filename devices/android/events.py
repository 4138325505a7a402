"""Who was killed for want of memory, from Android's event log and the kernel's log.

lmkd writes a ``killinfo`` event without a name, the activity manager ``am_kill`` for its own kills and
``am_proc_died`` for every end; one process's events are put together here. Kernels without lmkd say it in dmesg.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from base.errors import UnreadableAnswer
from base.parsing import number_or_none, whole_number
from devices.device import Device
from devices.transport import Exec, Write

# lmkd.cpp, enum kill_reasons; vendors' own begin at 1000.
_LMKD_REASONS = (
    "pressure after kill", "not responding", "low swap and thrashing", "low memory and swap",
    "low memory and thrashing", "direct reclaim and thrashing", "low memory and swap utilisation",
    "low file cache after thrashing", "low memory", "direct reclaim stuck",
)  # fmt: skip
# NONE, -1: lmkd's older strategy (use_minfree_levels, low_ram) kills by levels of free memory and gives no reason.
_NO_REASON = "no reason given"
# The least that the kernel and the activity manager use is -1000.
_LEAST_ADJ = -10_000
# An event has at most 4 KiB, a line of the kernel's log 1 KiB.
_LONGEST_LINE = 4096
_STAMP = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}(?=\s)")
_EVENT = re.compile(r"\b(am_kill|killinfo|am_proc_died)\s*:\s*\[")
# A name belongs to a killinfo of the same pid if the end was logged about then; pids are used again.
_SAME_DEATH_S = 30.0
_EVENTS = ("logcat", "-b", "events", "-d", "-v", "epoch")
_TAGS = ("am_kill", "killinfo", "am_proc_died")
# The kernel's log counts seconds awake, which no file tells: a line of our own says what it counts now. Written with a
# newline: without one the kernel shows a line only when the next one comes.
_NOW = "zram-writeback-lab: kills are read"


class KilledBy(StrEnum):
    """Whose decision it was. The activity manager also ends what was force-stopped or has crashed: see the reason."""

    lmkd = "lmkd"
    activity_manager = "activity_manager"
    kernel = "kernel"


@dataclass(frozen=True, slots=True)
class Kill:
    """One process's end by somebody else's decision. None is what the log did not say; ``rss_kib`` in KiB."""

    t_epoch_s: float
    pid: int
    by: KilledBy
    uid: int | None = None
    process: str | None = None
    adj: int | None = None
    reason: str = ""
    rss_kib: int | None = None


@dataclass(frozen=True, slots=True)
class KillLog:
    """``kills`` oldest first. Without an event log (``events`` False) they are only those that the kernel told of."""

    kills: tuple[Kill, ...]
    events: bool

    @property
    def count(self) -> int | None:
        """None, not zero, where nobody keeps the books."""
        return len(self.kills) if self.events else None


def phone_time_s(device: Device) -> float:
    """The phone's clock, in whole seconds since the epoch: the ``since_s`` of a later ``read_kills``."""
    return float(device.run("date", "+%s"))


def read_kills(device: Device, *, since_s: float = 0) -> KillLog:
    """Kills from ``since_s`` (the phone's clock) on, in one round trip."""
    newest, events, now, _, kernel = device.execute(
        # Empty where no buffer is: any running Android has a newest event.
        Exec((*_EVENTS, "-t", "1")),
        Exec((*_EVENTS, "-s", *_TAGS)),
        Exec(("date", "+%s")),
        Write("/dev/kmsg", f"{_NOW}\n"),
        Exec(("sh", "-c", f"dmesg | grep -iE 'lowmemorykiller|out of memory|{_NOW}'"), accept=(0, 1)),
        keep_going=True,
    )
    there = newest.ok and events.ok and bool(newest.text.strip())
    of_events = parse_events(events.stdout) if there else []
    found = _merged([*of_events, *parse_kernel_log(kernel.stdout, float(now.check().text))])
    return KillLog(tuple(kill for kill in found if kill.t_epoch_s >= since_s), there)


def parse_events(text: str) -> list[Kill]:
    """Kills of ``logcat -b events -v epoch``; old and new numbers of fields; other lines are passed over."""
    kills: list[Kill] = []
    for line in text.splitlines():
        line = line[:_LONGEST_LINE].strip()
        stamp, event = _STAMP.match(line), _EVENT.search(line)
        if stamp is None or event is None or not line.endswith("]"):
            continue
        at_s, tag, fields = float(stamp[0]), event[1], line[event.end() : -1].split(",")
        try:
            if tag == "am_kill":
                kills.append(_am_kill(at_s, fields))
            elif tag == "killinfo":
                kills.append(_killinfo(at_s, fields))
            else:
                kills = list(_named(kills, at_s, whole_number(fields[1], tag), fields[2]))
        except (UnreadableAnswer, IndexError):
            continue
    return kills


def _am_kill(at_s: float, fields: list[str]) -> Kill:
    """User, pid, process, adj, reason (which may hold commas) and, on newer builds, the RSS in KiB."""
    pid, process = whole_number(fields[1], "am_kill"), fields[2]
    adj = whole_number(fields[3], "am_kill", least=_LEAST_ADJ)
    rest = fields[4:]
    rss = number_or_none(rest[-1]) if len(rest) > 1 else None
    if rss is not None:
        rest.pop()
    return Kill(at_s, pid, KilledBy.activity_manager, None, process, adj, ",".join(rest).strip(), rss)


def _killinfo(at_s: float, fields: list[str]) -> Kill:
    """Pid, uid, adj, lowest adj that may be killed, RSS in KiB, reason; what follows is the state of memory."""
    pid, uid, adj, _, rss, reason = (whole_number(word, "killinfo", least=_LEAST_ADJ) for word in fields[:6])
    text = _LMKD_REASONS[reason] if 0 <= reason < len(_LMKD_REASONS) else f"reason {reason}"
    return Kill(at_s, pid, KilledBy.lmkd, uid, None, adj, _NO_REASON if reason == -1 else text, rss)


def _named(kills: Iterable[Kill], at_s: float, pid: int, process: str) -> Iterator[Kill]:
    for kill in kills:
        same = kill.pid == pid and kill.process is None and abs(kill.t_epoch_s - at_s) <= _SAME_DEATH_S
        yield replace(kill, process=process) if same else kill


_KERNEL_STAMP = re.compile(r"(?:<[0-9]{1,4}>)?\[[ ]*([0-9]{1,12}\.[0-9]{1,9})\]")
# lmkd's own line, which some builds send to the kernel's log; the driver of kernels before 4.12; the OOM killer.
_KERNEL_LINES = (
    re.compile(
        r"lowmemorykiller: Kill '(?P<process>[^']+)' \((?P<pid>\d+)\)(?:, uid (?P<uid>\d+))?"
        r"(?:, oom_score_adj (?P<adj>-?\d+))?(?: to free (?P<rss>\d+) ?kB)?(?:.*?; reason: (?P<reason>.+))?",
        re.ASCII,
    ),
    re.compile(r"lowmemorykiller: Killing '(?P<process>[^']+)' \((?P<pid>\d+)\).*?adj (?P<adj>-?\d+)", re.ASCII),
    re.compile(
        r"(?P<reason>(?:Memory cgroup o|O)ut of memory)[^:]*: Kill(?:ed)? process (?P<pid>\d+) \((?P<process>[^)]+)\)"
        r"(?:.*?anon-rss:(?P<rss>\d+)kB)?(?:.*?UID:(?P<uid>\d+))?(?:.*?oom_score_adj:(?P<adj>-?\d+))?",
        re.ASCII,
    ),
)


def parse_kernel_log(text: str, now_s: float) -> list[Kill]:
    """Kills that dmesg tells of, up to the line that was written at ``now_s`` (seconds since the epoch)."""
    before, marker, _ = text.rpartition(_NOW)
    now = _KERNEL_STAMP.match(before.rpartition("\n")[2])
    if not marker or now is None:
        return []
    zero_s = now_s - float(now[1])
    return [kill for line in before.splitlines() if (kill := _kernel_kill(line[:_LONGEST_LINE], zero_s))]


def _kernel_kill(line: str, zero_s: float) -> Kill | None:
    """``zero_s`` is when the kernel's log began to count, in seconds since the epoch."""
    stamp = _KERNEL_STAMP.match(line)
    found = next((match for pattern in _KERNEL_LINES if (match := pattern.search(line))), None)
    if stamp is None or found is None:
        return None
    said = found.groupdict()
    by = KilledBy.lmkd if "lowmemorykiller: Kill '" in line else KilledBy.kernel
    pid, uid, adj, rss = (number_or_none(said.get(key) or "", least=_LEAST_ADJ) for key in ("pid", "uid", "adj", "rss"))
    if pid is None:
        return None
    reason = (said.get("reason") or "").strip().lower()
    return Kill(zero_s + float(stamp[1]), pid, by, uid, said["process"], adj, reason, rss)


def _merged(kills: Iterable[Kill]) -> list[Kill]:
    """One entry per death, oldest first: the event log's where both logs have it, with what only the other says."""
    merged: list[Kill] = []
    for kill in kills:
        twin = next(
            (k for k in merged if k.pid == kill.pid and abs(k.t_epoch_s - kill.t_epoch_s) <= _SAME_DEATH_S), None
        )
        if twin is None:
            merged.append(kill)
            continue
        told = {name: getattr(kill, name) for name in ("uid", "process", "adj", "rss_kib")}
        merged[merged.index(twin)] = replace(
            twin, **{name: value for name, value in told.items() if getattr(twin, name) is None}
        )
    return sorted(merged, key=lambda kill: kill.t_epoch_s)
