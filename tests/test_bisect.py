"""``./lab bisect``: where the search goes, what a session's end means to it, and how often it turns wrongly."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from base.errors import EXIT_INTERRUPTED, LabError
from commands import bisect
from commands.bisect import LOG, main, measured
from records import metrics as m
from records.alternated import FACT, DecidedFigure, PairedFigure
from records.bisection import MOST_UNDECIDED, Bisection
from records.model import End, RunResult
from records.sequential import MISSED, MOST_LOOKS, SideVerdict, StoppingRule
from records.writing import RunFolder
from tests.fake_bench import fake_bench
from tests.produced_run import profile
from tests.reports_sample import NOW, session
from workloads.alternated import alternation, measure_alternated, status_of
from workloads.sides import parse_sides

SESSIONS = int(os.environ.get("ZRAM_LAB_SIMULATED_SESSIONS", "600"))
TEN = [f"batch_size={size}" for size in range(1, 11)]
RATE, STORAGE, RAM = (
    PairedFigure(m.THROUGHPUT), PairedFigure(m.FAULT_LATENCY, "storage p50"), PairedFigure(m.FAULT_LATENCY, "RAM p50")
)  # fmt: skip
# By how much a figure is worse where the step is planted; both have the same of everything else.
WORSE = {RATE: 0.8, STORAGE: 2.0}


def leave_run(results: Path, figures: Sequence[DecidedFigure], status: int) -> None:
    """A run's folder as ``./lab ab`` leaves it."""
    folder = RunFolder.create(results, "virtual", NOW)
    folder.append(session(folder.run_id))
    for side in ("base", "cand"):
        facts = {FACT: [each.as_fact() for each in figures]}
        folder.append(RunResult("ab_writeback", "t", {"side": side}, {}, facts=facts))
    folder.append(End(status, "2026-11-23T10:17:58Z"))


class Sessions:
    """Stands for sessions of ``./lab ab``: which sides are worse, which undecided, and which end with a status."""

    def __init__(
        self, first_worse: str, *, undecided: Sequence[str] = (), ends: Mapping[str, int] | None = None
    ) -> None:
        self.worse_from, self.undecided, self.ends = first_worse, undecided, ends or {}
        self.asked: list[list[str]] = []

    @property
    def sides(self) -> list[str]:
        return [words[-1] for words in self.asked]

    def __call__(self, words: Sequence[str], folder: Path) -> int:
        self.asked.append(list(words))
        side = words[-1]
        (folder / LOG).write_text("lab: the words of the session\n")
        if side in self.ends:
            if self.ends[side] == 1:
                # As a session whose figures are well and whose kernel complained.
                same = StoppingRule().decide([1.0, 1.001] * 4, higher_is_better=False)
                leave_run(folder, [DecidedFigure(STORAGE, 1.0, 1.0, same)], 1)
            return self.ends[side]
        is_worse = self.worse_from in TEN and TEN.index(side) >= TEN.index(self.worse_from)
        rounds = 5 if side in self.undecided else 40
        figures = []
        for figure in (RATE, STORAGE, RAM):
            ratio = WORSE.get(figure, 1.0) if is_worse else 1.0
            noisy = np.exp(np.random.default_rng(3).normal(math.log(ratio), 0.01, rounds)).tolist()
            higher = figure.metric.better == "higher"
            decision = StoppingRule(figures=3).decide(noisy, higher_is_better=higher)
            figures.append(DecidedFigure(figure, 1.0, ratio, decision))
        status = status_of([each.decision.verdict for each in figures])
        leave_run(folder, figures, status)
        return status


def run(folder: Path, sessions: Sessions, *words: str, sides: Sequence[str] = TEN) -> int:
    return main([*sides, *words, "--results", str(folder)], measure=sessions)


@pytest.mark.parametrize("first_worse", TEN[1:])
def test_a_step_is_found_wherever_it_is(
    first_worse: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    sessions = Sessions(first_worse)
    assert run(tmp_path, sessions) == 1
    assert sessions.sides[0] == TEN[-1]
    assert len(sessions.sides) - 1 <= 4
    assert len(set(sessions.sides)) == len(sessions.sides)
    said = capsys.readouterr().out
    at = TEN.index(first_worse)
    assert f"the first that is worse: {at + 1} ({first_worse}); the one before is not: {at} ({TEN[at - 1]})" in said
    assert "then at most 4 more where each is decided, each within 10min" in said
    assert "chance of a wrong turn over all of them: at most 11 %" in said
    # Each session stands in the table with its verdict, its ratio and a folder that is there.
    (folder,) = tmp_path.iterdir()
    table = (folder / "bisect.txt").read_text()
    rows = [line for line in table.splitlines() if str(folder) in line]
    assert [line.split()[2].strip("()") for line in rows] == sessions.sides
    for line in rows:
        side = line.split()[2].strip("()")
        assert Path(line.split()[-1]).is_dir()
        assert (" worse " in line) is (TEN.index(side) >= at)
        assert ("[" in line) and ("storage p50" in line)


def test_the_steps_ask_for_the_figure_that_was_worst(tmp_path: Path) -> None:
    sessions = Sessions(TEN[4])
    run(tmp_path, sessions, "--relevant", "3%", "--budget", "2min", "--at", "comp_algorithm=lz4", "--device", "phone-1")
    ends, *steps = sessions.asked
    assert not any(word.startswith("--metric") for word in ends)
    for words in steps:
        assert {"--metric=fault.latency", "--at=where=storage p50", "--at=comp_algorithm=lz4"} <= set(words)
    for words in sessions.asked:
        assert {"--relevant=3%", "--budget=2min", "--device=phone-1"} <= set(words)
        assert words[-3:-1] == ["--", TEN[0]]


def test_a_metric_that_was_asked_for_stays(tmp_path: Path) -> None:
    sessions = Sessions(TEN[4])
    run(tmp_path, sessions, "--metric", "fault.latency", "--at", "where=storage p50")
    assert all(words.count("--at=where=storage p50") == 1 for words in sessions.asked)


def test_an_undecided_side_is_passed_by_its_neighbour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sessions = Sessions(TEN[6], undecided=[TEN[4]])
    assert run(tmp_path, sessions) == 1
    assert sessions.sides[1:3] == [TEN[4], TEN[5]]
    assert f"the first that is worse: 7 ({TEN[6]})" in capsys.readouterr().out


def test_what_stays_undecided_is_a_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sessions = Sessions(TEN[5], undecided=[TEN[4]])
    assert run(tmp_path, sessions) == 12
    said = capsys.readouterr().out
    assert f"is after 4 ({TEN[3]}), and 6 ({TEN[5]}) at the latest; undecided: 5 ({TEN[4]})" in said


def test_it_does_not_go_on_for_ever_where_nothing_can_be_decided(tmp_path: Path) -> None:
    sessions = Sessions(TEN[5], undecided=TEN[1:9])
    assert run(tmp_path, sessions) == 12
    assert len(sessions.asked) == 1 + MOST_UNDECIDED


def test_a_decision_gives_its_neighbours_new_tries() -> None:
    search = Bisection(100)
    for verdict in [SideVerdict.undecided] * (MOST_UNDECIDED - 1) + [SideVerdict.worse]:
        search.take(verdict)
    for _ in range(MOST_UNDECIDED):
        assert search.next_side is not None
        search.take(SideVerdict.undecided)
    assert search.next_side is None
    with pytest.raises(ValueError, match="has ended"):
        search.take(SideVerdict.same)


@pytest.mark.parametrize(("undecided", "status", "told"), [((), 0, "not worse"), (TEN[-1:], 12, "undecided whether")])
def test_without_a_worse_end_no_step_is_looked_for(
    undecided: Sequence[str], status: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    sessions = Sessions("none", undecided=undecided)
    assert run(tmp_path, sessions) == status
    assert len(sessions.asked) == 1
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(("ended", "status"), [(11, 11), (10, 10), (13, 13), (-9, 13), (4, 4), (1, 1), (0, 3)])
def test_a_step_that_fails_ends_it_and_tells_what_is_left(
    ended: int, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """1 with no figure that is worse is the kernel's complaint; 0 without a run is nobody's."""
    sessions = Sessions(TEN[7], ends={TEN[6]: ended})
    assert run(tmp_path, sessions) == status
    said = capsys.readouterr().out
    assert sessions.sides[-1] == TEN[6]
    assert f"after 5 ({TEN[4]}), and 10 ({TEN[9]}) at the latest; step 2 failed: exit status {ended}" in said
    assert "failed" in (next(tmp_path.iterdir()) / "bisect.txt").read_text()


def test_a_list_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one.patch", "two.patch"):
        (tmp_path / name).touch()
    (tmp_path / "sides.txt").write_text("# the series\none.patch\n\n  two.patch,batch_size=8\nzram=two.patch\n")
    monkeypatch.chdir(tmp_path)
    sessions = Sessions("none", ends={"zram=two.patch": 11})
    assert run(tmp_path / "results", sessions, "--list", "sides.txt", sides=["zram=stock"]) == 11
    assert sessions.asked[0][-2:] == ["zram=stock", "zram=two.patch"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["batch_size=1"], "1 sides"),
        (["batch_size=1", "batch=2", "size=3"], "side 2: 'batch' cannot be set.*\nside 3: 'size'"),
        (["batch_size=1", "kernel=6.12"], "side 2: kernel"),
        (["batch_size=1", "gone.patch"], "side 2: zram: 'gone.patch': no such file"),
        (["default", "default", "--at", "where=storage p50"], "of which metric"),
        (["--list", "gone.txt"], "gone.txt: cannot read"),
    ],
)
def test_what_is_wrong_is_told_before_a_session(words: list[str], told: str, tmp_path: Path) -> None:
    sessions = Sessions("none")
    with pytest.raises(LabError, match=told) as error:
        run(tmp_path, sessions, *words, sides=())
    assert error.value.exit_status == 4
    assert not sessions.asked
    assert list(tmp_path.iterdir()) == []


def test_a_session_is_a_process_whose_words_are_kept(tmp_path: Path) -> None:
    program = (sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(12)")
    assert measured(["--budget=1min", "--", "default", "batch_size=1"], tmp_path, program=program) == 12
    words = ["ab", f"--results={tmp_path}", "--budget=1min", "--", "default", "batch_size=1"]
    assert (tmp_path / LOG).read_text() == f"{words}\n"


def test_whoever_is_asked_to_end_passes_it_on_and_does_not_go_on(tmp_path: Path) -> None:
    """The session puts its phone back and ends well; in a process of its own, which the signal is for."""
    session = "import os, signal as s; s.pthread_sigmask(0, {15}); os.kill(os.getppid(), 15); s.sigwait({15})"
    asked = (
        "import pathlib, sys; from commands.bisect import measured; "
        f"sys.exit(measured([], pathlib.Path({str(tmp_path)!r}), program=(sys.executable, '-c', {session!r})))"
    )
    done = subprocess.run([sys.executable, "-c", asked], timeout=60, check=False)
    assert done.returncode == EXIT_INTERRUPTED


def test_a_dry_run_makes_nothing(tmp_path: Path) -> None:
    words = ["--dry-run", "--device", str(tmp_path / "gone.yaml"), "--results", str(tmp_path / "results")]
    assert main([*TEN, *words]) == 4
    assert list(tmp_path.iterdir()) == []


def test_ab_takes_the_words_of_a_session(tmp_path: Path) -> None:
    """Its own parser refuses the last word, which is read after all the others were understood."""
    wanted = bisect._parser().parse_args([*TEN, "--metric", "fault.latency", "--relevant", "3.5%", "--seed", "7"])
    nothing = StoppingRule().decide([], higher_is_better=True)
    words = bisect.session_words("default", "nonsense", wanted, DecidedFigure(STORAGE, 1, 1, nothing))
    assert measured(words, tmp_path) == 4
    assert "CAND: 'nonsense' is no setting" in (tmp_path / LOG).read_text()


def test_sides_that_are_measured_on_a_fake_phone(memory_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its disk serves 32 requests at a time: fewer are as slow as they are few."""

    def in_process(words: Sequence[str], folder: Path) -> int:
        with fake_bench(folder, profile=profile()) as fake:
            bench = replace(fake.bench, session=None)
            found = alternation(
                bench.stage, parse_sides(*words[-2:]), names=["throughput"], relevant=0.05, metric=m.THROUGHPUT.name
            )
            measure_alternated(bench, found)
            leave_run(folder, found.decided(found.asked[0]), status_of(found.verdicts))
        return status_of(found.verdicts)

    sides = [f"batch_size={size}" for size in (64, 48, 40, 24, 16)]
    status = main([*sides, "--metric", m.THROUGHPUT.name, "--results", str(memory_path)], measure=in_process)
    assert status == 1
    said = capsys.readouterr().out
    assert "the first that is worse: 4 (batch_size=24); the one before is not: 3 (batch_size=40)" in said


@pytest.mark.parametrize("sides", range(2, 40))
def test_as_few_steps_as_a_binary_search_can_do(sides: int) -> None:
    most = 0
    for first_worse in range(1, sides):
        search = Bisection(sides)
        while (side := search.next_side) is not None:
            search.take(SideVerdict.worse if side >= first_worse else SideVerdict.same)
        assert (search.is_found, search.bad) == (True, first_worse)
        most = max(most, search.decided)
    assert most == Bisection(sides).most_steps == math.ceil(math.log2(sides - 1))


@pytest.mark.parametrize("effect", [1.0501, 1.0499, 1.0])
def test_a_turn_is_wrong_as_rarely_as_is_said(effect: float) -> None:
    """Hardest are sides whose difference is all but the least relevant one."""
    rng, rule, wrong = np.random.default_rng(11), StoppingRule(), 0
    for _ in range(SESSIONS):
        logs = math.log(effect) + 0.03 * (rng.standard_normal(MOST_LOOKS) - rng.standard_normal(MOST_LOOKS))
        verdict = rule.decide(np.exp(logs).tolist(), higher_is_better=False).verdict
        if verdict is not SideVerdict.undecided:
            wrong += (verdict is SideVerdict.worse) is not (effect > 1.05)
    assert wrong / SESSIONS <= MISSED + 3 * math.sqrt(MISSED * (1 - MISSED) / SESSIONS)
