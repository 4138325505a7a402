"""Samples that come turn by turn, and shares of faults beside the writebacks of a turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from base.errors import LabError
from devices.capability import Capability
from devices.profiles.sections import PageKind
from records import courses as c
from records import metrics as m
from records.model import Caveat
from workloads.bench import Bench
from workloads.faults import FaultSamples, faulting
from workloads.stage import Stage

Samples = npt.NDArray[np.uint64]
NO_SAMPLES: Samples = np.empty(0, np.uint64)


class NotAvailable(LabError):
    """The phone or its profile lacks what the point needs; the message says what."""


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


def with_rounds_of_faults(bench: Bench) -> Bench:
    """Return the bench with the rounds of a test of faults, whose samples the profile counts.

    The fewest rounds have them all, and storage wears: only within a budget there are more, twice as many at most.
    """
    rounds = bench.rounds
    most = rounds.fewest if math.isinf(rounds.budget_s) else min(rounds.most, 2 * rounds.fewest)
    return replace(bench, rounds=replace(rounds, most=most))


def share_of_faults(bench: Bench) -> int:
    """Return how many faults of each kind a turn measures, which is also how many pages it writes back for them."""
    return -(-bench.stage.profile.faults.samples // bench.rounds.fewest)


def measure_share(bench: Bench, turn: int, *, content: PageKind = PageKind.compressible) -> FaultSamples | None:
    """Measure a turn's share of the faults on pages of such content; None where they cannot be measured.

    Marking idle is no way: it reaches all slots, and one half must stay in memory.
    """
    if not_measurable(bench.stage):
        return None
    with faulting(bench, share_of_faults(bench), content=content) as block:
        return block(bench.seed + turn)


def not_measurable(stage: Stage) -> tuple[Caveat, ...]:
    """Return why faults cannot be measured on this phone; nothing where they can."""
    return () if Capability.page_index in stage.device.capabilities else (Caveat.no_page_index,)
