"""Two sides in turn on a fake phone: the order, what ends it, the records, and what a reader is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from base.errors import EnvironmentRefused, ProfileError
from commands.ab import bisect_status, main
from devices.capability import Capability
from devices.profiles.sections import PageKind
from records import metrics as m
from records import tests as t
from records.alternated import decided_figures
from records.model import RunResult
from records.reading import StoredRun, load
from records.sequential import MOST_LOOKS, SideVerdict
from reports.analysis import analyse
from reports.contents import sections
from reports.screen import MOST_LINES, screen
from reports.sections import alternated as part
from tests.fake_bench import Fake, fake_bench
from tests.produced_run import median, produced, profile
from workloads.alternated import Alternation, alternated_results, alternation, measure_alternated, status_of
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.rounds import EndedBy
from workloads.sides import parse_sides


@pytest.fixture
def fake(memory_path: Path) -> Iterator[Fake]:
    with fake_bench(memory_path, profile=profile()) as found:
        yield found


@pytest.fixture(scope="module")
def stored(produced_run: Path) -> StoredRun:
    return load(produced_run)


def patient(fake: Fake, **plan: float) -> Bench:
    return replace(fake.bench, rounds=replace(RoundsPlan(), **plan), session=None)  # type: ignore[arg-type]


def asked(bench: Bench, base: str, cand: str, *names: str, metric: str = "", where: str = "") -> Alternation:
    sides = parse_sides(base, cand)
    found = alternation(bench.stage, sides, names=names, relevant=0.05, metric=metric, where=where)
    measure_alternated(bench, found)
    return found


def test_memory_of_apps_goes_to_no_mapped_file(fake: Fake) -> None:
    sides = parse_sides("default", "backing=f2fs-file-mapped")
    found = alternation(fake.bench.stage, sides, names=(), relevant=0.05)
    assert "switch" not in [question.name for question in found.questions]
    with pytest.raises(EnvironmentRefused, match="switch needs a backing device for the memory of apps"):
        alternation(fake.bench.stage, sides, names=("switch",), relevant=0.05)


def by_side(results: list[RunResult]) -> dict[str, RunResult]:
    return {result.params["side"]: result for result in results}


def test_more_writes_in_flight_are_better_and_fewer_are_worse(fake: Fake) -> None:
    bench = patient(fake)
    up, down = (
        asked(bench, "batch_size=1", "batch_size=32", "throughput"),
        asked(bench, "batch_size=32", "batch_size=1", "throughput", metric=m.THROUGHPUT.name),
    )
    assert up.verdicts[0] is SideVerdict.better
    assert (down.verdicts, status_of(down.verdicts)) == ([SideVerdict.worse], 1)
    (question,) = down.asked
    assert (question.rounds.count, question.rounds.ended_by) == (8, EndedBy.decision)
    sides = by_side(alternated_results(bench, up))
    assert median(sides["cand"], m.THROUGHPUT) > 8 * median(sides["base"], m.THROUGHPUT)
    (first, *_) = decided_figures(sides["cand"].facts)
    assert first.decision.ratio == pytest.approx(
        median(sides["cand"], m.THROUGHPUT) / median(sides["base"], m.THROUGHPUT), rel=0.05
    )
    assert sides["base"].facts["settings"] == "batch_size=1"
    assert sides["base"].checks["pages written (bd_stat)"]["expected"] > 0


def test_equal_sides_are_the_same(fake: Fake) -> None:
    found = asked(patient(fake), "batch_size=32", "batch_size=32", "throughput")
    assert set(found.verdicts) == {SideVerdict.same}
    assert status_of(found.verdicts) == 0


def test_sides_go_there_and_back(fake: Fake) -> None:
    found = asked(patient(fake), "batch_size=1", "batch_size=32", "throughput")
    order = [visit.point.name for visit in found.asked[0].rounds.visits]
    assert order == ["base", "cand", "cand", "base"] * 4


def test_the_budget_ends_what_is_not_decided(fake: Fake) -> None:
    bench, clock = patient(fake, budget_s=10.0, since_s=0.0), iter(range(1_000_000))
    found = alternation(
        bench.stage, parse_sides("batch_size=1", "batch_size=32"), names=["throughput"], relevant=0.05
    )  # fmt: skip
    measure_alternated(bench, found, now=lambda: float(next(clock)))
    assert found.asked[0].rounds.ended_by is EndedBy.budget
    assert set(found.verdicts) == {SideVerdict.undecided}
    assert status_of(found.verdicts) == 12


def test_no_more_rounds_than_the_storage_or_the_rule_bears(fake: Fake) -> None:
    found = alternation(fake.bench.stage, parse_sides("", ""), names=["throughput"], relevant=0.05)
    most = found.questions[0].most_rounds(fake.bench.stage)
    assert most is not None
    assert most > 1
    assert MOST_LOOKS == 120


def test_questions_are_those_that_the_phone_can_answer(fake: Fake) -> None:
    stage, sides = fake.bench.stage, parse_sides("", "")
    assert [each.name for each in alternation(stage, sides, names=(), relevant=0.05).questions] == [
        "throughput", "fault", "during", "switch"
    ]  # fmt: skip
    only = alternation(stage, sides, names=(), relevant=0.05, metric="fault.latency", where="storage p50")
    assert ([each.name for each in only.questions], only.rule.figures) == (["fault"], 1)
    with pytest.raises(ProfileError, match="no such figure") as told:
        alternation(stage, sides, names=(), relevant=0.05, metric="fault.latencies")
    assert "fault.latency storage p50" in told.value.hint
    stage.device.capabilities -= {Capability.page_index}
    left = alternation(stage, sides, names=(), relevant=0.05).questions
    assert [each.name for each in left] == ["throughput", "switch"]
    with pytest.raises(EnvironmentRefused, match="fault needs page_index"):
        alternation(stage, sides, names=["fault"], relevant=0.05)


def test_compressors_are_compared_on_pages_as_memory_has_them(fake: Fake) -> None:
    bench = patient(fake)
    found = asked(bench, "comp_algorithm=lz4", "comp_algorithm=zstd", "throughput")
    pages = {result.params["pages"] for result in alternated_results(bench, found)}
    assert pages == {str(PageKind.memory)}


def test_a_figure_that_a_side_never_shows_does_not_hold_up_the_others(fake: Fake) -> None:
    """With 13 samples a turn there is no p99."""
    found = asked(patient(fake), "batch_size=8", "batch_size=8", "fault")
    wheres = [each.figure.where for each in found.decided(found.asked[0])]
    assert wheres == ["RAM p50", "storage p50"]


def test_a_reader_is_told_on_one_screen(stored: StoredRun) -> None:
    mine = tuple(result for result in stored.runs if result.test in {test.name for test in part.TESTS})
    analysis = analyse(replace(stored, runs=mine))
    told = screen(analysis, sections(analysis))
    assert len(told.splitlines()) <= MOST_LINES
    for word in ("BASE: batch_size=1", "CAND: batch_size=32", "better", "of interest from 5 %", "decision"):
        assert word in told, told
    (row,) = [line for line in told.splitlines() if line.startswith("writeback throughput")]
    assert "8 decision" in row


def test_sides_that_were_never_left_in_peace_are_told(stored: StoredRun) -> None:
    mine = [result for result in stored.runs if result.test == t.AB_WRITEBACK.name]
    spoilt = [
        replace(
            each, facts={**each.facts, "decisions": []},
            turns=[replace(turn, disturbed=["other"]) for turn in each.turns],
        )
        for each in mine
    ]  # fmt: skip
    analysis = analyse(replace(stored, runs=tuple(spoilt)))
    told = screen(analysis, sections(analysis))
    assert "BASE: batch_size=1; CAND: batch_size=32" in told
    assert "nothing is told of this" in told


def test_what_is_written_can_be_read(stored: StoredRun) -> None:
    record = produced(stored, t.AB_WRITEBACK, side="cand")
    (rate, *_) = decided_figures(record.facts)
    assert rate.as_fact() == record.facts["decisions"][0]
    assert (
        decided_figures({"decisions": [{"metric": "writeback.throughput"}, 3, {**rate.as_fact(), "verdict": "x"}]})
        == []
    )
    assert decided_figures({"decisions": "none"}) == decided_figures({}) == []


@pytest.mark.parametrize(
    ("status", "told"), [(0, 0), (1, 1), (12, 125), (10, 138), (11, 139), (13, 141), (2, 130), (4, 132)]
)
def test_git_bisect_is_told_what_it_understands(status: int, told: int) -> None:
    assert bisect_status(status) == told


@pytest.mark.parametrize(
    "words", [["batch=1", "batch_size=2"], ["", "", "--at", "where=storage p50"], ["", "", "--relevant", "0"]]
)
def test_what_is_wrong_is_told_before_a_phone_is_touched(words: list[str]) -> None:
    with pytest.raises((ProfileError, SystemExit)) as told:
        main(words)
    assert getattr(told.value, "exit_status", getattr(told.value, "code", None)) == 4
    with pytest.raises((ProfileError, SystemExit)) as stops:
        main([*words, "--bisect"])
    assert getattr(stops.value, "exit_status", getattr(stops.value, "code", None)) == 132
