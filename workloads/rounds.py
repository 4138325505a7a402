"""Visits the points of a test round by round, each point once a round in a fresh order, until they are known.

What a round has in common (heat, host, boot) cancels in ratios that are formed within it. Rounds go on until each ratio
is known to within the wanted precision, or the budget or the plan is over.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from records.intervals import paired_ratio
from records.model import Turn
from workloads.bench import Bench

P = TypeVar("P")
V = TypeVar("V")


class EndedBy(StrEnum):
    """Why no further round was begun."""

    precision = "precision"
    budget = "budget"
    plan = "plan"


@dataclass(frozen=True, slots=True)
class RoundsPlan:
    """How long rounds go on: at least ``fewest`` unless the budget is over, at most ``most``.

    ``precision`` is the share to within which each ratio shall be known. ``budget_s`` counts from the first round.
    """

    fewest: int = 8
    most: int = 40
    precision: float = 0.10
    budget_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Visit(Generic[P, V]):
    """One turn of a point and what was measured in it."""

    point: P
    turn: Turn
    value: V


@dataclass(slots=True)
class Rounds(Generic[P, V]):
    """All visits of a test in order of time, and why they ended."""

    visits: list[Visit[P, V]] = field(default_factory=list)
    count: int = 0
    ended_by: EndedBy = EndedBy.plan
    precision_reached: float | None = None

    def of(self, point: P) -> list[Visit[P, V]]:
        """Return a point's visits in order of time, disturbed ones among them."""
        return [visit for visit in self.visits if visit.point == point]

    def turns(self, point: P) -> list[Turn]:
        """Return a point's turns in order of time."""
        return [visit.turn for visit in self.of(point)]

    def values(self, point: P) -> list[V]:
        """Return what was measured of a point, turn by turn."""
        return [visit.value for visit in self.of(point)]

    def facts(self) -> dict[str, Any]:
        """Return what a record says of its rounds."""
        return {"rounds": self.count, "ended_by": str(self.ended_by), "precision_reached": self.precision_reached}


def measure_in_rounds(
    bench: Bench, points: Sequence[P], visit: Callable[[P, int], V], *, plan: RoundsPlan, primary: Callable[[V], float],
    ratios: Sequence[tuple[P, P]] = (), now: Callable[[], float] = time.monotonic,
) -> Rounds[P, V]:  # fmt: skip
    """Visit all points in rounds and return the visits.

    ``visit(point, turn)`` measures once; ``turn`` counts the point's turns from 0. ``primary`` is the figure of a visit
    by which precision is judged, for each of the ``ratios`` (point, control).
    """
    found: Rounds[P, V] = Rounds()
    shuffler = random.Random(bench.seed)
    began = now()
    while True:
        for point in shuffler.sample(list(points), len(points)):
            value = visit(point, len(found.of(point)))
            found.visits.append(Visit(point, Turn(found.count, now()), value))
        found.count += 1
        found.precision_reached = _precision(found, primary, ratios)
        if ended := _ended(found, plan, now() - began):
            found.ended_by = ended
            return found


def _ended(found: Rounds[P, V], plan: RoundsPlan, spent_s: float) -> EndedBy | None:
    if spent_s * (found.count + 1) / found.count > plan.budget_s:
        return EndedBy.budget
    if found.count >= plan.most:
        return EndedBy.plan
    if found.count < plan.fewest or found.precision_reached is None:
        return None
    return EndedBy.precision if found.precision_reached <= plan.precision else None


def _precision(found: Rounds[P, V], primary: Callable[[V], float], ratios: Sequence[tuple[P, P]]) -> float | None:
    """Return how far the worst known ratio may be off, as a share; None where one is not known at all."""
    worst = 0.0
    for point, control in ratios:
        ratio = paired_ratio(_by_round(found, point, primary), _by_round(found, control, primary))
        if ratio is None or ratio.interval is None:
            return None
        worst = max(worst, ratio.interval.high / ratio.value - 1, 1 - ratio.interval.low / ratio.value)
    return worst if ratios else None


def _by_round(found: Rounds[P, V], point: P, primary: Callable[[V], float]) -> list[float]:
    return [primary(visit.value) for visit in found.of(point) if not visit.turn.disturbed]
