"""Latency of page faults while a writeback runs (Q6): pages in RAM slots, written-back ones, and ones in flight.

Two areas are swapped out. A half of the first is written back beforehand; the second, the victim, is written back while
pages of both are touched in turn (the probe's command ``race``). Conditions, quiet among them, take turns in shuffled
order, so that drift falls on all alike.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from base.units import MIB
from devices.capability import Capability
from devices.probe.replies import Raced, Touched
from devices.probe.session import ProbeSession
from devices.profiles.sections import PageKind
from workloads.faults import (
    RAM,
    SAMPLES_FILE,
    WRITTEN_BACK,
    fetch_records,
    swap_out,
    touch_all,
    touch_seed,
    write_back_half,
)
from workloads.progress import Progress, silent
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
    """One condition: ``batch_size`` of the writeback that runs meanwhile; ``running`` False is quiet.

    ``samples`` maps a slot to its latencies (ns, uint64). Victims that were touched too late (``late``, written back
    already) or too early (``waiting`` for their write) are counted, and the former are no samples. ``books`` are the
    cross-checks with the kernel's counters.
    """

    running: bool
    batch_size: int | None = None
    samples: dict[str, list[npt.NDArray[np.uint64]]] = field(default_factory=dict)
    turns: int = 0
    majflt: int = 0
    late: int = 0
    waiting: int = 0
    relabelled: int = 0
    books: dict[str, dict[str, float]] = field(default_factory=dict)
    victim_pages: int = 0

    def count(self, slot: str) -> int:
        return sum(part.size for part in self.samples.get(slot, []))

    def latencies(self, slot: str) -> npt.NDArray[np.uint64]:
        return np.concatenate(self.samples[slot])

    @property
    def share_in_flight(self) -> float:
        """Of the pages that count as in flight, those whose write had begun; the others still waited for it."""
        touched = self.count("in_flight")
        return 1 - min(self.waiting, touched) / touched if touched else 0.0

    def take(self, records: npt.NDArray[np.void]) -> None:
        for label, slot in SLOTS.items():
            chosen = records["ns"][records["label"] == label].astype(np.uint64)
            if chosen.size:
                self.samples.setdefault(slot, []).append(chosen)

    def book(self, name: str, expected: int, seen: int) -> None:
        known = self.books.setdefault(name, {"expected": 0, "seen": 0})
        known["expected"] += expected
        known["seen"] += seen


def steps_of(stage: Stage) -> int:
    """How many times ``progress`` is called at least."""
    return TURNS * (1 + (len(stage.profile.faults.batch_sizes) if stage.has_batch_size else 1))


def measure_faults_during_writeback(
    stage: Stage, probe: ProbeSession, *, seed: int, folder: Path, progress: Progress = silent
) -> list[RaceCondition]:
    """Quiet first, then each batch size. Raises NothingMeasured when the kernel's books disagree."""
    wanted = stage.profile.faults
    batches: tuple[int | None, ...] = wanted.batch_sizes if stage.has_batch_size else (None,)
    conditions = [RaceCondition(False), *(RaceCondition(True, batch) for batch in batches)]
    per_turn = -(-wanted.samples // TURNS)
    most_victim = _most_victim_pages(stage, 2 * per_turn)
    stage.as_swap(4 * per_turn + 2 * most_victim)
    for condition in conditions:
        condition.victim_pages = min(stage.pages(_FIRST_VICTIM_BYTES), most_victim)
    shuffler = random.Random(seed)
    for turn in range(_MOST_TURNS):
        open_ones = [c for c in conditions if not _enough(c, wanted.samples)]
        for condition in shuffler.sample(open_ones, len(open_ones)):
            progress(f"faults {_words(condition)}, turn {turn + 1}")
            _turn(stage, probe, condition, per_turn, seed + turn, folder)
            _adapt_victim(condition, per_turn, most_victim)
        if not open_ones:
            break
    return conditions


def _words(condition: RaceCondition) -> str:
    return (
        f"during writeback at batch {condition.batch_size or 1}" if condition.running else "with nothing else going on"
    )


def _enough(condition: RaceCondition, samples: int) -> bool:
    slots = SLOTS.values() if condition.running else ("ram", "written_back")
    return all(condition.count(slot) >= samples for slot in slots)


def _most_victim_pages(stage: Stage, area_pages: int) -> int:
    """A third of what the backing device and free memory have room for: incompressible pages do not get smaller."""
    meminfo = dict(line.split()[:2] for line in stage.device.read("/proc/meminfo").splitlines())
    available = int(meminfo["MemAvailable:"]) * 1024 // stage.page_bytes
    return max(stage.pages(MIB), min(stage.backing_pages - area_pages, available) // 3)


def _turn(stage: Stage, probe: ProbeSession, condition: RaceCondition, half: int, seed: int, folder: Path) -> None:
    pages = 2 * half
    probe.fill_area(_AREA, pages * stage.page_bytes, mix=PageKind.compressible.mix, seed=seed)
    try:
        swap_out(stage, probe, _AREA, pages)
        write_back_half(stage, probe, _AREA, half, seed)
        if condition.running:
            _race(stage, probe, condition, seed, folder)
        else:
            records, reply = touch_all(stage, probe, _AREA, seed, folder)
            _keep(stage, condition, records, reply)
    finally:
        probe.drop(_AREA)
    condition.turns += 1


def _race(stage: Stage, probe: ProbeSession, condition: RaceCondition, seed: int, folder: Path) -> None:
    size = condition.victim_pages * stage.page_bytes
    # All of one size class: zram writes each class in an order of its own.
    probe.fill_area(_VICTIM, size, mix=PageKind.incompressible.mix, seed=seed + 1)
    try:
        swap_out(stage, probe, _VICTIM, condition.victim_pages)
        if condition.batch_size is not None:
            write_attribute(stage, probe, "writeback_batch_size", str(condition.batch_size))
        several = Capability.page_indexes in stage.device.capabilities
        reply = probe.race(
            _AREA, victim=_VICTIM, zram=stage.zram.number, disk=stage.backing.name, seed=touch_seed(seed),
            out=SAMPLES_FILE, grammar=None if several else "page_index", seconds=_LIMIT_S,
        )  # fmt: skip
    finally:
        probe.drop(_VICTIM)
    records = fetch_records(stage, SAMPLES_FILE, folder)
    late = stage.pages_4k(reply.read_4k) - int((records["label"] == WRITTEN_BACK).sum())
    condition.relabelled += _settle_late(stage, records, late)
    condition.late += late
    # Pages touched before their write was begun are never written.
    condition.waiting += reply.victims - reply.device_writes
    written = stage.pages_4k(reply.written_4k)
    condition.book("writes of the writeback (backing device against bd_stat)", reply.device_writes, written)
    _keep(stage, condition, records, reply)


def _settle_late(stage: Stage, records: npt.NDArray[np.void], late: int) -> int:
    """Correct in place which victims were late, that is written back already when touched; returns how many changed.

    The probe tells by the backing device's counter, which the kernel raises just after it wakes the reader: now and
    then the read is seen with the touch before or after. bd_stat knows the exact number, and the slowest it were.
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
    condition.book("reads from the backing device (bd_stat)", from_storage, reads)
    if from_storage != reads:
        raise NothingMeasured(
            f"{stage.device.serial}: {from_storage} faults on written-back pages, but bd_stat counts {reads} reads",
            hint="another program reads this zram's written-back pages; stop it and run again",
        )


def _adapt_victim(condition: RaceCondition, per_turn: int, most: int) -> None:
    """So large that its writeback lasts as long as a turn's touches take; learned from the turn before."""
    if not condition.running:
        return
    touched = min(condition.count(slot) for slot in SLOTS.values()) / condition.turns
    wanted = condition.victim_pages * 1.25 * per_turn / max(touched, 1.0)
    bounded = min(max(wanted, condition.victim_pages / 2), 4.0 * condition.victim_pages, float(most))
    condition.victim_pages = max(int(bounded), 256)
