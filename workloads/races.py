"""One race: pages are touched in turn with pages of another area, the victim, while that one is written back.

Its control is the same loop while nothing is written. A page is compared with the same page there, which has the same
content: those of the area with each other, and those of the victim. What was touched is counted against the kernel's
own books (the probe's command ``race``, probe/README.md).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from base.units import MIB
from devices.capability import Capability
from devices.probe.replies import Raced
from devices.profiles.sections import PageKind
from workloads.bench import Bench
from workloads.faults import (
    RAM,
    READS_CHECK,
    RECORD,
    SAMPLES_FILE,
    WRITTEN_BACK,
    check_reads,
    swap_out,
    touch_seed,
    write_back_half,
)
from workloads.pace import Pace
from workloads.rounds import Rounds
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured, write_attribute
from workloads.turns import NO_SAMPLES, Samples

IN_FLIGHT, LATE, VICTIM = 2, 3, 4
SLOTS = {RAM: "ram", WRITTEN_BACK: "written_back", IN_FLIGHT: "in_flight", VICTIM: "victim"}
# What the probe counts apart and is of the slot nonetheless: pages in flight that were touched too late.
_ALSO = {SLOTS[IN_FLIGHT]: "late"}
# A writeback that is over before enough pages were touched is followed by others of the same turn, up to so many.
_MOST_RACES = 4
_NEXT_RACE = 0x9E37
# No turn of a run has so high a number.
_BEFORE_ALL_TURNS = 0x10000
_AREA, _VICTIM = "touched", "victim"
_PAGES = PageKind.compressible
# zram writes each size class in an order of its own. Only pages that do not compress are all of one class: of others a
# twentieth is not, and the aim at what is in flight would be off by more with each page.
_VICTIM_PAGES = PageKind.incompressible
_LIMIT_S = 600.0
_FIRST_VICTIM_BYTES, _FEWEST_VICTIM_PAGES = 4 * MIB, 256
_WRITES_CHECK = "writes of the writeback (backing device against bd_stat)"


class Meanwhile(StrEnum):
    """What runs while pages are touched: nothing, a thread that only burns CPU time as the writer, or a writeback."""

    quiet = "quiet"
    cpu = "cpu"
    running = "running"


_WRITER = {Meanwhile.quiet: "none", Meanwhile.cpu: "burn", Meanwhile.running: "write"}


@dataclass(frozen=True, slots=True)
class RaceCondition:
    """One condition; ``batch_size`` is that of the writeback, if one runs."""

    meanwhile: Meanwhile
    batch_size: int | None = None

    @property
    def running(self) -> bool:
        """Whether a writeback runs."""
        return self.meanwhile is Meanwhile.running

    @property
    def slots(self) -> Sequence[str]:
        """Return the slots in which a page may be when it is touched; pages of the victim are in flight or in RAM."""
        other = SLOTS[VICTIM if self.running else IN_FLIGHT]
        return [slot for slot in SLOTS.values() if slot != other]

    def __str__(self) -> str:
        return f"batch-{self.batch_size or 1}" if self.running else str(self.meanwhile)


@dataclass(slots=True)
class RaceTurn:
    """What one turn of a condition measured: one race, or several where the writeback was short.

    ``wanted`` is how many samples of each slot it should have. A victim that was touched after its write (``late``) is
    counted and is no sample; one that still waited for its write (``waiting``) is counted and is one. ``corrupt``
    counts by slot the pages that did not hold what they should. ``cpu_ns`` of ``wall_ns`` is what the writing thread
    ran, or the one in its place. ``ahead`` is how many writes were in flight when each fault on a written-back page
    began. ``checks`` compare what was measured with the kernel's counters.
    """

    wanted: int
    parts: dict[str, list[Samples]] = field(default_factory=dict)
    races: int = 0
    majflt: int = 0
    late: int = 0
    waiting: int = 0
    relabelled: int = 0
    cpu_ns: int = 0
    wall_ns: int = 0
    burn_percent: int | None = None
    ahead: list[Samples] = field(default_factory=list)
    corrupt: Counter[str] = field(default_factory=Counter)
    checks: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def cpu_share(self) -> float:
        """The share of a CPU that the writing thread took, or the one in its place."""
        return self.cpu_ns / max(self.wall_ns, 1)

    def latencies(self, slot: str) -> Samples:
        """Return the samples of a slot, in ns."""
        return np.concatenate(self.parts.get(slot, [NO_SAMPLES]))

    @property
    def writes_ahead(self) -> float:
        """How many writes were in flight, on the average, when a fault on a written-back page began."""
        ahead = np.concatenate([NO_SAMPLES, *self.ahead])
        return float(ahead.mean()) if ahead.size else math.nan

    def lacks(self, slots: Sequence[str]) -> bool:
        """Say whether one of these slots has fewer samples than were wanted."""
        return any(self.latencies(slot).size < self.wanted for slot in slots)

    def take(self, records: npt.NDArray[np.void], reply: Raced) -> None:
        """Add the samples of a race, and what the probe counted."""
        for label, slot in SLOTS.items():
            self.parts.setdefault(slot, []).append(records["ns"][records["label"] == label].astype(np.uint64))
            self.corrupt[slot] += reply.corrupt[slot] + reply.corrupt.get(_ALSO.get(slot, ""), 0)
        self.ahead.append(records["ahead"][records["label"] == WRITTEN_BACK].astype(np.uint64))
        self.races += 1
        self.majflt += reply.majflt
        self.cpu_ns += reply.user_ns + reply.sys_ns
        self.wall_ns += reply.wall_ns

    def check(self, name: str, expected: int, seen: int) -> None:
        """Add a race's numbers to a check."""
        add_checks(self.checks, {name: {"expected": expected, "seen": seen}})


def add_checks(checks: dict[str, dict[str, float]], more: Mapping[str, Mapping[str, float]]) -> None:
    """Add the numbers of checks to those of the same name."""
    for name, numbers in more.items():
        known = checks.setdefault(name, {"expected": 0, "seen": 0})
        for side in known:
            known[side] += numbers[side]


def percent_to_burn(writers: Sequence[RaceTurn]) -> int:
    """Return the share of a CPU that the writers of these turns took, in per cent: the median.

    One turn alone may be off: what a host takes from a virtual CPU counts as CPU time there.
    """
    return min(100, round(100 * median(turn.cpu_share for turn in writers)))


class Races:
    """Measures turns into ``rounds``, at the pace of the rounds; remembers how long a victim each condition needs.

    The thread of the condition cpu burns as large a share of a CPU as the writer took in the turns of the condition
    ``like``; these are added to ``writers``.
    """

    def __init__(
        self, bench: Bench, pace: Pace, rounds: Rounds[Any, RaceTurn], like: RaceCondition,
        writers: list[RaceTurn],
    ) -> None:  # fmt: skip
        self.bench = bench
        self.pace = pace
        self.rounds = rounds
        self.like = like
        self.writers = writers
        self.most_victim = _most_victim_pages(bench.stage, 2 * pace.wanted)
        # Pages of the victim for each page that is touched.
        self._victim: dict[RaceCondition, float] = {}

    def turn(self, condition: RaceCondition, number: int) -> RaceTurn:
        """Measure one turn of a condition."""
        found = RaceTurn(self.pace.samples(self.rounds.count))
        if condition.meanwhile is Meanwhile.cpu:
            found.burn_percent = self._burn_percent()
        for race in range(_MOST_RACES):
            self._once(condition, found, self.bench.seed + number + race * _NEXT_RACE)
            if not found.lacks(condition.slots):
                break
        if condition == self.like:
            self.writers.append(found)
        return found

    def _burn_percent(self) -> int:
        """What writers took so far; where there was none yet, a race is run for it that is no turn."""
        if not self.writers:
            self.turn(self.like, _BEFORE_ALL_TURNS)
        return percent_to_burn(self.writers)

    def _once(self, condition: RaceCondition, found: RaceTurn, seed: int) -> None:
        bench, stage, pages = self.bench, self.bench.stage, 2 * found.wanted
        victims = self._victim_pages(condition, pages) if condition.running else min(pages, self.most_victim)
        with _swapped_out(bench, _AREA, pages, _PAGES, seed):
            write_back_half(bench, _AREA, found.wanted, seed)
            with _swapped_out(bench, _VICTIM, victims, _VICTIM_PAGES, seed + 1):
                reply = self._race(condition, seed, found.burn_percent)
        records = bench.fetch(SAMPLES_FILE, RECORD, reply.samples)
        _count_victims(stage, found, records, reply)
        _keep(stage, found, records, reply)
        if condition.running:
            self._victim[condition] = _victim_needed(victims, pages, records, reply)

    def _race(self, condition: RaceCondition, seed: int, burn_percent: int | None) -> Raced:
        bench, stage = self.bench, self.bench.stage
        if condition.batch_size is not None:
            write_attribute(bench, "writeback_batch_size", str(condition.batch_size))
        several = Capability.page_indexes in stage.device.capabilities
        return bench.probe.race(
            _AREA, victim=_VICTIM, zram=stage.zram.number, disk=stage.backing.name, seed=touch_seed(seed),
            out=SAMPLES_FILE, grammar=None if several else "page_index", writer=_WRITER[condition.meanwhile],
            burn_percent=burn_percent, seconds=_LIMIT_S,
        )  # fmt: skip

    def _victim_pages(self, condition: RaceCondition, area_pages: int) -> int:
        stage = self.bench.stage
        per_page = self._victim.get(condition)
        wanted = stage.pages(_FIRST_VICTIM_BYTES) if per_page is None else int(per_page * area_pages)
        return min(max(wanted, _FEWEST_VICTIM_PAGES), self.most_victim)


@contextmanager
def _swapped_out(bench: Bench, name: str, pages: int, kind: PageKind, seed: int) -> Iterator[None]:
    """Make an area of so many pages and move it to zram; it is gone after the scope."""
    bench.probe.fill_area(name, pages * bench.stage.page_bytes, mix=kind.mix, seed=seed)
    try:
        swap_out(bench, name, pages)
        yield
    finally:
        bench.probe.drop(name)


def _victim_needed(pages: int, area_pages: int, records: npt.NDArray[np.void], reply: Raced) -> float:
    """Return the pages of a victim for each page of the area, so that it is written for a quarter longer than touched.

    ``pages`` is how many this race's victim had.
    """
    touched = int(np.isin(records["label"], (RAM, WRITTEN_BACK)).sum())
    if touched < area_pages:
        needed = area_pages / max(touched, 1)
    else:
        needed = int(records["t_ns"][-1] - records["t_ns"][0]) / max(reply.wall_ns, 1)
    return min(max(1.25 * needed, 0.25), 4.0) * pages / area_pages


def _most_victim_pages(stage: Stage, area_pages: int) -> int:
    """Return a third of what the backing device and free memory have room for: the victim's pages do not compress."""
    meminfo = dict(line.split()[:2] for line in stage.device.read("/proc/meminfo").splitlines())
    available = int(meminfo["MemAvailable:"]) * 1024 // stage.page_bytes
    return max(stage.pages(MIB), min(stage.backing_pages - area_pages, available) // 3)


def _count_victims(stage: Stage, found: RaceTurn, records: npt.NDArray[np.void], reply: Raced) -> None:
    """Count late and waiting victims, and correct in place which are late."""
    late = stage.pages_4k(reply.read_4k) - int((records["label"] == WRITTEN_BACK).sum())
    found.relabelled += _settle_late(stage, records, late)
    found.late += late
    if reply.calls:
        # Pages touched before their write was begun are never written.
        found.waiting += reply.victims - reply.device_writes
    found.check(_WRITES_CHECK, reply.device_writes, stage.pages_4k(reply.written_4k))


def _settle_late(stage: Stage, records: npt.NDArray[np.void], late: int) -> int:
    """Correct in place which victims were touched after their write; return how many labels changed.

    The probe labels a touch by the backing device's counter, which the kernel raises just after it wakes the reader. So
    now and then it sees a read with the touch before or after. bd_stat has the exact number of reads, and the slowest
    touches were the reads.
    """
    victims = np.flatnonzero((records["label"] == IN_FLIGHT) | (records["label"] == LATE))
    flagged = int((records["label"] == LATE).sum())
    wrong = abs(flagged - late)
    if late < 0 or wrong > max(3, 0.02 * victims.size):
        raise NothingMeasured(
            f"{stage.device.serial}: {flagged} of {victims.size} pages were read from storage by the disk's counter, "
            f"by bd_stat {late}",
            hint="another program reads this zram's written-back pages; stop it and run again",
        )
    if wrong:
        now, then = (LATE, IN_FLIGHT) if flagged > late else (IN_FLIGHT, LATE)
        candidates = victims[records["label"][victims] == now]
        by_time = candidates[np.argsort(records["ns"][candidates], kind="stable")]
        records["label"][by_time[:wrong] if now == LATE else by_time[-wrong:]] = then
    return wrong


def _keep(stage: Stage, found: RaceTurn, records: npt.NDArray[np.void], reply: Raced) -> None:
    found.take(records, reply)
    from_storage = int(np.isin(records["label"], (WRITTEN_BACK, LATE)).sum())
    reads = stage.pages_4k(reply.read_4k)
    found.check(READS_CHECK, from_storage, reads)
    check_reads(stage, from_storage, reads)
