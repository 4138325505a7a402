"""Sections of page faults: what rounds tell of writeback and load, and what stands side by side."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from records import metrics as m
from records import model
from records.writing import RunFolder
from reports.render import Rendered
from tests import reports_sample as sample
from tests.reports_sample import fault_record, flat, turned_faults
from tests.test_reports_sections import block, findings, render


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path, "phone", sample.NOW)
    made.append(sample.session(made.run_id))
    return made


@pytest.fixture
def full(produced_report: Rendered) -> Rendered:
    return produced_report


# Faults while writeback runs


QUIET_US = [80] * 8 + [100, 200]


def writeback_faults(folder: RunFolder, slot: str, batch: int | None, us: list[int]) -> model.RunResult:
    params = {"slot": slot, "batch_size": batch, "writeback": "quiet" if batch is None else "running"}
    return turned_faults(folder, "fault_latency_writeback", params, us)


def busy_faults(folder: RunFolder, slot: str, us: list[int]) -> model.RunResult:
    """Beside a thread that only burns CPU time."""
    return turned_faults(folder, "fault_latency_writeback", {"slot": slot, "batch_size": None, "writeback": "cpu"}, us)


def behind(result: model.RunResult, writes: float) -> model.RunResult:
    """The same, with so many writes ahead of each fault."""
    return replace(result, metrics=m.WRITES_AHEAD.of([writes] * len(result.turns)))


def test_slow_down_is_against_the_quiet_phone_at_each_quantile(folder: RunFolder) -> None:
    rendered = render(
        folder,
        writeback_faults(folder, "ram", None, QUIET_US),
        writeback_faults(folder, "victim", None, QUIET_US),
        writeback_faults(folder, "ram", 32, [120] * 8 + [100, 500]),
        writeback_faults(folder, "in_flight", 32, [240] * 8 + [240, 600]),
    )
    assert findings(rendered)["Faults while writeback runs"] == (
        "in RAM, batch 32 against quiet: 1.50 times [1.50, 1.50], 2.50 times [2.50, 2.50] at p99. "
        "in flight, batch 32 against quiet: 3.00 times [3.00, 3.00], 3.00 times [3.00, 3.00] at p99."
    )
    rows = [line.split() for line in block(rendered.text, "Time of one page fault, quiet and while")]
    assert [row[-2:] for row in rows if row[:1] == ["RAM"]] == [["-", "-"], ["1.50", "2.50"]]
    assert [row[-2:] for row in rows if row[:2] == ["in", "flight"]] == [["3.00", "3.00"]]


def test_reads_behind_the_pool_come_first_by_batch_size_with_the_writes_ahead(folder: RunFolder) -> None:
    rendered = render(
        folder,
        writeback_faults(folder, "written_back", None, [1000] * 10),
        behind(writeback_faults(folder, "written_back", 32, [4700] * 10), 29.5),
        behind(writeback_faults(folder, "written_back", 1, [1010] * 10), 0.8),
        behind(writeback_faults(folder, "written_back", 8, [2400] * 10), 7.25),
        writeback_faults(folder, "ram", None, QUIET_US),
        writeback_faults(folder, "ram", 32, QUIET_US),
    )
    queue = (
        "Faults while writeback runs: written back, p50 against quiet: batch 8 2.40 times [2.40, 2.40] behind 7.25 "
        "writes, batch 32 4.70 times [4.70, 4.70] behind 29.5 writes; no difference could be told at batch 1 1.01 "
        "times [1.01, 1.01] behind 0.800 writes."
    )
    assert queue in " ".join(rendered.screen.split())
    assert re.search(r"^ *8 +7\.25 +2400 +2400$", rendered.screen, re.MULTILINE)


def test_a_running_writeback_is_compared_with_a_busy_cpu_too(folder: RunFolder) -> None:
    rendered = render(
        folder,
        writeback_faults(folder, "ram", None, QUIET_US),
        busy_faults(folder, "ram", [160] * 8 + [200, 400]),
        writeback_faults(folder, "ram", 32, [240] * 8 + [200, 400]),
    )
    rows = [line.split() for line in block(rendered.text, "Time of one page fault, quiet and while")]
    assert [row[-3:] for row in rows if row[:1] == ["RAM"]] == [
        ["-", "-", "-"], ["2.00", "2.00", "-"], ["3.00", "2.00", "1.50"],
    ]  # fmt: skip


def test_a_page_in_flight_is_compared_with_the_same_page_on_the_quiet_phone(folder: RunFolder) -> None:
    rendered = render(
        folder,
        writeback_faults(folder, "ram", None, QUIET_US),
        writeback_faults(folder, "victim", None, [160] * 8 + [200, 400]),
        writeback_faults(folder, "in_flight", 32, [240] * 8 + [300, 600]),
    )
    assert (
        "in flight, batch 32 against quiet: 1.50 times [1.50, 1.50], 1.50"
        in findings(rendered)["Faults while writeback runs"]
    )


@pytest.mark.parametrize(
    ("running", "words"),
    [
        (QUIET_US, "no difference could be told, 1.00 times [1.00, 1.00]"),
        ([82] * 8 + [100, 900], "no difference could be told at p50, 4.50 times [4.50, 4.50] at p99"),
        ([60] * 8 + [100, 200], "0.750 times [0.750, 0.750], no difference could be told at p99"),
    ],
)
def test_words_are_said_only_where_rounds_decide(folder: RunFolder, running: list[int], words: str) -> None:
    rendered = render(
        folder, writeback_faults(folder, "ram", None, QUIET_US), writeback_faults(folder, "ram", 32, running)
    )
    assert findings(rendered)["Faults while writeback runs"] == (f"in RAM, batch 32 against quiet: {words}.")


def test_samples_without_turns_are_shown_and_say_nothing(folder: RunFolder) -> None:
    def record(batch: int | None, us: int) -> model.RunResult:
        params = {"slot": "ram", "batch_size": batch, "writeback": "running" if batch else "quiet"}
        return fault_record(folder, "fault_latency_writeback", params, flat([us]))

    rendered = render(folder, record(None, 80), record(8, 240))
    assert "Faults while writeback runs" not in findings(rendered)
    row = next(line for line in block(rendered.text, "Time of one page fault, quiet and") if "batch 8" in line)
    assert row.split()[-2:] == ["3.00", "3.00"]


def test_the_same_in_several_tests_stands_side_by_side_and_is_doubted_if_it_differs(folder: RunFolder) -> None:
    known = {"slot": "written_back", "comp_algorithm": "lzo-rle"}
    results = [
        turned_faults(folder, "fault_latency", known, [490]),
        turned_faults(folder, "fault_latency_writeback", known | {"batch_size": None, "writeback": "quiet"}, [1600]),
        turned_faults(folder, "compressor_faults", known | {"compressed_writeback": False}, [500]),
    ]
    rendered = render(folder, *results)
    table = "\n".join(block(rendered.text, "The same in several tests"))
    assert re.findall(r"(490|1600|500)\b.*a$", table, re.MULTILINE) == ["490", "1600", "500"]
    assert model.Caveat.differs_elsewhere.value in " ".join(rendered.mail.split())


def test_the_same_in_several_tests_is_no_doubt_if_it_agrees(folder: RunFolder) -> None:
    known = {"slot": "written_back", "comp_algorithm": "lzo-rle"}
    results = [
        turned_faults(folder, "fault_latency", known, [490]),
        turned_faults(folder, "compressor_faults", known | {"compressed_writeback": False}, [495]),
    ]
    rendered = render(folder, *results)
    assert "The same in several tests" in rendered.text
    assert model.Caveat.differs_elsewhere.value not in rendered.text


# Faults under load


def load_record(folder: RunFolder, load: str, setting: str, us: int) -> model.RunResult:
    params = {"backing": "loop_direct", "load": load, "setting": setting, "slot": "written_back"}
    return turned_faults(folder, "fault_latency_load", params, [us])


def test_all_backing_devices_share_a_table_and_the_parts_of_a_fault_have_their_own(full: Rendered) -> None:
    table = "\n".join(block(full.text, "Time of one page fault under load"))
    assert [name in " ".join(table.split()) for name in ("direct", "buffered", "raw partition")] == [True] * 3
    parts = "\n".join(block(full.text, "Where a fault's time goes"))
    assert "raw partition" not in parts
    assert "CPU, all cores" in " ".join(parts.split())


@pytest.mark.parametrize(
    ("us", "words"),
    [
        (500, "loop with direct I/O, p50 against no load: no difference could be told for CPU, all cores 1.00 times"),
        (900, "loop with direct I/O, p50 against no load: CPU, all cores 1.80 times [1.80, 1.80] as long"),
        (250, "loop with direct I/O, p50 against no load: CPU, all cores 0.500 times [0.500, 0.500] as long"),
    ],
)
def test_what_a_load_did_is_said_as_far_as_rounds_tell(folder: RunFolder, us: int, words: str) -> None:
    rendered = render(folder, load_record(folder, "none", "default", 500), load_record(folder, "cpu", "default", us))
    assert findings(rendered)["Faults under load"].startswith(words)


@pytest.mark.parametrize(
    ("us", "words"),
    [
        (900, "no difference could be told for CPU, all cores; real-time I/O priority 1.00 times [1.00, 1.00]."),
        (600, "CPU, all cores; real-time I/O priority 0.667 times [0.667, 0.667] as long."),
    ],
)
def test_a_setting_is_praised_if_it_helps(folder: RunFolder, us: int, words: str) -> None:
    rendered = render(
        folder,
        load_record(folder, "none", "default", 500),
        load_record(folder, "cpu", "default", 900),
        load_record(folder, "cpu", "io_realtime", us),
    )
    assert findings(rendered)["Faults under load"].endswith(words)
