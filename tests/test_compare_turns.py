"""Turns in a comparison: a disturbed one is left out and counted, and a quantile is one value a turn."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from records import model
from records.writing import RunFolder
from reports.comparison.compare import Comparison
from reports.comparison.points import Pair, PooledPoint
from reports.comparison.text import render_everything
from reports.comparison.values import Figure, Observed
from reports.comparison.verdicts import Compared, Verdict, judge
from tests.compare_runs import (
    Samples,
    compared,
    faults_in_turns,
    in_turns,
    latencies,
    noisy,
    rates,
    store,
    throughput_of,
    turns,
    with_turn_array,
)


def slowed(values: list[float], numbers: Collection[int]) -> list[float]:
    return [value / 3 if number in numbers else value for number, value in enumerate(values)]


def swept(results: Path, middle: float = 10.0, *, disturbed: Collection[int] = (), n: int = 10, seed: int = 1) -> Path:
    """Ten turns, of which the disturbed ones took three times as long."""
    values = slowed(noisy(middle, n, seed=seed), disturbed)
    return store(results, in_turns(rates({8: values})[0], disturbed))


def one(comparison: Comparison) -> Compared:
    (found,) = throughput_of(comparison)
    return found


def test_disturbed_turns_are_left_out_and_counted(tmp_path: Path) -> None:
    base, cand = swept(tmp_path / "a"), swept(tmp_path / "b", disturbed=(2, 5, 6, 9), seed=2)
    found = one(compared(base, cand))
    assert found.verdict is Verdict.same
    assert (found.figure.base.n, found.figure.base.quiet, found.figure.base.disturbed) == (10, 10, 0)
    assert (found.figure.cand.n, found.figure.cand.quiet, found.figure.cand.disturbed) == (6, 6, 4)
    assert found.figure.of == "turns"
    everything = " ".join(render_everything(compared(base, cand)).split())
    assert "turns 10 turns, 0 disturbed 10 turns, 4 disturbed" in everything
    assert re.search(r"all 10/6 0/4 ", everything)


@pytest.mark.parametrize(("n", "disturbed"), [(10, range(6)), (14, range(8)), (6, (1, 2))])
def test_where_too_few_turns_are_left_the_verdict_is_disturbed(
    n: int, disturbed: Collection[int], tmp_path: Path
) -> None:
    """However slow the candidate was: fewer than five turns, or fewer than half of them, decide nothing."""
    base, cand = swept(tmp_path / "a", n=n), swept(tmp_path / "b", 1.0, n=n, disturbed=disturbed)
    comparison = compared(base, cand)
    found = one(comparison)
    assert found.verdict is Verdict.disturbed
    assert found.why == f"turns that nothing disturbed: {n} of {n} and {n - len(disturbed)} of {n}"
    assert found.ratio == pytest.approx(0.1, rel=0.05)
    assert comparison.exit_status == 12
    assert one(compared(swept(tmp_path / "c", n=n), swept(tmp_path / "d", 1.0, n=n))).verdict is Verdict.worse


def test_a_side_without_an_undisturbed_turn_has_no_figure(tmp_path: Path) -> None:
    found = one(compared(swept(tmp_path / "a"), swept(tmp_path / "b", disturbed=range(10))))
    assert (found.verdict, found.figure.cand.figure, found.ratio) == (Verdict.disturbed, None, None)


def test_values_that_do_not_match_the_turns_are_not_compared(tmp_path: Path) -> None:
    base = store(tmp_path / "a", *rates({8: noisy(10.0), 1: noisy(5.0)}))
    bad = replace(rates({8: noisy(5.0, 9)})[0], turns=turns(8))
    comparison = compared(base, store(tmp_path / "b", bad, *rates({1: noisy(5.0)})))
    assert [each.figure.pair.params["batch_size"] for each in throughput_of(comparison)] == [1]
    assert any("writeback.throughput has 9 values for 8 turns" in problem for problem in comparison.problems)


def blocks(
    seed: int, *, level: float = 1.0, count: int = 10, size: int = 300, between: float = 0.1, within: float = 0.2
) -> list[Samples]:
    """Turns of faults around 80 us that share what disturbed them."""
    random = np.random.default_rng(seed)
    return [
        80_000 * level * np.exp(between * random.standard_normal() + within * random.standard_normal(size))
        for _ in range(count)
    ]


def at(comparison: Comparison, quantile: str) -> Compared:
    (found,) = [
        each
        for each in comparison.figures
        if (each.figure.metric, each.figure.quantile) == ("fault.latency", quantile)
    ]  # fmt: skip
    return found


def test_a_quantile_is_one_value_a_turn_whatever_the_order_of_samples(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    parts = blocks(1)
    mixed = random.permutation(10 * 300)
    numbers = np.repeat(np.arange(10), 300)[mixed]
    joined = np.concatenate(parts)[mixed]
    base = store(tmp_path / "a", lambda folder: faults_in_turns(folder, parts))
    cand = store(tmp_path / "b", lambda folder: with_turn_array(folder, latencies(folder, joined), numbers, 10))
    found = at(compared(base, cand), "p50")
    expected = [float(np.sort(part.astype(np.uint64))[149]) for part in parts]
    assert [side.runs[0].tolist() for side in (found.figure.base, found.figure.cand)] == [expected, expected]
    assert (found.figure.base.n, found.figure.base.figure) == (10, float(np.median(expected)))


def test_samples_of_disturbed_turns_enter_no_quantile(tmp_path: Path) -> None:
    wild = [part * (50 if number in (0, 4) else 1) for number, part in enumerate(blocks(2, between=0.01))]
    base = store(tmp_path / "a", lambda folder: faults_in_turns(folder, blocks(1, between=0.01)))
    cand = store(tmp_path / "b", lambda folder: faults_in_turns(folder, wild, (0, 4)))
    comparison = compared(base, cand)
    for quantile in ("p50", "p99"):
        found = at(comparison, quantile)
        assert (found.figure.cand.quiet, found.figure.cand.disturbed) == (8, 2)
        assert found.figure.cand.figure == pytest.approx(found.figure.base.figure, rel=0.1)
    assert at(comparison, "p50").verdict is Verdict.same
    mostly = store(tmp_path / "c", lambda folder: faults_in_turns(folder, wild, range(6)))
    assert at(compared(base, mostly), "p50").verdict is Verdict.disturbed


def test_a_quantile_that_turns_cannot_tell_has_no_interval_and_none_that_all_together_cannot_is_shown(
    tmp_path: Path,
) -> None:
    def stored(seed: int) -> Path:
        return store(tmp_path / f"{seed}", lambda folder: faults_in_turns(folder, blocks(seed, size=100, count=12)))

    comparison = compared(stored(1), stored(2))
    found = at(comparison, "p99")
    assert (found.verdict, found.interval) == (Verdict.undecided, None)
    assert found.why == "a turn has too few samples for p99"
    assert found.advice.words == "it needs 200 in each turn"
    assert found.ratio is not None
    assert "p99.9" not in [each.figure.quantile for each in comparison.figures]


def test_a_run_without_turns_is_cut_into_blocks_of_the_others_turns(tmp_path: Path) -> None:
    cand = store(tmp_path / "b", lambda folder: faults_in_turns(folder, blocks(2)))
    found = at(compared(store(tmp_path / "a", np.concatenate(blocks(1))), cand), "p99")
    assert (found.figure.base.n, found.figure.base.size, found.figure.cand.size) == (10, 10, 10)


def test_turns_of_unequal_size_are_no_difference(tmp_path: Path) -> None:
    """A p99 out of 2400 samples is another estimate than one out of 200, of the same phone."""

    def stored(seed: int, size: int) -> Path:
        parts = blocks(seed, count=100, size=size, between=0.0, within=0.5)
        return store(tmp_path / f"{size}", lambda folder: faults_in_turns(folder, parts))

    found = at(compared(stored(1, 200), stored(2, 2400)), "p99")
    assert found.figure.cand.size == 100
    assert found.ratio == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("numbers", "words"), [([0] * 5, "cannot be told"), ([99] * 3000, "does not have")])
def test_an_array_of_turns_that_does_not_fit_is_named(numbers: list[int], words: str, tmp_path: Path) -> None:
    def broken(folder: RunFolder) -> model.RunResult:
        return with_turn_array(folder, latencies(folder, np.concatenate(blocks(1))), numbers, 10, (1,))

    comparison = compared(
        store(tmp_path / "a", broken, *rates({8: noisy(10.0)})), store(tmp_path / "b", broken, *rates({8: noisy(10.0)}))
    )
    assert "fault.latency" not in {each.figure.metric for each in comparison.figures}
    assert len([problem for problem in comparison.problems if words in problem]) == 2


def switched(disturbed: Collection[int]) -> model.RunResult:
    """Switches of five apps in eight rounds."""
    values = [30.0 + app + (500 if turn in disturbed else 0) for turn in range(8) for app in range(5)]
    metric = model.Metric("ms", "lower", values)
    return model.RunResult("app_switch", "t", {"kind": "synthetic"}, {"switch.latency": metric})


def test_app_switches_are_taken_by_round(tmp_path: Path) -> None:
    def stored(folder: RunFolder) -> model.RunResult:
        beside = folder.save_raw("switch.turn", np.repeat(np.arange(8, dtype=np.uint64), 5))
        return replace(switched((3,)), raw={"switch.turn": beside}, turns=turns(8, (3,)))

    comparison = compared(store(tmp_path / "a", stored), store(tmp_path / "b", stored))
    (found,) = [each for each in comparison.figures if each.figure.quantile == "p50"]
    assert found.figure.base.runs[0].tolist() == [32.0] * 7
    assert found.figure.base.disturbed == 1


@pytest.mark.parametrize(
    ("total_s", "words"),
    [(60.0, "turns on each side would probably be enough"), (6 * 3600.0, "would take longer than a night")],
)
def test_advice_is_never_longer_than_a_night(total_s: float, words: str, tmp_path: Path) -> None:
    sides = []
    for name, middle in (("a", 10.0), ("b", 10.05)):
        side = store(tmp_path / name, in_turns(rates({8: noisy(middle, 10, scatter=0.1)})[0]))
        records = side / "results.jsonl"
        assert '"total": 178.0' in records.read_text()
        records.write_text(records.read_text().replace('"total": 178.0', f'"total": {total_s}'))
        sides.append(side)
    found = one(compared(*sides))
    assert found.verdict is Verdict.undecided
    assert words in found.advice.words
    assert (found.advice.enough is None) is ("night" in words)


# ZRAM_LAB_SIMULATED_RUNS=2000 makes it a study of minutes.
RUNS = int(os.environ.get("ZRAM_LAB_SIMULATED_RUNS", "400"))


@pytest.mark.parametrize("between", [0.03, 0.10, 0.30])
@pytest.mark.parametrize("turns_a_half", [5, 10])
def test_two_halves_of_one_run_differ_in_nothing(turns_a_half: int, between: float) -> None:
    """Of figures that turns disturb by so much, at most one in a hundred is called, whatever the family's size."""
    random = np.random.default_rng(5)
    pair = Pair(PooledPoint("t", {}, ()), PooledPoint("t", {}, ()))
    called = 0
    for _ in range(RUNS // 20):
        figures = []
        for _ in range(20):
            halves = np.split(random.permutation(np.exp(random.normal(0, between, 2 * turns_a_half))), 2)
            base, cand = (Observed(half.size, float(np.median(half)), (half,), half.size) for half in halves)
            figures.append(Figure(pair, "m", "", "MiB/s", "higher", base, cand, "turns"))
        called += sum(each.verdict in (Verdict.better, Verdict.worse) for each in judge(figures, 0.05))
    assert called <= 0.01 * RUNS
