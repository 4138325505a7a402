"""Measures points in turns, in an order shuffled anew for each repeat, so that drift falls on all of them alike.

Each turn of a point repeats its writebacks. Faults need zram as swap, so only the first turns measure a share of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from base.errors import DeviceLost, LabError, RestoreFailed
from devices.capability import Capability
from records import courses as c
from records import metrics as m
from records.model import Caveat
from workloads.bench import Bench, silent
from workloads.faults import FaultSamples, measure_faults
from workloads.stage import Stage

# Each share costs an own configuration of zram, which on a phone takes as long as hundreds of faults.
FAULT_SHARES = 2

T = TypeVar("T")

Samples = npt.NDArray[np.uint64]
NO_SAMPLES: Samples = np.empty(0, np.uint64)


def faults_by_turn(bench: Bench, file: str, latencies: Sequence[Samples]) -> dict[str, str]:
    """Save latencies of faults, one array a turn, and beside them the index of each one's turn.

    Returns the files as ``RunResult.raw`` takes them.
    """
    return {
        m.FAULT_LATENCY.name: bench.save_raw(file, np.concatenate(latencies)),
        c.FAULT_TURN.name: bench.save_raw(f"{file}-turn", turn_numbers(latencies)),
    }


def turn_numbers(parts: Sequence[Samples]) -> Samples:
    """Return the index of each sample's turn, for samples that come as one array a turn."""
    return np.repeat(np.arange(len(parts), dtype=np.uint64), [part.size for part in parts])


def median_of(samples: Samples) -> float:
    """Return the median of one turn's samples; not a number where it has none."""
    return float(np.median(samples)) if samples.size else float("nan")


class NotAvailable(LabError):
    """The phone or its profile lacks what the point needs; the message says what."""


def in_turns(points: Sequence[T], repeats: int, seed: int, measure: Callable[[T, int], None]) -> dict[T, LabError]:
    """Call ``measure(point, repeat)`` for all; return the errors of points that failed.

    A point that failed is left out from then on. Raises DeviceLost and RestoreFailed, which end it for all points.
    """
    shuffler = random.Random(seed)
    failed: dict[T, LabError] = {}
    for repeat in range(repeats):
        for point in shuffler.sample(points, len(points)):
            if point in failed:
                continue
            try:
                measure(point, repeat)
            except (DeviceLost, RestoreFailed):
                raise
            except LabError as error:
                failed[point] = error
    return failed


@dataclass(frozen=True, slots=True)
class FaultShares:
    """How the faults of one point are spread over its repeats: each of the first turns measures a share."""

    samples: int
    repeats: int

    @property
    def count(self) -> int:
        """Return how many turns measure a share."""
        return min(FAULT_SHARES, self.repeats)

    @property
    def share(self) -> int:
        """Return the faults of each kind in one share, which is also how many pages it writes back."""
        return -(-self.samples // self.count)

    def measure(self, bench: Bench, repeat: int) -> list[FaultSamples]:
        """Measure this turn's share; return nothing when all shares are measured, or where they cannot be.

        Marking idle is no way: it reaches all slots, and one half must stay in memory.
        """
        if repeat >= self.count or not_measurable(bench.stage):
            return []
        return [measure_faults(replace(bench, seed=bench.seed + repeat, progress=silent), self.share, rounds=1)]


def not_measurable(stage: Stage) -> tuple[Caveat, ...]:
    """Return why faults cannot be measured on this phone; nothing where they can."""
    return () if Capability.page_index in stage.device.capabilities else (Caveat.no_page_index,)


def joined(shares: Sequence[FaultSamples]) -> FaultSamples:
    """Join the shares of one point, in order of measurement."""
    return FaultSamples(
        ram_ns=np.concatenate([share.ram_ns for share in shares]),
        written_back_ns=np.concatenate([share.written_back_ns for share in shares]),
        majflt=sum(share.majflt for share in shares),
        bd_reads=sum(share.bd_reads for share in shares),
        not_swapped=sum(share.not_swapped for share in shares),
        overhead=shares[0].overhead,
        algorithm=shares[0].algorithm,
    )
