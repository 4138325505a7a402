"""Visits the points of a test round by round, each point once a round in a fresh order, until they are known.

What a round has in common (heat, host, boot) cancels in ratios that are formed within it. Rounds go on until each ratio
is known to within the wanted precision, or the budget or the plan is over. A turn that was disturbed is measured again
at the end of its round; it stays in the record and enters no figure.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

import numpy as np

from base.errors import DeviceLost, LabError, RestoreFailed
from records.intervals import FEWEST_TURNS, Ratio, TurnInterval, paired_ratio, turn_interval
from records.model import Caveat, Turn
from workloads.bench import Bench
from workloads.budget import RoundsPlan

P = TypeVar("P")
V = TypeVar("V")


class EndedBy(StrEnum):
    """Why no further round was begun."""

    decision = "decision"
    precision = "precision"
    budget = "budget"
    plan = "plan"


@dataclass(frozen=True, slots=True)
class Visit(Generic[P, V]):
    """One turn of a point and what was measured in it."""

    point: P
    turn: Turn
    value: V


@dataclass(slots=True)
class Rounds(Generic[P, V]):
    """All visits of a test in order of time, and why they ended. ``count`` is of whole rounds.

    ``failed`` has the errors of points that were left out from then on.
    """

    visits: list[Visit[P, V]] = field(default_factory=list)
    count: int = 0
    ended_by: EndedBy = EndedBy.plan
    precision_reached: float | None = None
    failed: dict[P, LabError] = field(default_factory=dict)

    def of(self, point: P) -> list[Visit[P, V]]:
        """Return a point's visits in order of time, disturbed ones among them."""
        return [visit for visit in self.visits if visit.point == point]

    def turns(self, point: P) -> list[Turn]:
        """Return a point's turns in order of time."""
        return [visit.turn for visit in self.of(point)]

    def values(self, point: P) -> list[V]:
        """Return what was measured of a point, turn by turn."""
        return [visit.value for visit in self.of(point)]

    def ratio(self, point: P, control: P, figure: Callable[[V], float]) -> Ratio | None:
        """Divide a point by its control, round by round.

        Of each round that has both, the last undisturbed turn counts. None where there is no such round.
        """
        pairs = self.pairs(point, control)
        return paired_ratio([figure(mine) for mine, _ in pairs], [figure(other) for _, other in pairs])

    def pairs(self, point: P, control: P) -> list[tuple[V, V]]:
        """Return what was measured of both, round by round: of each round that has both, the last undisturbed turn."""
        mine, other = self._by_round(point), self._by_round(control)
        return [(mine[number], other[number]) for number in sorted(mine.keys() & other.keys())]

    def caveats(self, point: P) -> list[Caveat]:
        """Return the doubts that disturbed turns cast on a point."""
        return doubts_about(self.turns(point))

    def facts(self) -> dict[str, Any]:
        """Return what a record says of its rounds."""
        return {"rounds": self.count, "ended_by": str(self.ended_by), "precision_reached": self.precision_reached}

    def _by_round(self, point: P) -> dict[int, V]:
        return {visit.turn.round: visit.value for visit in self.of(point) if not visit.turn.disturbed}


def doubts_about(turns: Sequence[Turn]) -> list[Caveat]:
    """Return the doubt that disturbed turns cast on their point: fewer than 5 others, or most were disturbed."""
    disturbed = sum(bool(turn.disturbed) for turn in turns)
    too_many = disturbed and (len(turns) - disturbed < FEWEST_TURNS or 2 * disturbed > len(turns))
    return [Caveat.disturbed] if too_many else []


def measure_in_rounds(
    bench: Bench, points: Sequence[P], visit: Callable[[P, int], V], *, plan: RoundsPlan | None = None,
    primary: Callable[[V], float], ratios: Sequence[tuple[P, P]] = (), told: Callable[[P], str] = str,
    into: Rounds[P, V] | None = None, leave_out: bool = False, now: Callable[[], float] = time.monotonic,
    there_and_back: bool = False, decided: Callable[[], bool] = lambda: False,
) -> Rounds[P, V]:  # fmt: skip
    """Visit all points in rounds and return the visits.

    ``visit(point, turn)`` measures once; ``turn`` counts the point's turns from 0. ``primary`` is the figure of a visit
    by which precision is judged: of each of the ``ratios`` (point, control), or of each point where there are none.
    ``plan`` None is the bench's. ``told`` names a point for the progress. ``into`` takes the visits, for a caller that
    keeps them when one fails. ``there_and_back``: rounds go through the points in order and back in turn (A B, B A)
    instead of in a fresh order, which cancels a steady drift. ``decided`` is asked after each round whether it was the
    last that is needed.

    What a visit raises ends it all, unless ``leave_out`` says that a point which fails is left out from then on. That a
    phone is lost, or could not be put back, always ends it.
    """
    found: Rounds[P, V] = Rounds() if into is None else into
    plan = plan or bench.rounds
    run = _Run(bench, found, visit, told, leave_out)
    shuffler = random.Random(bench.seed)
    first_s = now()
    began_s = first_s if plan.since_s is None else plan.since_s
    while True:
        order = _there_and_back(points, found.count) if there_and_back else shuffler.sample(list(points), len(points))
        disturbed = [point for point in order if run.measure(point)]
        for point in disturbed:
            if now() - began_s < plan.budget_s:
                run.measure(point, again=True)
        found.count += 1
        measured = [(point, control) for point, control in ratios if not {point, control} & found.failed.keys()]
        found.precision_reached = _precision(found, primary, measured)
        next_s = now() + (now() - first_s) / found.count
        if len(found.failed) == len(points):
            return found
        if decided():
            found.ended_by = EndedBy.decision
            return found
        if ended := _ended(found, plan, over=next_s - began_s > plan.budget_s):
            found.ended_by = ended
            return found


@dataclass(frozen=True, slots=True)
class _Run(Generic[P, V]):
    """Measures one turn after the other into ``found``."""

    bench: Bench
    found: Rounds[P, V]
    visit: Callable[[P, int], V]
    told: Callable[[P], str]
    leave_out: bool

    def measure(self, point: P, *, again: bool = False) -> bool:
        """Measure a turn of this point in the round that runs, and return whether it was disturbed."""
        found, bench = self.found, self.bench
        if point in found.failed:
            return False
        bench.progress(f"round {found.count + 1}, {self.told(point)}{', again: disturbed' if again else ''}")
        watch, probe, backing = bench.noise, bench.session or bench.stage.device.probe, bench.stage.backing
        before = watch.look(probe, backing.file or backing.node)
        try:
            value = self.visit(point, len(found.of(point)))
        except (DeviceLost, RestoreFailed):
            raise
        except LabError as error:
            if not self.leave_out:
                raise
            found.failed[point] = error
            return False
        turn = watch.turn(found.count, before, watch.look_after(probe))
        found.visits.append(Visit(point, turn, value))
        return bool(turn.disturbed)


def _there_and_back(points: Sequence[P], round_number: int) -> list[P]:
    return list(points) if round_number % 2 == 0 else list(reversed(points))


def _ended(found: Rounds[P, V], plan: RoundsPlan, *, over: bool) -> EndedBy | None:
    """Return why no further round is begun: what is known needs none, whatever else would have ended them too."""
    reached = found.precision_reached
    if found.count >= plan.fewest and reached is not None and reached <= plan.precision:
        return EndedBy.precision
    if over:
        return EndedBy.budget
    return EndedBy.plan if found.count >= plan.most else None


def _precision(found: Rounds[P, V], primary: Callable[[V], float], ratios: Sequence[tuple[P, P]]) -> float | None:
    """Return how far the worst known ratio may be off, as a share; None where one is not known at all.

    A point that is divided by none is judged by its own figure.
    """
    if not ratios:
        points = dict.fromkeys(visit.point for visit in found.visits)
        figures = [[primary(visit.value) for visit in found.of(point) if not visit.turn.disturbed] for point in points]
        return _worst([(float(np.median(values)), turn_interval(values)) for values in figures if values])
    known = [found.ratio(point, control, primary) for point, control in ratios]
    return _worst([(ratio.value, ratio.interval) if ratio else (math.nan, None) for ratio in known])


def _worst(known: Sequence[tuple[float, TurnInterval | None]]) -> float | None:
    worst = 0.0
    for value, interval in known:
        if interval is None or not value > 0:
            return None
        worst = max(worst, interval.high / value - 1, 1 - interval.low / value)
    return worst if known else None
