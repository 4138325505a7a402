"""Reports hold what they promise on simulated runs, through the analysis that every report is made of.

``ZRAM_LAB_SIMULATED_RUNS=2000`` makes it a study of minutes.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from records import metrics as m
from records import model
from records.reading import load
from records.writing import RunFolder
from reports.analysis import Analysis, analyse
from reports.contents import sections
from reports.point import Point, decided, ratio
from tests import reports_sample as sample

RUNS = int(os.environ.get("ZRAM_LAB_SIMULATED_RUNS", "60"))
# Three standard errors of a share of 0.95 out of few runs; the whole study needs none.
SLACK = 3 * (0.95 * 0.05 / RUNS) ** 0.5 if RUNS < 2000 else 0
SAMPLES = 250
TRUTH_US = 500.0
SURE = re.compile(r"\d times|fast|slow|best|most|least|helped|hurt|longer|delayed")


class Simulated:
    """Runs that lie in memory and in one folder of raw files: as many as are wanted, each with fresh values."""

    def __init__(self, folder: RunFolder, seed: int) -> None:
        folder.append(sample.session(folder.run_id))
        self.folder = folder
        self.drawn = np.random.default_rng(seed)
        self.stored = load(folder.path)

    def factors(self, turns: int, between: float) -> list[float]:
        """What each turn differs by."""
        return list(np.exp(self.drawn.normal(0, between, turns)))

    def faults(self, params: dict[str, object], factors: Sequence[float]) -> model.RunResult:
        """A point of faults whose turns have these factors beside their samples' own noise."""
        blocks = [TRUTH_US * 1000 * each * np.exp(self.drawn.normal(0, 0.4, SAMPLES)) for each in factors]
        turn = np.repeat(np.arange(len(blocks), dtype=np.uint64), SAMPLES)
        name = "-".join(map(str, params.values()))
        files = {"fault.latency": np.concatenate(blocks).astype(np.uint64), "fault.turn": turn}
        raw = {}
        for key, array in files.items():
            raw[key] = f"raw/{name}-{key}.npy"
            np.save(self.folder.path / raw[key], array)
        return model.RunResult("fault_latency", "t", params, {}, raw=raw, turns=sample.turns(len(blocks)))

    def run(self, *results: model.RunResult) -> Analysis:
        return analyse(dataclasses.replace(self.stored, runs=results))


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    folder = RunFolder.create(tmp_path, "phone", sample.NOW)
    (folder.path / "raw").mkdir(exist_ok=True)
    yield Simulated(folder, seed=7)


def held(point: Point, metric: m.Quantity, quantile: str | None, truth: float) -> bool:
    found = point.figure(metric, quantile)
    assert found is not None
    assert found.interval is not None
    return found.interval.low <= truth <= found.interval.high


@pytest.mark.parametrize("between", [0.03, 0.10, 0.30])
def test_intervals_hold_the_truth_as_often_as_they_say(simulated: Simulated, between: float) -> None:
    faults = rates = 0
    for _ in range(RUNS):
        latency = simulated.faults({"slot": "ram"}, simulated.factors(10, between))
        values = [50.0 * each for each in simulated.factors(10, between)]
        rate = sample.throughput(32, "sparse", values, turns=sample.turns(10))
        of_faults, of_rate = simulated.run(latency, rate).points
        faults += held(of_faults, m.FAULT_LATENCY, "p50", TRUTH_US * 1000)
        rates += held(of_rate, m.THROUGHPUT, None, 50.0)
    for share in (faults / RUNS, rates / RUNS):
        assert 0.93 - SLACK <= share <= 0.97 + SLACK


def test_ratios_hold_the_truth_whatever_a_round_has_in_common(simulated: Simulated) -> None:
    hits = 0
    for _ in range(RUNS):
        common = simulated.factors(10, 0.5)
        own, other = simulated.factors(10, 0.1), simulated.factors(10, 0.1)
        base = simulated.faults({"slot": "ram"}, [a * b for a, b in zip(common, own, strict=True)])
        slow = simulated.faults({"slot": "written_back"}, [6 * a * b for a, b in zip(common, other, strict=True)])
        first, second = simulated.run(base, slow).points
        found = ratio(second, first, m.FAULT_LATENCY, "p50")
        assert found is not None
        assert found.interval is not None
        assert decided(found) == 1
        hits += found.interval.low <= 6 <= found.interval.high
    assert 0.93 - SLACK <= hits / RUNS <= 0.97 + SLACK


def sentences(analysis: Analysis) -> list[str]:
    return [sentence for section in sections(analysis) for sentence in section.findings]


def one_point_under_several_names(simulated: Simulated, between: float) -> Analysis:
    """A run in which nothing makes a difference, though each round had a host of its own."""
    common = simulated.factors(8, 0.3)

    def factors() -> list[float]:
        return [a * b for a, b in zip(common, simulated.factors(8, between), strict=True)]

    rates = [
        sample.throughput(batch, "sparse", [50 * each for each in factors()], turns=sample.turns(8))
        for batch in (1, 8, 32)
    ]
    faults = [simulated.faults({"slot": slot}, factors()) for slot in ("ram", "written_back")]
    return simulated.run(*rates, *faults)


def test_one_point_under_two_names_is_never_told_apart(simulated: Simulated) -> None:
    for _ in range(200):
        told = [re.sub(r"no difference [^;]*?\]", "", each) for each in sentences(
            one_point_under_several_names(simulated, 0.05))]  # fmt: skip
        assert [each for each in told if SURE.search(each)] == []


def disturbed_third(result: model.RunResult, factor: float) -> model.RunResult:
    """The same point with the middle third of its turns made slower by other work, each marked and measured again."""
    middle = range(3, 6)
    turns: list[model.Turn] = []
    values: list[float] = []
    rates = result.metrics["writeback.throughput"].values
    for index, turn in enumerate(result.turns):
        if index in middle:
            turns.append(dataclasses.replace(turn, disturbed=("waited for a CPU",), wait=0.5))
            values.append(rates[index] * factor)
        turns.append(turn)
        values.append(rates[index])
    return dataclasses.replace(result, metrics=m.THROUGHPUT.of(values), turns=turns)


def test_words_of_a_run_with_a_disturbed_third_are_those_of_a_quiet_one(simulated: Simulated) -> None:
    points = [
        sample.throughput(batch, "sparse", [rate * each for each in simulated.factors(9, 0.03)], turns=sample.turns(9))
        for batch, rate in ((1, 10.0), (32, 50.0))
    ]
    quiet, spoilt = simulated.run(*points), simulated.run(*(disturbed_third(each, 0.2) for each in points))
    assert [point.disturbed for point in spoilt.points] == [3, 3]
    assert sentences(spoilt) == sentences(quiet)
    assert "times" in sentences(quiet)[0]


def test_samples_of_a_disturbed_turn_enter_no_quantile(simulated: Simulated) -> None:
    quiet = simulated.faults({"slot": "ram"}, [1.0] * 9)
    spoilt = simulated.faults({"slot": "written_back"}, [1.0] * 4 + [50.0] + [1.0] * 5)
    spoilt = dataclasses.replace(spoilt, turns=sample.turns(10, (4,)))
    first, second = simulated.run(quiet, spoilt).points
    largest, median = (second.value(m.FAULT_LATENCY, name) for name in ("max", "p50"))
    assert largest is not None
    assert largest < 10 * TRUTH_US * 1000
    assert median == pytest.approx(first.value(m.FAULT_LATENCY, "p50"), rel=0.1)
    kept = second.quiet_array(m.FAULT_LATENCY)
    assert kept is not None
    assert kept.size == 9 * SAMPLES


def test_no_sentence_rests_on_a_point_that_was_mostly_disturbed(simulated: Simulated) -> None:
    def point(batch: int, rate: float, disturbed: Sequence[int]) -> model.RunResult:
        return sample.throughput(batch, "sparse", [rate] * 19, turns=sample.turns(19, disturbed))

    told = simulated.run(point(1, 10.0, range(0, 19, 2)), point(32, 50.0, ()))
    assert model.Caveat.disturbed in told.points[0].caveats
    assert "times" not in sentences(told)[0]
    rows = {row[0]: row for section in sections(told) for row in section.table.rows}
    assert "9/19" in rows["1"]
