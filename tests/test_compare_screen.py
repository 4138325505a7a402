"""A comparison on one screen and in one mail: 40 lines, whatever is compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from base.units import MIB
from commands.__main__ import main
from records import metrics as m
from records import model
from records.writing import RunFolder
from reports.comparison.compare import Comparison
from reports.comparison.screen import render_mail, render_screen
from reports.comparison.verdicts import Verdict
from tests import reports_sample as sample
from tests.compare_runs import Record, compared, faults_in_turns, in_turns, noisy, point, rates, store, turns
from tests.produced_run import write_run

BATCHES = (1, 8, 32, 64, 128)
TURNS = 10


def held(comparison: Comparison) -> list[str]:
    """Both forms, which hold what they promise."""
    found = []
    for render, width in ((render_screen, 100), (render_mail, 72)):
        text = render(comparison)
        lines = text.splitlines()
        assert len(lines) <= 40, text
        assert max(map(len, lines)) <= width, text
        found.append(text)
    assert found[1].isascii()
    return found


def sweep(
    random: np.random.Generator, factor: float, disturbed: Collection[int] = (), sizes: Collection[int] = (32 * MIB,)
) -> list[model.RunResult]:
    """Throughput and CPU time by batch; a candidate that is so many times faster takes less of both."""

    def values(middle: float) -> list[float]:
        found: list[float] = (middle * np.exp(0.05 * random.standard_normal(TURNS))).tolist()
        return found

    results = []
    for data in sizes:
        for batch in BATCHES:
            result = sample.throughput(batch, "sparse", values(20 * batch**0.3 * factor), data=data)
            result = replace(result, metrics={**result.metrics, **m.CPU_ALL.of(values(12 / factor))})
            results.append(in_turns(result, disturbed))
    return results


def faults(
    random: np.random.Generator, factor: float, test: str, disturbed: Collection[int], **params: object
) -> Callable[[RunFolder], model.RunResult]:
    def made(folder: RunFolder) -> model.RunResult:
        blocks = [
            80_000 / factor * np.exp(0.05 * random.standard_normal() + 0.2 * random.standard_normal(250))
            for _ in range(TURNS)
        ]
        return replace(faults_in_turns(folder, blocks, disturbed), test=test, params=params)

    return made


def switches(
    random: np.random.Generator, factor: float, disturbed: Collection[int]
) -> Callable[[RunFolder], model.RunResult]:
    def made(folder: RunFolder) -> model.RunResult:
        times = (40 / factor * np.exp(0.05 * random.standard_normal(TURNS * 8))).tolist()
        beside = folder.save_raw("switch.turn", np.repeat(np.arange(TURNS, dtype=np.uint64), 8))
        return model.RunResult(
            "app_switch", "t", {"kind": "synthetic", "writeback": "off", "batch_size": 1, "apps": 8},
            m.SWITCH_LATENCY.of(times), raw={"switch.turn": beside}, turns=turns(TURNS, disturbed),
        )  # fmt: skip

    return made


def whole(results: Path, seed: int, factor: float = 1.0, disturbed: Collection[int] = ()) -> Path:
    """A run with every primary figure and a hundred others."""
    random = np.random.default_rng(seed)
    records: list[Record] = [*sweep(random, factor, disturbed, (32 * MIB, 128 * MIB))]
    for slot in ("ram", "written_back"):
        records.append(faults(random, factor, "fault_latency", disturbed, slot=slot, comp_algorithm="lz4"))
        for setting in ("default", "io_realtime", "worker_nice"):
            for load in ("none", "cpu", "random_read", "sequential_write"):
                params = {"backing": "loop_direct", "load": load, "setting": setting, "slot": slot}
                records.append(faults(random, factor, "fault_latency_load", disturbed, **params))
        for batch in BATCHES:
            at = {"slot": slot, "writeback": "running", "comp_algorithm": "lz4"}
            records.append(faults(random, factor, "fault_latency_writeback", disturbed, batch_size=batch, **at))
    return store(results, *records, switches(random, factor, disturbed))


def test_hundreds_of_figures_fit(tmp_path: Path) -> None:
    comparison = compared(whole(tmp_path / "a", 1), whole(tmp_path / "b", 2, disturbed=(3,)))
    assert len(comparison.judged) > 100
    for text in held(comparison):
        assert re.search(r"^ batch 1,? .* 0\.9\d+|1\.0\d ", text, re.MULTILINE)
        assert re.search(r"^fault_latency_writeback p99: 10 ", text, re.MULTILINE)
        assert "0/1" in text
    assert "turns, 47 disturbed" in held(comparison)[0]


def test_what_is_worse_is_seen_first_also_among_hundreds(tmp_path: Path) -> None:
    slow = [replace(sample.throughput(256, "sparse", noisy(rate, TURNS)), turns=turns(TURNS)) for rate in (50.0, 25.0)]
    sides = []
    for name, result in zip(("a", "b"), slow, strict=True):
        random = np.random.default_rng(1)
        sides.append(store(tmp_path / name, *sweep(random, 1.0, (), range(MIB, 31 * MIB, MIB)), result))
    screen, mail = held(compared(*sides))
    assert mail.startswith("Subject: zram writeback: 1 worse, 0 better of ")
    for text in (screen, mail):
        assert "Something is worse." in text
        assert re.search(r"^ batch 256.* 0\.500 .* worse$", text, re.MULTILINE)


def test_other_figures_that_are_worse_are_named_below_the_table(tmp_path: Path) -> None:
    base = store(tmp_path / "a", *rates({8: noisy(10.0)}), point("m", noisy(1.0)), sample.integrity("swap"))
    cand = store(tmp_path / "b", *rates({8: noisy(10.0)}), point("m", noisy(2.0)), sample.integrity("swap", 3))
    for text in held(compared(base, cand)):
        assert "CAND: DATA CORRUPTION: 3 pages came back different." in text
        assert "2 other figures: 2 worse; worse: m (size 1); corrupt pages (path swap)" in " ".join(text.split())


def test_runs_of_schema_1_show_system_time_without_a_verdict(tmp_path: Path) -> None:
    def old(name: str) -> Path:
        side = store(tmp_path / name, *rates({batch: noisy(10.0, 5) for batch in BATCHES}))
        first, rest = (side / "results.jsonl").read_text().split("\n", 1)
        (side / "results.jsonl").write_text(json.dumps(json.loads(first) | {"schema": 1}) + "\n" + rest)
        return side

    new = store(tmp_path / "c", *sweep(np.random.default_rng(1), 1.0))
    for comparison in (compared(old("a"), old("b")), compared(old("d"), new)):
        screen, _ = held(comparison)
        assert re.search(r"^system CPU time of writeback \[s\]", screen, re.MULTILINE)
        assert re.search(r"^ batch 8 +0\.\d+ +0\.\d+ .*\] +-$", screen, re.MULTILINE)
        assert "a run of schema 1: its intervals take samples for repeats" in " ".join(screen.split())
    screen, _ = held(comparison)
    assert re.search(r"COMPARED, 5 in all \(-v\): .* writeback\.cpu_all only in CAND", " ".join(screen.split()))


def test_runs_as_the_suites_store_them_fit(tmp_path: Path) -> None:
    sides = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        sides.append(write_run(tmp_path / name))
    held(compared(*sides))


def test_nothing_in_common_is_told_in_a_few_lines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base, cand = whole(tmp_path / "a", 1), store(tmp_path / "b", sample.integrity("swap"))
    for form in ("table", "mail"):
        assert main(["compare", str(base), str(cand), "--format", form]) == 12
        out, err = capfd.readouterr()
        assert out == ""
        assert 0 < len(err.splitlines()) <= 40


def test_without_a_primary_figure_the_others_take_the_table(tmp_path: Path) -> None:
    sides = [store(tmp_path / name, *(point(f"m{number}", noisy(1.0)) for number in range(60))) for name in ("a", "b")]
    for text in held(compared(*sides)):
        assert "No primary figure was measured on both sides." in text
        assert re.search(r"^m0: 1 same, ratio 1\.00", text, re.MULTILINE)


def test_long_words_from_a_phone_do_not_push_the_table_out(tmp_path: Path) -> None:
    def hostile(name: str, factor: float) -> Path:
        changes = {key: f"{name} {'long ' * 300}" for key in ("kernel_release", "build", "kernel_build")}
        results = [replace(each, caveats=list(model.Caveat)) for each in sweep(np.random.default_rng(1), factor)]
        only = sample.throughput(3 if name == "a" else 5, "x" * 500, [1.0])
        corrupt = sample.integrity("swap", 1)
        return store(tmp_path / name, *results, only, corrupt, end=False, model="y" * 2000, **changes)

    for text in held(compared(hostile("a", 1.0), hostile("b", 0.5))):
        assert " worse" in text.partition("Both on")[2]
        assert "DATA CORRUPTION" in text


def test_three_repeats_have_an_estimate_and_the_reason_why_there_is_no_verdict(tmp_path: Path) -> None:
    base, cand = (store(tmp_path / name, *rates({32: noisy(rate, 3)})) for name, rate in (("a", 10.0), ("b", 12.5)))
    for text in held(compared(base, cand)):
        assert re.search(r"^ batch 32 .* 1\.25 +\[?1\.2\d.* (\?|not enough data)$", text, re.MULTILINE)
        assert "too few for a verdict: 3 and 3 repeats; 4 repeats on each side would" in " ".join(text.split())


@pytest.mark.parametrize("factor", [1.5, 1 / 1.5])
def test_a_known_factor_is_called_for_every_primary_figure(factor: float, tmp_path: Path) -> None:
    comparison = compared(whole(tmp_path / "a", 1), whole(tmp_path / "b", 2, factor))
    primary = [each for each in comparison.judged if each.figure.is_primary]
    expected = Verdict.better if factor > 1 else Verdict.worse
    assert [(each.figure.pair.test, each.why) for each in primary if each.verdict is not expected] == []
    assert len(primary) == 20 + 2 * 2 + 2 * 10 + 1
    assert comparison.exit_status == (0 if factor > 1 else 1)
