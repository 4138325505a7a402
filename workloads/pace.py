"""Sizes turns so that the fewest rounds fit into the time that a test may take: samples per turn shrink, not rounds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from workloads.budget import RoundsPlan

# With fewer a turn has no p90.
FEWEST_SAMPLES = 20
# Of the first round, whose cost nobody knows: as many as an emulated phone takes in its stride.
_FIRST_SAMPLES = 64
# How much a round may be larger than the one before; the first one was a guess.
_FIRST_GROWTH, _GROWTH = 4.0, 1.25
# Some of the time that is left stays for what takes longer than expected.
_USED = 0.85


@dataclass(slots=True)
class Pace:
    """How many samples the turns of a round shall have, by what the round before took; at most ``wanted``.

    Without a budget it is always ``wanted``.
    """

    plan: RoundsPlan
    wanted: int
    now: Callable[[], float] = time.monotonic
    _samples: int = 0
    _round: int = 0
    _began_s: float = 0.0
    _ends_s: float = math.inf

    def samples(self, round_number: int) -> int:
        """Return the samples of a turn in this round, from 0; to be asked for each turn as it begins."""
        if not self._samples:
            self._begin()
        elif round_number > self._round:
            self._go_on(round_number)
        return self._samples

    def _begin(self) -> None:
        self._began_s = self.now()
        since_s = self._began_s if self.plan.since_s is None else self.plan.since_s
        self._ends_s = since_s + self.plan.budget_s
        self._samples = self.wanted if math.isinf(self._ends_s) else min(self.wanted, _FIRST_SAMPLES)

    def _go_on(self, round_number: int) -> None:
        now_s, to_come = self.now(), self.plan.fewest - round_number
        took_s, self._began_s, self._round = now_s - self._began_s, now_s, round_number
        if math.isinf(self._ends_s) or to_come <= 0 or took_s <= 0:
            return
        fits = _USED * max(0.0, self._ends_s - now_s) / to_come / took_s
        factor = min(fits, _FIRST_GROWTH if round_number == 1 else _GROWTH)
        self._samples = min(max(int(self._samples * factor), min(FEWEST_SAMPLES, self.wanted)), self.wanted)
