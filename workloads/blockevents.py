"""Reads block-layer events as the kernel prints them; finds depth over time and latency of requests in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

# " kworker/u8:1-123 [001] ..... 12.345678: block_rq_issue: 7,0 W 4096 () 2048 + 8 none,0,0 [kworker/u8:1]". Before
# 6.9 without the I/O priority; the complete event has "()" and an error in place of the bytes and the task.
_EVENT = re.compile(
    r"-(?P<tid>\d+)\s+(?:\(\s*\S+\)\s+)?\[\d+\]\s+\S+\s+(?P<s>\d+)\.(?P<us>\d{6}): "
    r"block_rq_(?P<what>issue|complete): (?P<major>\d+),(?P<minor>\d+) (?P<flags>\S+) (?:\d+ )?\(.*?\) "
    r"(?P<sector>\d+) \+ (?P<sectors>\d+)"
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Time in ns of CLOCK_MONOTONIC, to the microsecond; ``disk`` is "7:0"; sectors of 512 bytes."""

    ns: int
    issue: bool
    disk: str
    flags: str
    sector: int
    sectors: int
    tid: int

    @property
    def write(self) -> bool:
        """Say whether it is a write of data; discards and bare flushes are not."""
        return "W" in self.flags and "D" not in self.flags and self.sectors > 0

    @property
    def read(self) -> bool:
        return "R" in self.flags and self.sectors > 0


@dataclass(frozen=True, slots=True)
class Request:
    """One request from issue to completion."""

    disk: str
    flags: str
    sector: int
    sectors: int
    issued_ns: int
    completed_ns: int
    tid: int


@dataclass(frozen=True, slots=True)
class Depth:
    """How many writes were in flight between the first issue and the last completion.

    ``share_at`` maps a depth to its share of that time; they add up to 1.
    """

    mean: float
    max: int
    share_at: Mapping[int, float]
    flags: Mapping[str, int]
    requests: int


def parse_events(text: str) -> list[Event]:
    """Read the block events of a trace, in the order of their times; other lines are passed over."""
    found = []
    for match in _EVENT.finditer(text):
        ns = int(match["s"]) * 1_000_000_000 + int(match["us"]) * 1000
        disk = f"{match['major']}:{match['minor']}"
        size = (int(match["sector"]), int(match["sectors"]))
        found.append(Event(ns, match["what"] == "issue", disk, match["flags"], *size, int(match["tid"])))
    return found


def write_depth(events: Iterable[Event], disk: str) -> Depth | None:
    """Return the depth of one disk's writes; None where none was issued and completed.

    A request is known by its sector. A request that is issued again after a requeue is counted once. A completion
    without an issue is not counted: its request began before the recording.
    """
    open_sectors: set[int] = set()
    time_at: Counter[int] = Counter()
    flags: Counter[str] = Counter()
    last_ns, peak = 0, 0
    for event in events:
        if event.disk != disk or not event.write:
            continue
        if not event.issue and event.sector not in open_sectors:
            continue
        if flags:
            time_at[len(open_sectors)] += event.ns - last_ns
        last_ns = event.ns
        if event.issue:
            flags[event.flags] += event.sector not in open_sectors
            open_sectors.add(event.sector)
            peak = max(peak, len(open_sectors))
        else:
            open_sectors.discard(event.sector)
    total = sum(time_at.values())
    if not total:
        return None
    share = {depth: ns / total for depth, ns in sorted(time_at.items()) if ns}
    mean = sum(depth * part for depth, part in share.items())
    return Depth(mean, peak, share, dict(flags), sum(flags.values()))


def requests(events: Iterable[Event], disk: str, *, reads: bool) -> list[Request]:
    """Return the requests of one disk that were issued and completed, in the order of their completion."""
    pending: dict[int, Event] = {}
    done = []
    for event in events:
        if event.disk != disk or not (event.read if reads else event.write):
            continue
        if event.issue:
            pending[event.sector] = event
        elif (begun := pending.pop(event.sector, None)) is not None:
            done.append(Request(disk, begun.flags, event.sector, begun.sectors, begun.ns, event.ns, begun.tid))
    return done


def served_by(
    upper: Sequence[Request], lower: Sequence[Request], place: Callable[[int], int | None]
) -> list[tuple[Request, Request]]:
    """Pair each request with the one below that served it: at the sector that ``place`` gives, within its time.

    A request without exactly one such request below is left out, as when a layer in between merged or moved it.
    """
    at: dict[int, list[Request]] = {}
    for request in lower:
        at.setdefault(request.sector, []).append(request)
    pairs = []
    for request in upper:
        sector = place(request.sector)
        within = [
            below
            for below in at.get(-1 if sector is None else sector, [])
            if below.issued_ns >= request.issued_ns and below.completed_ns <= request.completed_ns
        ]
        if len(within) == 1:
            pairs.append((request, within[0]))
    return pairs
