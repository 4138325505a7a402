"""Latency of page faults while a writeback runs: pages in RAM slots, written-back ones, and ones in flight.

Two areas are swapped out. A half of the first is written back beforehand; the second, the victim, is written back while
pages of both are touched in turn (the probe's command ``race``). Conditions, quiet among them, take turns in shuffled
order, so that drift falls on all alike.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from base.units import MIB
from devices.capability import Capability
from devices.probe.replies import Raced, Touched
from devices.profiles.sections import PageKind
from records import metrics as m
from records import tests as t
from records.model import Caveat, RunResult
from workloads.bench import Bench
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
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured, write_attribute

IN_FLIGHT, LATE = 2, 3
SLOTS = {RAM: "ram", WRITTEN_BACK: "written_back", IN_FLIGHT: "in_flight"}
TURNS = 4
# A fast phone writes the victim back before enough pages are touched: then it takes more turns, up to this many.
_MOST_TURNS = 40
_AREA, _VICTIM = "touched", "victim"
_LIMIT_S = 600.0
_FIRST_VICTIM_BYTES = 16 * MIB


@dataclass(slots=True)
class RaceCondition:
    """One condition: a writeback at ``batch_size`` runs meanwhile, or nothing does (``running`` False: quiet).

    ``samples`` maps a slot to its latencies (ns, uint64), an array for each turn. A victim that was touched after its
    write (``late``) is counted and is no sample; one that still waited for its write (``waiting``) is counted and is
    one. ``checks`` compare what was measured with the kernel's counters.
    """

    running: bool
    batch_size: int | None = None
    samples: dict[str, list[npt.NDArray[np.uint64]]] = field(default_factory=dict)
    turns: int = 0
    majflt: int = 0
    late: int = 0
    waiting: int = 0
    relabelled: int = 0
    checks: dict[str, dict[str, float]] = field(default_factory=dict)
    victim_pages: int = 0
    overhead: Mapping[str, int] = field(default_factory=dict)

    def count(self, slot: str) -> int:
        """Return how many samples a slot has."""
        return sum(part.size for part in self.samples.get(slot, []))

    def latencies(self, slot: str) -> npt.NDArray[np.uint64]:
        """Return a slot's samples of all turns."""
        return np.concatenate(self.samples[slot])

    @property
    def share_in_flight(self) -> float:
        """Return the share of the samples in flight whose write had begun; the other pages still waited."""
        touched = self.count("in_flight")
        return 1 - min(self.waiting, touched) / touched if touched else 0.0

    def take(self, records: npt.NDArray[np.void]) -> None:
        """Add the samples of a turn."""
        for label, slot in SLOTS.items():
            chosen = records["ns"][records["label"] == label].astype(np.uint64)
            if chosen.size:
                self.samples.setdefault(slot, []).append(chosen)

    def check(self, name: str, expected: int, seen: int) -> None:
        """Add a turn's numbers to a check."""
        known = self.checks.setdefault(name, {"expected": 0, "seen": 0})
        known["expected"] += expected
        known["seen"] += seen


def steps_of(stage: Stage) -> int:
    """Return how many steps ``measure_faults_during_writeback`` reports at least."""
    return TURNS * (1 + len(stage.batch_sizes(stage.profile.faults.batch_sizes)))


def measure_faults_during_writeback(bench: Bench) -> list[RaceCondition]:
    """Measure quiet faults and those during a writeback at each batch size; quiet comes first in the result.

    Raises NothingMeasured when the kernel counted other reads than were measured.
    """
    stage, wanted = bench.stage, bench.stage.profile.faults
    overhead = probe_overhead(bench)
    conditions = [
        RaceCondition(False, overhead=overhead),
        *(RaceCondition(True, batch, overhead=overhead) for batch in stage.batch_sizes(wanted.batch_sizes)),
    ]
    per_turn = -(-wanted.samples // TURNS)
    most_victim = _most_victim_pages(stage, 2 * per_turn)
    stage.as_swap(4 * per_turn + 2 * most_victim)
    for condition in conditions:
        condition.victim_pages = min(stage.pages(_FIRST_VICTIM_BYTES), most_victim)
    shuffler = random.Random(bench.seed)
    for turn in range(_MOST_TURNS):
        open_ones = [c for c in conditions if not _enough(c, wanted.samples)]
        for condition in shuffler.sample(open_ones, len(open_ones)):
            bench.progress(f"faults {_words(condition)}, turn {turn + 1}")
            _turn(bench, condition, per_turn, bench.seed + turn)
            _adapt_victim(condition, per_turn, most_victim)
        if not open_ones:
            break
    return conditions


def during_writeback_results(bench: Bench, conditions: Sequence[RaceCondition]) -> list[RunResult]:
    """Make the records: one for each condition and slot."""
    algorithm = algorithm_of(bench.stage)
    return [_result(bench, condition, slot, algorithm) for condition in conditions for slot in condition.samples]


def _result(bench: Bench, condition: RaceCondition, slot: str, algorithm: str) -> RunResult:
    latencies = condition.latencies(slot)
    when = f"batch-{condition.batch_size or 1}" if condition.running else "quiet"
    proof = {}
    if slot == "in_flight":
        proof = {"share_in_flight": round(condition.share_in_flight, 4), "relabelled": condition.relabelled}
    return RunResult(
        test=t.FAULTS_WRITEBACK.name,
        title=bench.title,
        params={
            "slot": slot,
            "batch_size": condition.batch_size,
            "writeback": "running" if condition.running else "quiet",
            "comp_algorithm": algorithm,
        },
        metrics={},
        raw={m.FAULT_LATENCY.name: bench.save_raw(f"fault-during-{when}-{slot}", latencies)},
        # The kernel counts all slots together: one record of each condition has the checks.
        checks=condition.checks if slot == "ram" else {},
        caveats=[Caveat.few_samples] if latencies.size < bench.stage.profile.faults.samples else [],
        facts={
            "probe_overhead_ns": condition.overhead,
            "turns": condition.turns,
            "major_faults_of_all_slots": condition.majflt,
            **proof,
        },
    )


def _words(condition: RaceCondition) -> str:
    return (
        f"during writeback at batch {condition.batch_size or 1}" if condition.running else "with nothing else going on"
    )


def _enough(condition: RaceCondition, samples: int) -> bool:
    slots = SLOTS.values() if condition.running else ("ram", "written_back")
    return all(condition.count(slot) >= samples for slot in slots)


def _most_victim_pages(stage: Stage, area_pages: int) -> int:
    """Return a third of what the backing device and free memory have room for: the victim's pages do not compress."""
    meminfo = dict(line.split()[:2] for line in stage.device.read("/proc/meminfo").splitlines())
    available = int(meminfo["MemAvailable:"]) * 1024 // stage.page_bytes
    return max(stage.pages(MIB), min(stage.backing_pages - area_pages, available) // 3)


def _turn(bench: Bench, condition: RaceCondition, half: int, seed: int) -> None:
    probe, pages = bench.probe, 2 * half
    probe.fill_area(_AREA, pages * bench.stage.page_bytes, mix=PageKind.compressible.mix, seed=seed)
    try:
        swap_out(bench, _AREA, pages)
        write_back_half(bench, _AREA, half, seed)
        if condition.running:
            _race(bench, condition, seed)
        else:
            records, reply = touch_all(bench, _AREA, seed)
            _keep(bench.stage, condition, records, reply)
    finally:
        probe.drop(_AREA)
    condition.turns += 1


def _race(bench: Bench, condition: RaceCondition, seed: int) -> None:
    stage, probe = bench.stage, bench.probe
    size = condition.victim_pages * stage.page_bytes
    # All of one size class: zram writes each class in an order of its own.
    probe.fill_area(_VICTIM, size, mix=PageKind.incompressible.mix, seed=seed + 1)
    try:
        swap_out(bench, _VICTIM, condition.victim_pages)
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
    late = stage.pages_4k(reply.read_4k) - int((records["label"] == WRITTEN_BACK).sum())
    condition.relabelled += _settle_late(stage, records, late)
    condition.late += late
    # Pages touched before their write was begun are never written.
    condition.waiting += reply.victims - reply.device_writes
    written = stage.pages_4k(reply.written_4k)
    condition.check("writes of the writeback (backing device against bd_stat)", reply.device_writes, written)
    _keep(stage, condition, records, reply)


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


def _keep(stage: Stage, condition: RaceCondition, records: npt.NDArray[np.void], reply: Touched | Raced) -> None:
    condition.take(records)
    condition.majflt += reply.majflt
    from_storage = int(np.isin(records["label"], (WRITTEN_BACK, LATE)).sum())
    reads = stage.pages_4k(reply.read_4k)
    condition.check(READS_CHECK, from_storage, reads)
    check_reads(stage, from_storage, reads)


def _adapt_victim(condition: RaceCondition, per_turn: int, most: int) -> None:
    """Size the next victim so that its writeback lasts as long as a turn's touches, by what this turn touched."""
    if not condition.running:
        return
    touched = min(condition.count(slot) for slot in SLOTS.values()) / condition.turns
    wanted = condition.victim_pages * 1.25 * per_turn / max(touched, 1.0)
    bounded = min(max(wanted, condition.victim_pages / 2), 4.0 * condition.victim_pages, float(most))
    condition.victim_pages = max(int(bounded), 256)
