"""How many repeats would probably decide a figure, by the noise that was seen; never more than a night has room for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.comparison.difference import RatioEstimate
from reports.comparison.points import PooledPoint
from reports.comparison.values import Figure, Observed

# Two values against many could be significant, and still nobody should believe them.
FEWEST = 4
# Both sides are measured in one night.
NIGHT_S = 8 * 3600.0
# What fits where nobody knows how long a repeat takes.
MOST_REPEATS = 200
MORE_RUNS = "repeats alone would not do: compare several runs a side"


@dataclass(frozen=True, slots=True)
class Advice:
    """``enough``: so many turns, repeats or samples a side; None where no number can be named. ``words`` says it."""

    enough: int | None = None
    words: str = ""


def at_least(figure: Figure) -> Advice:
    """The fewest with which there is a verdict at all."""
    return _asked(figure, FEWEST)


def to_decide(figure: Figure, found: RatioEstimate, narrower: float) -> Advice:
    """What makes the interval so many times narrower.

    Repeats make only that part of the error smaller which is seen within runs. What runs differ by stays.
    """
    part = found.of_repeats
    left = narrower**-2 - (1 - part)
    if left <= 0:
        return Advice(None, MORE_RUNS)
    per_run = min(side.size / len(side.runs) for side in (figure.base, figure.cand))
    return _asked(figure, max(FEWEST, math.ceil(per_run * part / left)))


def _asked(figure: Figure, values: int) -> Advice:
    """``values`` are of one run of each side."""
    wanted, unit = values * figure.per_value, figure.of
    if values > _fitting_a_night(figure):
        return Advice(None, f"{wanted} {unit} on each side would take longer than a night")
    return Advice(wanted, f"{wanted} {unit} on each side would probably be enough")


def _fitting_a_night(figure: Figure) -> float:
    seconds = [
        _seconds_a_value(*side) for side in ((figure.pair.base, figure.base), (figure.pair.cand, figure.cand))
    ]  # fmt: skip
    known = [each for each in seconds if each is not None]
    return NIGHT_S / sum(known) if len(known) == len(seconds) else MOST_REPEATS


def _seconds_a_value(point: PooledPoint, seen: Observed) -> float | None:
    """The time of a side's runs over its values: what one more of each figure takes. None where it is not known."""
    ends = [run.end for run, _ in point.parts]
    total = sum(end.wall_time_s.get("total", 0.0) if end else 0.0 for end in ends)
    return total / seen.size if seen.size and 0 < total < math.inf else None
