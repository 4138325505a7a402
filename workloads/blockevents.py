"""Finds depth over time, distances and latency of requests in block-layer events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from base.kernel import SECTORS_PER_4K
from records.block_events import Event


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

    ``share_at`` maps a depth to its share of that time; they add up to 1. ``pages_mean`` counts pages of 4 KiB where
    ``mean`` counts requests. ``steps`` are the distances from one write's end to the next, as ``step_of`` names them.
    None: the counters of a disk do not tell it.
    """

    mean: float
    max: int
    share_at: Mapping[int, float]
    flags: Mapping[str, int]
    requests: int
    pages_mean: float | None = None
    steps: Mapping[str, int] = field(default_factory=dict)

    @property
    def idle_percent(self) -> float | None:
        """Return the share of the time in which no write was in flight; None where the depth over time is unknown."""
        return 100 * self.share_at.get(0, 0.0) if self.share_at else None


STEPS: tuple[str, ...] = ("back", "0", "1", "16", "256", "4096")
"""names of distances: backwards, or so many pages of 4 KiB at least and fewer than the next name says"""


def step_of(sectors: int) -> str:
    """Return the name of a distance in sectors."""
    if sectors < 0:
        return STEPS[0]
    pages = -(-sectors // SECTORS_PER_4K)
    return next(name for name in reversed(STEPS[1:]) if pages >= int(name))


def write_depth(events: Iterable[Event], disk: str) -> Depth | None:
    """Return the depth of one disk's writes; None where none was issued and completed.

    A request is known by its sector. A request that is issued again after a requeue is counted once. A completion
    without an issue is not counted: its request began before the recording.
    """
    flow = _Flow()
    for event in events:
        if event.disk == disk and event.write:
            flow.take(event)
    return flow.depth()


@dataclass
class _Flow:
    """Writes of one disk on their way: what is open by its sector, and for how long how much of it was."""

    open: dict[int, int] = field(default_factory=dict)
    time_at: Counter[int] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    sector_ns: int = 0
    last_ns: int = 0
    last_end: int | None = None
    peak: int = 0

    def take(self, event: Event) -> None:
        if not event.issue and event.sector not in self.open:
            return
        if self.flags:
            self.time_at[len(self.open)] += event.ns - self.last_ns
            self.sector_ns += sum(self.open.values()) * (event.ns - self.last_ns)
        self.last_ns = event.ns
        if not event.issue:
            self.open.pop(event.sector, None)
            return
        if event.sector not in self.open:
            self.flags[event.flags] += 1
            if self.last_end is not None:
                self.steps[step_of(event.sector - self.last_end)] += 1
            self.last_end = event.sector + event.sectors
        self.open[event.sector] = event.sectors
        self.peak = max(self.peak, len(self.open))

    def depth(self) -> Depth | None:
        total = sum(self.time_at.values())
        if not total:
            return None
        share = {depth: ns / total for depth, ns in sorted(self.time_at.items()) if ns}
        mean = sum(depth * part for depth, part in share.items())
        pages = self.sector_ns / total / SECTORS_PER_4K
        return Depth(mean, self.peak, share, dict(self.flags), sum(self.flags.values()), pages, dict(self.steps))


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
