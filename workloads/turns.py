"""Points that are measured in turns, in an order shuffled anew for each repeat: drift then falls on all of them alike.

Writebacks are repeated at each turn. Faults take a stage of their own and are spread over the first turns only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from base.errors import DeviceLost, LabError, RestoreFailed
from devices.probe.session import ProbeSession
from records.model import Caveat
from workloads.faults import FaultSamples, measure_faults
from workloads.progress import Progress, silent
from workloads.stage import Stage

# Each share costs an own configuration of zram, which on a phone takes as long as hundreds of faults.
FAULT_SHARES = 2

T = TypeVar("T")


class NotAvailable(LabError):
    """This phone, or its profile, does not have what the point needs; the message says why."""


def in_turns(points: Sequence[T], repeats: int, seed: int, measure: Callable[[T, int], None]) -> dict[T, LabError]:
    """``measure(point, repeat)`` for all; a point that fails is left out from then on, with its error returned.

    A phone that is lost, or could not be put back, ends it for all.
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
    """Faults of one point, of which each of the first turns measures a share."""

    samples: int
    repeats: int
    seed: int
    folder: Path
    progress: Progress = silent

    @property
    def count(self) -> int:
        return min(FAULT_SHARES, self.repeats)

    @property
    def share(self) -> int:
        """Faults of each kind in one share, which is also how many pages it has written back."""
        return -(-self.samples // self.count)

    def measure(self, stage: Stage, probe: ProbeSession, repeat: int) -> list[FaultSamples]:
        """This turn's share; nothing when all of them are measured."""
        if repeat >= self.count:
            return []
        return [measure_faults(stage, probe, self.share, self.seed + repeat, self.folder, self.progress, rounds=1)]


def joined(shares: Sequence[FaultSamples]) -> FaultSamples:
    """The shares of one point as one, in order of measurement."""
    return FaultSamples(
        ram_ns=np.concatenate([share.ram_ns for share in shares]),
        written_back_ns=np.concatenate([share.written_back_ns for share in shares]),
        majflt=sum(share.majflt for share in shares),
        bd_reads=sum(share.bd_reads for share in shares),
        not_swapped=sum(share.not_swapped for share in shares),
        overhead=shares[0].overhead,
        algorithm=shares[0].algorithm,
    )


def point_caveats(batch_size: int | None, repeats: int, *, buffered: bool) -> list[Caveat]:
    """What is to be doubted about a point's writebacks."""
    doubts = {Caveat.no_batch_size: batch_size is None, Caveat.buffered_io: buffered, Caveat.few_repeats: repeats < 5}
    return [caveat for caveat, applies in doubts.items() if applies]
