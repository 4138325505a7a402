"""Two sides in turn: what ``./lab ab`` runs. Its name keeps it out of a run of all suites, which has no sides."""

from __future__ import annotations

import pytest

from base.errors import EXIT_FAILED, EnvironmentRefused, LabError
from suites.turns import recorded_even_if_broken_off
from workloads.alternated import alternated_results, alternation, measure_alternated, status_of
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.run import LabRun
from workloads.sides import parse_sides


@pytest.mark.capability("writeback")
@pytest.mark.kills_apps
@pytest.mark.steps(count=lambda stage: 2 * RoundsPlan().fewest)
@pytest.mark.changes("what the two sides set", "as it was before, after each turn")
def test_two_sides(bench: Bench, lab: LabRun, pytestconfig: pytest.Config) -> None:
    """Two sides in turn"""
    given = pytestconfig.option.ab
    sides = parse_sides(given["base"], given["cand"], given["common"])
    try:
        found = alternation(
            bench.stage, sides, names=given["question"], relevant=given["relevant"], metric=given["metric"],
            where=given["where"],
        )  # fmt: skip
        with recorded_even_if_broken_off(bench, lambda: alternated_results(bench, found)):
            measure_alternated(bench, found)
    except LabError as error:
        if error.exit_status != EXIT_FAILED:
            raise
        # 1 says that the candidate is worse: of one that could not be measured nothing is known.
        raise EnvironmentRefused(str(error), hint=error.hint) from error
    for result in alternated_results(bench, found):
        bench.record(result)
    lab.answer = status_of(found.verdicts)
