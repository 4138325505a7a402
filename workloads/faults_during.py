"""Latency of page faults while a writeback runs: pages in RAM slots, written-back ones, and ones in flight.

Two areas are swapped out. A half of the first is written back beforehand; the second, the victim, is written back while
pages of both are touched in turn (the probe's command ``race``). Conditions, quiet among them, are visited in rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from base.units import MIB
from devices.capability import Capability
from devices.probe.replies import Raced, Touched
from devices.profiles.sections import PageKind
from records import tests as t
from records.model import Caveat, RunResult
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.faults import (
    RAM,
    READS_CHECK,
    RECORD,
    SAMPLES_FILE,
    WRITTEN_BACK,
    algorithm_of,
    check_reads,
    probe_overhead,
    swap_out,
    touch_all,
    touch_seed,
    write_back_half,
)
from workloads.pace import Pace
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured, write_attribute
from workloads.turns import NO_SAMPLES, Samples, faults_by_turn, median_of, share_of_faults, with_rounds_of_faults

IN_FLIGHT, LATE = 2, 3
SLOTS = {RAM: "ram", WRITTEN_BACK: "written_back", IN_FLIGHT: "in_flight"}
# A writeback that is over before enough pages were touched is followed by others of the same turn, up to so many.
_MOST_RACES = 4
_NEXT_RACE = 0x9E37
_AREA, _VICTIM = "touched", "victim"
_LIMIT_S = 600.0
_FIRST_VICTIM_BYTES, _FEWEST_VICTIM_PAGES = 4 * MIB, 256
_WRITES_CHECK = "writes of the writeback (backing device against bd_stat)"


@dataclass(frozen=True, slots=True)
class RaceCondition:
    """One condition: a writeback at ``batch_size`` runs meanwhile, or nothing does (``running`` False: quiet)."""

    running: bool
    batch_size: int | None = None

    @property
    def slots(self) -> Sequence[str]:
        """Return the slots in which a page may be when it is touched; on a quiet phone none is in flight."""
        return [slot for slot in SLOTS.values() if self.running or slot != SLOTS[IN_FLIGHT]]

    def __str__(self) -> str:
        return f"batch-{self.batch_size or 1}" if self.running else "quiet"


@dataclass(slots=True)
class RaceTurn:
    """What one turn of a condition measured: one race, or several where the writeback was short.

    ``wanted`` is how many samples of each slot it should have. A victim that was touched after its write (``late``) is
    counted and is no sample; one that still waited for its write (``waiting``) is counted and is one. ``checks``
    compare what was measured with the kernel's counters.
    """

    wanted: int
    parts: dict[str, list[Samples]] = field(default_factory=dict)
    races: int = 0
    majflt: int = 0
    late: int = 0
    waiting: int = 0
    relabelled: int = 0
    checks: dict[str, dict[str, float]] = field(default_factory=dict)

    def latencies(self, slot: str) -> Samples:
        """Return the samples of a slot, in ns."""
        return np.concatenate(self.parts.get(slot, [NO_SAMPLES]))

    def lacks(self, slots: Sequence[str]) -> bool:
        """Say whether one of these slots has fewer samples than were wanted."""
        return any(self.latencies(slot).size < self.wanted for slot in slots)

    def take(self, records: npt.NDArray[np.void]) -> None:
        """Add the samples of a race."""
        for label, slot in SLOTS.items():
            self.parts.setdefault(slot, []).append(records["ns"][records["label"] == label].astype(np.uint64))
        self.races += 1

    def check(self, name: str, expected: int, seen: int) -> None:
        """Add a race's numbers to a check."""
        _add(self.checks, {name: {"expected": expected, "seen": seen}})


@dataclass(slots=True)
class FaultsDuring:
    """All turns of all conditions, filled on the way; the quiet one comes first."""

    conditions: Sequence[RaceCondition] = ()
    rounds: Rounds[RaceCondition, RaceTurn] = field(default_factory=Rounds)
    overhead: Mapping[str, int] = field(default_factory=dict)
    algorithm: str = ""

    def turns(self, condition: RaceCondition) -> list[RaceTurn]:
        """Return what a condition's turns measured, in order of time."""
        return self.rounds.values(condition)

    def latencies(self, condition: RaceCondition, slot: str) -> Samples:
        """Return a slot's samples of all turns, in ns."""
        return np.concatenate([NO_SAMPLES, *(turn.latencies(slot) for turn in self.turns(condition))])

    def late(self, condition: RaceCondition) -> int:
        """Return how many pages of the victim were touched after their write."""
        return sum(turn.late for turn in self.turns(condition))

    def waiting(self, condition: RaceCondition) -> int:
        """Return how many pages of the victim were touched before their write was begun."""
        return sum(turn.waiting for turn in self.turns(condition))

    def checks(self, condition: RaceCondition) -> dict[str, dict[str, float]]:
        """Return the cross-checks with the kernel's counters, over all turns."""
        found: dict[str, dict[str, float]] = {}
        for turn in self.turns(condition):
            _add(found, turn.checks)
        return found

    def share_in_flight(self, condition: RaceCondition) -> float:
        """Return the share of the samples in flight whose write had begun; the other pages still waited."""
        touched = self.latencies(condition, SLOTS[IN_FLIGHT]).size
        return 1 - min(self.waiting(condition), touched) / touched if touched else 0.0


def steps_of(stage: Stage) -> int:
    """Return how many steps ``measure_faults_during_writeback`` reports at least."""
    return RoundsPlan().fewest * len(_conditions(stage))


def measure_faults_during_writeback(
    bench: Bench, into: FaultsDuring, now: Callable[[], float] = time.monotonic
) -> None:  # fmt: skip
    """Measure quiet faults and those during a writeback at each batch size, in rounds.

    ``into`` is filled on the way, so it keeps what it has if the phone is lost. Raises NothingMeasured when the kernel
    counted other reads than were measured.
    """
    bench = with_rounds_of_faults(bench)
    stage, plan = bench.stage, bench.rounds
    into.overhead = probe_overhead(bench)
    quiet, *running = into.conditions = _conditions(stage)
    pace = Pace(plan, share_of_faults(bench), now)
    races = _Races(bench, pace, into.rounds)
    stage.as_swap(4 * pace.wanted + 2 * races.most_victim)
    into.algorithm = algorithm_of(stage)
    measure_in_rounds(
        bench, into.conditions, races.turn, into=into.rounds, now=now, told=lambda point: f"faults, writeback {point}",
        primary=lambda turn: median_of(turn.latencies(SLOTS[WRITTEN_BACK])),
        ratios=[(condition, quiet) for condition in running],
    )  # fmt: skip


def during_writeback_results(bench: Bench, found: FaultsDuring) -> list[RunResult]:
    """Make the records: one for each condition and slot."""
    return [
        _result(bench, found, condition, slot)
        for condition in found.conditions
        for slot in condition.slots
        if found.latencies(condition, slot).size
    ]


def _result(bench: Bench, found: FaultsDuring, condition: RaceCondition, slot: str) -> RunResult:
    turns = found.turns(condition)
    proof = {}
    if slot == SLOTS[IN_FLIGHT]:
        proof = {
            "share_in_flight": round(found.share_in_flight(condition), 4),
            "late": found.late(condition),
            "waiting": found.waiting(condition),
            "relabelled": sum(turn.relabelled for turn in turns),
        }
    doubts = found.rounds.caveats(condition)
    if found.latencies(condition, slot).size < sum(turn.wanted for turn in turns):
        doubts.append(Caveat.few_samples)
    return RunResult(
        test=t.FAULTS_WRITEBACK.name,
        title=bench.title,
        params={
            "slot": slot,
            "batch_size": condition.batch_size,
            "writeback": "running" if condition.running else "quiet",
            "comp_algorithm": found.algorithm,
        },
        metrics={},
        raw=faults_by_turn(bench, f"fault-during-{condition}-{slot}", [turn.latencies(slot) for turn in turns]),
        # The kernel counts all slots together: one record of each condition has the checks.
        checks=found.checks(condition) if slot == SLOTS[RAM] else {},
        caveats=doubts,
        facts={
            "probe_overhead_ns": found.overhead,
            "races": sum(turn.races for turn in turns),
            "major_faults_of_all_slots": sum(turn.majflt for turn in turns),
            **proof,
            **found.rounds.facts(),
        },
        turns=found.rounds.turns(condition),
    )


def _conditions(stage: Stage) -> list[RaceCondition]:
    batch_sizes = stage.batch_sizes(stage.profile.faults.batch_sizes)
    return [RaceCondition(False), *(RaceCondition(True, batch) for batch in batch_sizes)]


def _add(checks: dict[str, dict[str, float]], more: Mapping[str, Mapping[str, float]]) -> None:
    for name, numbers in more.items():
        known = checks.setdefault(name, {"expected": 0, "seen": 0})
        for side in known:
            known[side] += numbers[side]


class _Races:
    """Measures turns into ``rounds``, at the pace of the rounds; remembers how long a victim each condition needs."""

    def __init__(self, bench: Bench, pace: Pace, rounds: Rounds[RaceCondition, RaceTurn]) -> None:
        self.bench = bench
        self.pace = pace
        self.rounds = rounds
        self.most_victim = _most_victim_pages(bench.stage, 2 * pace.wanted)
        # Pages of the victim for each page that is touched.
        self._victim: dict[RaceCondition, float] = {}

    def turn(self, condition: RaceCondition, number: int) -> RaceTurn:
        """Measure one turn of a condition."""
        found = RaceTurn(self.pace.samples(self.rounds.count))
        for race in range(_MOST_RACES):
            self._once(condition, found, self.bench.seed + number + race * _NEXT_RACE)
            if not found.lacks(condition.slots):
                break
        return found

    def _once(self, condition: RaceCondition, found: RaceTurn, seed: int) -> None:
        bench, stage, pages = self.bench, self.bench.stage, 2 * found.wanted
        bench.probe.fill_area(_AREA, pages * stage.page_bytes, mix=PageKind.compressible.mix, seed=seed)
        try:
            swap_out(bench, _AREA, pages)
            write_back_half(bench, _AREA, found.wanted, seed)
            if condition.running:
                self._race(condition, found, seed)
            else:
                records, reply = touch_all(bench, _AREA, seed)
                _keep(stage, found, records, reply)
        finally:
            bench.probe.drop(_AREA)

    def _race(self, condition: RaceCondition, found: RaceTurn, seed: int) -> None:
        bench, stage, probe = self.bench, self.bench.stage, self.bench.probe
        pages = self._victim_pages(condition, 2 * found.wanted)
        # All of one size class: zram writes each class in an order of its own.
        probe.fill_area(_VICTIM, pages * stage.page_bytes, mix=PageKind.incompressible.mix, seed=seed + 1)
        try:
            swap_out(bench, _VICTIM, pages)
            if condition.batch_size is not None:
                write_attribute(bench, "writeback_batch_size", str(condition.batch_size))
            several = Capability.page_indexes in stage.device.capabilities
            reply = probe.race(
                _AREA, victim=_VICTIM, zram=stage.zram.number, disk=stage.backing.name, seed=touch_seed(seed),
                out=SAMPLES_FILE, grammar=None if several else "page_index", seconds=_LIMIT_S,
            )  # fmt: skip
        finally:
            probe.drop(_VICTIM)
        records = bench.fetch(SAMPLES_FILE, RECORD, reply.samples)
        _count_victims(stage, found, records, reply)
        _keep(stage, found, records, reply)
        self._victim[condition] = _victim_needed(pages, 2 * found.wanted, records, reply)

    def _victim_pages(self, condition: RaceCondition, area_pages: int) -> int:
        stage = self.bench.stage
        per_page = self._victim.get(condition)
        wanted = stage.pages(_FIRST_VICTIM_BYTES) if per_page is None else int(per_page * area_pages)
        return min(max(wanted, _FEWEST_VICTIM_PAGES), self.most_victim)


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


def _keep(stage: Stage, found: RaceTurn, records: npt.NDArray[np.void], reply: Touched | Raced) -> None:
    found.take(records)
    found.majflt += reply.majflt
    from_storage = int(np.isin(records["label"], (WRITTEN_BACK, LATE)).sum())
    reads = stage.pages_4k(reply.read_4k)
    found.check(READS_CHECK, from_storage, reads)
    check_reads(stage, from_storage, reads)
