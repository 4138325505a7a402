"""Latency of page faults on a quiet phone, in rounds: pages in zram's memory against pages that were written back.

A turn is one block of faults on the same area: it is swapped out, a half of it is written back, and all of it is
touched. Both kinds are touched alternately within the block, so they share its turn, and their ratio is formed in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from devices.capability import Capability
from records import metrics as m
from records import tests as t
from records.model import RunResult
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.faults import READS_CHECK, FaultSamples, faulting
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.turns import Samples, faults_by_turn, share_of_faults, with_rounds_of_faults

_BLOCK = "faults, quiet"
_SLOTS: dict[str, Callable[[FaultSamples], Samples]] = {
    "ram": lambda block: block.ram_ns,
    "written_back": lambda block: block.written_back_ns,
}


@dataclass(slots=True)
class QuietFaults:
    """The blocks, one a turn."""

    rounds: Rounds[str, FaultSamples] = field(default_factory=Rounds)

    @property
    def blocks(self) -> list[FaultSamples]:
        """Return the blocks in order of time."""
        return self.rounds.values(_BLOCK)


def steps_of(stage: Stage) -> int:
    """Return how many steps ``measure_quiet_faults`` reports at least."""
    return RoundsPlan().fewest if Capability.page_index in stage.device.capabilities else 0


def measure_quiet_faults(bench: Bench, into: QuietFaults) -> None:
    """Measure blocks until their ratio is known; the fewest rounds have the samples that the profile asks for.

    Raises NothingMeasured when the kernel counted other faults or reads than were measured.
    """
    bench = with_rounds_of_faults(bench)
    with faulting(bench, share_of_faults(bench)) as block:
        measure_in_rounds(
            bench, [_BLOCK], lambda _, turn: block(bench.seed + turn), primary=_times_as_long, into=into.rounds
        )


def _times_as_long(block: FaultSamples) -> float:
    return float(np.median(block.written_back_ns) / np.median(block.ram_ns))


def fault_results(bench: Bench, found: QuietFaults) -> list[RunResult]:
    """Make the records of the faults, one for each kind of page; none where nothing was measured."""
    blocks = found.blocks
    return [_result(bench, found, slot, blocks) for slot in _SLOTS if blocks]


def _result(bench: Bench, found: QuietFaults, slot: str, blocks: list[FaultSamples]) -> RunResult:
    latencies = [_SLOTS[slot](block) for block in blocks]
    count = sum(part.size for part in latencies)
    read = {"expected": count, "seen": sum(block.bd_reads for block in blocks)}
    return RunResult(
        test=t.FAULTS.name,
        title=bench.title,
        params={"slot": slot, "comp_algorithm": blocks[0].algorithm},
        metrics=m.MAJOR_FAULTS.of([count]),
        raw=faults_by_turn(bench, f"fault-latency-{slot}", latencies),
        checks={READS_CHECK: read} if slot == "written_back" else {},
        caveats=found.rounds.caveats(_BLOCK),
        facts={
            "probe_overhead_ns": blocks[0].overhead,
            "major_faults_of_both": sum(block.majflt for block in blocks),
            **found.rounds.facts(),
        },
        turns=found.rounds.turns(_BLOCK),
    )
