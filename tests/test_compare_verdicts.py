"""What is called better, worse, same, or not enough data, and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from records import model
from reports.comparison.advice import MORE_RUNS
from reports.comparison.points import Pair, PooledPoint
from reports.comparison.values import Figure, Observed
from reports.comparison.verdicts import Verdict, judge
from tests import reports_sample as sample
from tests.compare_runs import Samples, compared, noisy, point, rates, store, throughput_of, verdicts

WORSE, BETTER, SAME, UNDECIDED = Verdict.worse, Verdict.better, Verdict.same, Verdict.undecided


def pair(tmp_path: Path, base: model.RunResult, cand: model.RunResult) -> tuple[Path, Path]:
    return store(tmp_path / "a", base), store(tmp_path / "b", cand)


@pytest.mark.parametrize(
    ("factor", "higher_is_better", "lower_is_better"),
    [(0.85, WORSE, BETTER), (1.2, BETTER, WORSE), (1.0, SAME, SAME), (1.05, UNDECIDED, UNDECIDED)],
)
def test_the_direction_is_the_metrics(
    factor: float, higher_is_better: Verdict, lower_is_better: Verdict, tmp_path: Path
) -> None:
    values, others = noisy(10.0, seed=1), noisy(10.0 * factor, seed=2)
    for better, verdict in (("higher", higher_is_better), ("lower", lower_is_better)):
        directed: model.Better = "higher" if better == "higher" else "lower"
        base, cand = pair(tmp_path / better, point("m", values, better=directed), point("m", others, better=directed))
        assert verdicts(compared(base, cand), "m") == [verdict]


def test_swapping_the_sides_swaps_the_verdict(tmp_path: Path) -> None:
    before = rates({1: noisy(7, seed=1), 8: noisy(34, seed=2), 32: noisy(50, seed=3)})
    after = rates({1: noisy(7, seed=4), 8: noisy(28, seed=5), 32: noisy(60, seed=6)})
    base, cand = store(tmp_path / "a", *before), store(tmp_path / "b", *after)
    assert verdicts(compared(base, cand)) == [SAME, WORSE, BETTER]
    assert verdicts(compared(cand, base)) == [SAME, BETTER, WORSE]


def test_a_verdict_states_both_sides_ratio_and_interval(tmp_path: Path) -> None:
    base, cand = pair(tmp_path, *(rates({8: values})[0] for values in ([10.0] * 9, [8.0, *[8.5] * 7, 9.0])))
    (each,) = throughput_of(compared(base, cand))
    assert (each.figure.base.n, each.figure.cand.n) == (9, 9)
    assert (each.figure.base.figure, each.figure.cand.figure) == (10.0, 8.5)
    assert each.ratio == pytest.approx(0.85)
    assert each.interval is not None
    assert 0.8 < each.interval[0] < 0.85 < each.interval[1] < 0.9
    assert each.p is not None
    assert each.corrected_p is not None
    assert each.p <= each.corrected_p < 0.05


def test_a_difference_that_is_sure_but_small_is_no_finding(tmp_path: Path) -> None:
    base, cand = pair(tmp_path, *(rates({8: noisy(middle, scatter=0.001)})[0] for middle in (10.0, 9.5)))
    assert verdicts(compared(base, cand, relevant=0.1)) == [SAME]
    assert verdicts(compared(base, cand, relevant=0.01)) == [WORSE]


def test_the_same_needs_evidence(tmp_path: Path) -> None:
    wide = [rates({8: noisy(10.0, 5, scatter=0.1, seed=seed)})[0] for seed in (2, 5)]
    (each,) = throughput_of(compared(*pair(tmp_path, *wide)))
    assert (each.verdict, each.why) == (UNDECIDED, "the values scatter too widely")
    assert (each.advice.enough, each.advice.words) == (None, MORE_RUNS)
    wide = [rates({8: noisy(middle, 9, scatter=0.1, seed=2)})[0] for middle in (10.0, 10.05)]
    (each,) = throughput_of(compared(*pair(tmp_path, *wide)))
    assert each.verdict is UNDECIDED
    assert each.advice.enough is not None
    assert 20 < each.advice.enough < 1000
    assert each.advice.words == f"{each.advice.enough} repeats on each side would probably be enough"


def test_three_repeats_never_decide_and_it_says_how_many_would(tmp_path: Path) -> None:
    base, cand = pair(tmp_path, *(point("m", noisy(middle, 3)) for middle in (1.0, 100.0)))
    comparison = compared(base, cand)
    (each,) = comparison.figures
    assert (each.verdict, each.why, each.advice.enough) == (UNDECIDED, "too few for a verdict: 3 and 3 repeats", 4)
    assert each.ratio == pytest.approx(100, rel=0.05)
    assert each.interval is not None
    assert comparison.exit_status == 12


def test_two_repeats_against_many_do_not_decide_either(tmp_path: Path) -> None:
    (each,) = compared(*pair(tmp_path, point("m", noisy(1.0, 20)), point("m", noisy(100.0, 2)))).figures
    assert (each.verdict, each.why) == (UNDECIDED, "too few for a verdict: 20 and 2 repeats")


def test_one_of_many_figures_must_be_surer_than_one_alone(tmp_path: Path) -> None:
    def found(batches: range) -> Verdict:
        before = rates({b: noisy(10.0, 5, scatter=0.03, seed=b) for b in batches})
        after = rates({b: noisy(8.8 if b == 1 else 10.0, 5, scatter=0.03, seed=b + 1000) for b in batches})
        sides = (store(tmp_path / f"{len(batches)}{name}", *points) for name, points in (("a", before), ("b", after)))
        first = throughput_of(compared(*sides))[0]
        assert first.verdict is WORSE or "chance alone" in first.why
        return first.verdict

    assert found(range(1, 2)) is WORSE
    assert found(range(1, 65)) is UNDECIDED


def test_many_differences_at_once_are_found_with_few_repeats(tmp_path: Path) -> None:
    batches = [1, 2, 4, 8, 16, 32, 64, 128]
    before = rates({b: noisy(10.0, 5, seed=b) for b in batches})
    after = rates({b: noisy(20.0, 5, seed=b + 1000) for b in batches})
    assert verdicts(compared(store(tmp_path / "a", *before), store(tmp_path / "b", *after))) == [BETTER] * 8


def test_a_difference_that_runs_of_one_side_show_too_is_no_finding(tmp_path: Path) -> None:
    one = store(tmp_path / "a", *rates({8: noisy(10.0, seed=1)}))
    other = store(tmp_path / "b", *rates({8: noisy(9.0, seed=2)}))
    assert verdicts(compared(one, other)) == [WORSE]
    store(tmp_path / "a", *rates({8: noisy(8.7, seed=3)}))
    store(tmp_path / "b", *rates({8: noisy(10.1, seed=4)}))
    (each,) = throughput_of(compared(tmp_path / "a" / "*", tmp_path / "b" / "*"))
    assert (each.verdict, each.figure.base.n) == (UNDECIDED, 18)


def test_a_run_that_drifts_within_itself_shows_nothing_against_another(tmp_path: Path) -> None:
    steady = noisy(10.0, 10)
    drifting = [value * (1 - 0.03 * number) for number, value in enumerate(noisy(9.0, 10, seed=2))]
    base, cand = pair(tmp_path, rates({8: steady})[0], rates({8: drifting})[0])
    (each,) = throughput_of(compared(base, cand))
    assert each.verdict is UNDECIDED
    assert each.why.startswith("CAND drifted by ")
    base, cand = pair(tmp_path / "shuffled", rates({8: steady})[0], rates({8: sorted(drifting, key=hash)})[0])
    assert verdicts(compared(base, cand)) == [WORSE]


def test_with_many_runs_a_run_is_what_counts(tmp_path: Path) -> None:
    for number in range(8):
        store(tmp_path / "a", *rates({8: noisy(10.0 + 0.1 * number, seed=number)}))
        store(tmp_path / "b", *rates({8: noisy(8.0 + 0.1 * number, seed=number + 100)}))
    (each,) = throughput_of(compared(tmp_path / "a" / "*", tmp_path / "b" / "*"))
    assert (each.verdict, each.figure.base.n, len(each.figure.base.runs)) == (WORSE, 72, 8)


def wandering(seed: int, n: int = 20_000, middle: float = 80_000.0) -> Samples:
    """Latencies whose level wanders: neighbours are alike."""
    random = np.random.default_rng(seed)
    level = np.repeat(np.exp(0.05 * random.standard_normal(10)), n // 10)
    return middle * level * np.exp(0.1 * random.standard_normal(n))


def test_neighbouring_samples_do_not_count_as_independent(tmp_path: Path) -> None:
    called = 0
    for seed in range(20):
        base = store(tmp_path / f"a{seed}", wandering(seed))
        cand = store(tmp_path / f"b{seed}", wandering(seed + 100))
        called += len({WORSE, BETTER} & set(verdicts(compared(base, cand), "fault.latency")))
    assert called == 0


def test_latencies_are_compared_at_quantiles_and_lower_is_better(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    base = store(tmp_path / "a", 80_000 * np.exp(0.1 * random.standard_normal(20_000)))
    slow_tail = 80_000 * np.exp(0.1 * random.standard_normal(20_000))
    slow_tail[random.random(20_000) < 0.03] *= 5
    found = {e.figure.quantile: e for e in compared(base, store(tmp_path / "b", slow_tail)).figures}
    assert {name: each.verdict for name, each in found.items()} == {
        "p50": SAME, "p90": UNDECIDED, "p99": WORSE, "p99.9": WORSE,
    }  # fmt: skip
    assert (found["p99"].figure.unit, found["p99"].figure.better, found["p99"].figure.base.n) == ("ns", "lower", 20_000)


def test_a_quantile_that_the_samples_hardly_reach_is_not_judged(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    arrays = [80_000 * np.exp(0.1 * random.standard_normal(2_000)) for _ in range(2)]
    found = {
        e.figure.quantile: e
        for e in compared(store(tmp_path / "a", arrays[0]), store(tmp_path / "b", arrays[1])).figures
    }
    assert found["p50"].verdict is SAME
    assert (found["p99.9"].verdict, found["p99.9"].why) == (UNDECIDED, "too few for a verdict: 2000 and 2000 samples")
    assert found["p99.9"].advice.enough == 8_000
    short = compared(store(tmp_path / "c", arrays[0][:500]), store(tmp_path / "d", arrays[1][:500]))
    assert [each.figure.quantile for each in short.figures] == ["p50", "p90", "p99"]


def test_sides_of_different_length_are_compared_over_blocks_of_one_size(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    long, short = (80_000 * np.exp(0.5 * random.standard_normal(n)) for n in (40_000, 4_000))
    found = {e.figure.quantile: e for e in compared(store(tmp_path / "a", long), store(tmp_path / "b", short)).figures}
    assert (found["p50"].figure.base.size, found["p50"].figure.cand.size) == (200, 20)
    assert {found[name].verdict for name in ("p50", "p90", "p99")} <= {SAME, UNDECIDED}


def test_counts_and_what_follows_from_them_carry_no_verdict(tmp_path: Path) -> None:
    base, cand = (store(tmp_path / name, *rates({8: noisy(rate)})) for name, rate in (("a", 10.0), ("b", 5.0)))
    silent = {e.figure.metric for e in compared(base, cand).figures if e.verdict is Verdict.none}
    assert silent == {"writeback.wall", "writeback.user_cpu", "writeback.sys_cpu", "writeback.written"}


def test_a_metric_of_a_new_suite_gets_a_verdict(tmp_path: Path) -> None:
    base, cand = pair(tmp_path, point("my.time", noisy(1.0)), point("my.time", noisy(2.0, seed=2)))
    assert verdicts(compared(base, cand), "my.time") == [WORSE]


def test_values_of_zero_have_no_ratio(tmp_path: Path) -> None:
    (each,) = compared(*pair(tmp_path, point("m", [0.0] * 9), point("m", [1.0] * 9))).figures
    assert (each.verdict, each.ratio, each.why) == (UNDECIDED, None, "values of 0 have no ratio")


def test_a_figure_that_the_kernels_books_contradict_gets_no_verdict(tmp_path: Path) -> None:
    bad = sample.throughput(8, "sparse", noisy(5.0), checks={"bd_stat writes": {"expected": 10, "seen": 9}})
    each = throughput_of(compared(*pair(tmp_path, rates({8: noisy(10.0)})[0], bad)))[0]
    assert each.verdict is UNDECIDED
    assert "counters disagree" in each.why


def test_corrupt_pages_are_worse_without_statistics(tmp_path: Path) -> None:
    base, cand = pair(tmp_path, sample.integrity("swap"), sample.integrity("swap", corrupt=1))
    assert compared(base, cand).exit_status == 1
    assert verdicts(compared(base, cand), "integrity.corrupt") == [WORSE]
    assert verdicts(compared(cand, base), "integrity.corrupt") == [Verdict.none]


def test_exit_status_tells_no_regression_from_nothing_decided(tmp_path: Path) -> None:
    fine, slow = pair(tmp_path, rates({8: noisy(10.0)})[0], rates({8: noisy(8.0)})[0])
    assert compared(slow, fine).exit_status == 0
    assert compared(fine, slow).exit_status == 1
    few = store(tmp_path / "c", *rates({8: noisy(10.0, 2)}))
    assert compared(fine, few).exit_status == 12


def simulated(random: np.random.Generator, ratio: float, step: float) -> list[Figure]:
    """Three figures of nine repeats a side, in which the phone's speed takes a random step of that size each time."""
    speed = np.exp(np.cumsum(step * random.standard_normal(27)))
    pair = Pair(PooledPoint("t", {}, ()), PooledPoint("t", {}, ()))

    def side(middle: float, course: Samples) -> Observed:
        values = middle * course * np.exp(0.03 * random.standard_normal(9))
        return Observed(9, float(np.median(values)), (values,))

    return [
        Figure(pair, "m", "", "MiB/s", "higher", side(10.0, speed[:9]), side(10.0 * ratio, speed[18:]), "repeats")
        for _ in range(3)
    ]


@pytest.mark.parametrize("step", [0.0, 0.01])
def test_equal_sides_raise_hardly_an_alarm(step: float) -> None:
    random = np.random.default_rng(1)
    found = [each for _ in range(200) for each in judge(simulated(random, 1.0, step), 0.05)]
    assert sum(each.verdict in (WORSE, BETTER) for each in found) <= 6  # of 600


def test_a_difference_of_15_percent_is_called() -> None:
    random = np.random.default_rng(1)
    found = [[each.verdict for each in judge(simulated(random, 0.85, 0.0), 0.05)] for _ in range(200)]
    assert sum(verdicts == [WORSE] * 3 for verdicts in found) >= 190
    assert not {BETTER, SAME} & {verdict for verdicts in found for verdict in verdicts}
