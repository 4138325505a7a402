"""What two sides that were measured in turn were found to be, figure by figure: as data, and as a fact of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from records.intervals import CONFIDENCE, TurnInterval
from records.metrics import METRICS, Quantity
from records.sequential import Decision, SideVerdict

FACT = "decisions"


@dataclass(frozen=True, slots=True)
class PairedFigure:
    """A figure that both sides have one value of in each round. ``where`` tells it from others of its metric."""

    metric: Quantity
    where: str = ""

    @property
    def words(self) -> str:
        """Return its name in a sentence."""
        return f"{self.metric.words}, {self.where}" if self.where else self.metric.words


@dataclass(frozen=True, slots=True)
class DecidedFigure:
    """A figure with what was decided of it. ``base`` and ``cand`` are medians over the turns, in the metric's unit."""

    figure: PairedFigure
    base: float
    cand: float
    decision: Decision

    def as_fact(self) -> dict[str, Any]:
        """Return it as a record holds it."""
        found = self.decision
        return {
            "metric": self.figure.metric.name,
            "where": self.figure.where,
            "base": self.base,
            "cand": self.cand,
            "verdict": str(found.verdict),
            "rounds": found.rounds,
            "ratio": found.ratio,
            "low": found.interval.low if found.interval else None,
            "high": found.interval.high if found.interval else None,
        }


def decided_figures(facts: Mapping[str, Any]) -> list[DecidedFigure]:
    """Read the figures of a record's facts; what is not of their form, as another version's, is left out."""
    rows = facts.get(FACT)
    return [found for row in rows if (found := _figure(row))] if isinstance(rows, list) else []


def _figure(row: Any) -> DecidedFigure | None:
    match row:
        case {
            "metric": str(name), "where": str(where), "base": int() | float() as base, "cand": int() | float() as cand,
            "verdict": str(verdict), "rounds": int(rounds), "ratio": ratio, "low": low, "high": high,
        } if name in METRICS and verdict in {*SideVerdict}:  # fmt: skip
            bounds = (low, high)
            known = all(isinstance(each, int | float) for each in bounds)
            interval = TurnInterval(low, high, CONFIDENCE) if known else None
            decision = Decision(
                SideVerdict(verdict), rounds, ratio if isinstance(ratio, int | float) else None, interval
            )
            return DecidedFigure(PairedFigure(METRICS[name], where), base, cand, decision)
    return None
