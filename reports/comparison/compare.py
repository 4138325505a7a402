"""Before and after: two sides, the figures that they have in common, a verdict for each, and what was left over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from records.intervals import RELEVANT
from reports.comparison.points import Pairing, pair_points
from reports.comparison.sides import (
    EXIT_NOTHING,
    Difference,
    NothingToCompare,
    Side,
    check_comparable,
    differences,
    load_side,
    unreadable,
)
from reports.comparison.values import figures_of
from reports.comparison.verdicts import Compared, Verdict, judge

EXIT_WORSE = 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that the renderers show."""

    base: Side
    cand: Side
    relevant: float
    differs: tuple[Difference, ...]
    pairing: Pairing
    figures: tuple[Compared, ...]
    problems: tuple[str, ...]

    @property
    def judged(self) -> list[Compared]:
        return [each for each in self.figures if each.verdict is not Verdict.none]

    def with_verdict(self, verdict: Verdict) -> list[Compared]:
        return [each for each in self.figures if each.verdict is verdict]

    @property
    def exit_status(self) -> int:
        """0 no regression, 1 at least one, 12 not a single figure could be decided."""
        if self.with_verdict(Verdict.worse):
            return EXIT_WORSE
        return 0 if self.with_verdict(Verdict.better) or self.with_verdict(Verdict.same) else EXIT_NOTHING


def compare(base_at: str, cand_at: str, relevant: float = RELEVANT, *, across_machines: bool = False) -> Comparison:
    """Load, pair and judge; ``across_machines``: processor and page size may differ.

    :raises ReportError: when runs cannot be read, may not be compared or share no point.
    """
    base, cand = load_side("BASE", base_at), load_side("CAND", cand_at)
    check_comparable(base, cand, across_machines=across_machines)
    pairing = pair_points(base, cand)
    problems = unreadable((base, cand))
    figures = [figure for pair in pairing.pairs for figure in figures_of(pair, problems)]
    if not figures:
        raise NothingToCompare(
            "nothing to compare: BASE and CAND have no figure in common",
            hint=f"BASE measured {_tests(base)}; CAND measured {_tests(cand)}",
        )
    return Comparison(
        base, cand, relevant, tuple(differences(base, cand)), pairing, tuple(judge(figures, relevant)), tuple(problems)
    )


def _tests(side: Side) -> str:
    names: dict[str, Any] = dict.fromkeys(result.test for run in side.runs for result in run.runs)
    return ", ".join(names) or "nothing"
