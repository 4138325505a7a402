"""Latency of page faults while a writeback runs: pages in RAM slots, written-back ones, and ones in flight.

Two areas are swapped out. A half of the first is written back beforehand; the second, the victim, is written back while
pages of both are touched in turn (``workloads/races.py``). Conditions are visited in rounds. Quiet is the same loop
beside a thread that sleeps, ``cpu`` the same beside one that burns as much CPU time as the writer: so what a writeback
does to faults is told from what a second busy thread does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from base.kernel import DEFAULT_BATCH_SIZE
from records import metrics as m
from records import tests as t
from records.model import Caveat, Metric, RunResult
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.faults import RAM, WRITTEN_BACK, algorithm_of, probe_overhead
from workloads.pace import Pace
from workloads.races import IN_FLIGHT, SLOTS, Meanwhile, RaceCondition, Races, RaceTurn, add_checks
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.turns import NO_SAMPLES, Samples, faults_by_turn, median_of, share_of_faults, with_rounds_of_faults


@dataclass(slots=True)
class FaultsDuring:
    """All turns of all conditions, filled on the way; the quiet one comes first.

    In ``cpu`` a thread burns as large a share of a CPU as the writer did in the turns ``writers`` before it.
    """

    conditions: Sequence[RaceCondition] = ()
    rounds: Rounds[RaceCondition, RaceTurn] = field(default_factory=Rounds)
    overhead: Mapping[str, int] = field(default_factory=dict)
    writers: list[RaceTurn] = field(default_factory=list)
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

    def corrupt(self, condition: RaceCondition, slot: str) -> int:
        """Return how many pages of a slot did not hold what they should; late ones count as in flight."""
        return sum(turn.corrupt[slot] for turn in self.turns(condition))

    def cpu_share(self, condition: RaceCondition) -> float:
        """Return the share of a CPU that the writing thread took, or the one in its place."""
        turns = self.turns(condition)
        return sum(turn.cpu_ns for turn in turns) / max(1, sum(turn.wall_ns for turn in turns))

    def burn_percent(self, condition: RaceCondition) -> float | None:
        """Return what share of a CPU was to be burnt, in per cent: the median over turns; None where none was."""
        known = [turn.burn_percent for turn in self.turns(condition) if turn.burn_percent is not None]
        return median(known) if known else None

    def writes_ahead(self, condition: RaceCondition) -> list[float]:
        """Return turn by turn how many writes were in flight when a fault on a written-back page began.

        Nothing where there is a turn without such a fault.
        """
        ahead = [turn.writes_ahead for turn in self.turns(condition)]
        return [] if any(math.isnan(mean) for mean in ahead) else ahead

    def checks(self, condition: RaceCondition) -> dict[str, dict[str, float]]:
        """Return the cross-checks with the kernel's counters, over all turns."""
        found: dict[str, dict[str, float]] = {}
        for turn in self.turns(condition):
            add_checks(found, turn.checks)
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
    """Measure faults during a writeback at each batch size, and the two controls, in rounds.

    ``into`` is filled on the way, so it keeps what it has if the phone is lost. Raises NothingMeasured when the kernel
    counted other reads than were measured.
    """
    bench = with_rounds_of_faults(bench)
    stage, plan = bench.stage, bench.rounds
    into.overhead = probe_overhead(bench)
    quiet, _, *running = into.conditions = _conditions(stage)
    pace = Pace(plan, share_of_faults(bench), now)
    races = Races(bench, pace, into.rounds, _like(running), into.writers)
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
    turns, latencies = found.turns(condition), found.latencies(condition, slot)
    doubts = found.rounds.caveats(condition)
    if latencies.size < sum(turn.wanted for turn in turns):
        doubts.append(Caveat.few_samples)
    return RunResult(
        test=t.FAULTS_WRITEBACK.name,
        title=bench.title,
        params={
            "slot": slot,
            "batch_size": condition.batch_size,
            "writeback": str(condition.meanwhile),
            "comp_algorithm": found.algorithm,
        },
        metrics=_metrics_of(found, condition, slot),
        raw=faults_by_turn(bench, f"fault-during-{condition}-{slot}", [turn.latencies(slot) for turn in turns]),
        # The kernel counts all slots together: one record of each condition has the checks.
        checks=found.checks(condition) if slot == SLOTS[RAM] else {},
        caveats=doubts,
        facts={
            "probe_overhead_ns": found.overhead,
            "races": sum(turn.races for turn in turns),
            "major_faults_of_all_slots": sum(turn.majflt for turn in turns),
            "cpu_share_of_writer": round(found.cpu_share(condition), 4),
            **_facts_of(found, condition, slot),
            **found.rounds.facts(),
        },
        turns=found.rounds.turns(condition),
    )


def _metrics_of(found: FaultsDuring, condition: RaceCondition, slot: str) -> dict[str, Metric]:
    """Return what was counted: pages that came back different, and the writes that a read from storage met."""
    ahead = found.writes_ahead(condition) if condition.running and slot == SLOTS[WRITTEN_BACK] else []
    return m.CORRUPT.of([found.corrupt(condition, slot)]) | (m.WRITES_AHEAD.of(ahead) if ahead else {})


def _facts_of(found: FaultsDuring, condition: RaceCondition, slot: str) -> dict[str, Any]:
    """Return what else is told of a condition, or of the pages in flight: how sure it is that they were."""
    if slot == SLOTS[IN_FLIGHT]:
        return {
            "share_in_flight": round(found.share_in_flight(condition), 4),
            "late": found.late(condition),
            "waiting": found.waiting(condition),
            "relabelled": sum(turn.relabelled for turn in found.turns(condition)),
        }
    return {"burn_percent": found.burn_percent(condition)} if condition.meanwhile is Meanwhile.cpu else {}


def _like(running: Sequence[RaceCondition]) -> RaceCondition:
    """The condition whose writer the busy control is like: at the kernel's own batch size, or the largest."""
    return next((each for each in running if each.batch_size == DEFAULT_BATCH_SIZE), running[-1])


def _conditions(stage: Stage) -> list[RaceCondition]:
    batch_sizes = stage.batch_sizes(stage.profile.faults.batch_sizes)
    controls = [RaceCondition(Meanwhile.quiet), RaceCondition(Meanwhile.cpu)]
    return [*controls, *(RaceCondition(Meanwhile.running, batch) for batch in batch_sizes)]
