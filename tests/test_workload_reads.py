"""Reads of zram's files on a fake phone: those that meet a writeback last until it ends, others do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from devices.fake.phone import FakePhone
from devices.fake.probe_reads import READ_NS
from devices.profiles.what_is_measured import Faults
from tests.fake_bench import Fake, fake_bench, small_profile
from workloads.reads_during import FILES, ReadsDuring, measure_reads_during_writeback, reads_results
from workloads.timed_writeback import NothingMeasured


def measured(folder: Path, *, holds_up: bool = True) -> tuple[ReadsDuring, Fake]:
    phone = FakePhone()
    phone.zrams[0].holds_up = holds_up
    with fake_bench(folder, phone, small_profile(faults=Faults(samples=100, batch_sizes=(1, 8)))) as fake:
        measure_reads_during_writeback(fake.bench, found := ReadsDuring())
        for result in reads_results(fake.bench, found):
            fake.bench.record(result)
    return found, fake


def test_a_read_that_meets_a_writeback_waits_for_its_end(memory_path: Path) -> None:
    """Reads begin anywhere in a writeback, so on the average they wait for a half of it."""
    found, _ = measured(memory_path)
    quiet, *running = found.conditions
    for file in FILES:
        assert {int(ns) for part in found.waits(quiet, file) for ns in part} == {READ_NS}
    for condition in running:
        turns = found.rounds.values(condition)
        waits = np.concatenate([turn.all_waits for turn in turns])
        writeback_ns = float(np.median([turn.writeback_ns for turn in turns]))
        assert waits.max() <= max(turn.writeback_ns for turn in turns) * 1.5 + READ_NS
        assert np.median(waits) == pytest.approx(writeback_ns / 2, rel=0.35)
    slow, fast = (np.median([turn.writeback_ns for turn in found.rounds.values(each)]) for each in running)
    assert slow > 3 * fast


def test_where_files_do_not_wait_a_read_takes_what_it_takes_on_a_quiet_phone(memory_path: Path) -> None:
    found, _ = measured(memory_path, holds_up=False)
    for condition in found.conditions:
        assert {int(ns) for turn in found.rounds.values(condition) for ns in turn.all_waits} == {READ_NS}


def test_each_file_and_condition_has_a_record_with_a_value_per_turn(memory_path: Path) -> None:
    _, fake = measured(memory_path)
    assert [(r.params["file"], r.params["batch_size"]) for r in fake.kept.records] == [
        (file, batch) for batch in (None, 1, 8) for file in FILES
    ]
    for result in fake.kept.records:
        waits, longest = (result.metrics[name].values for name in ("read.wait", "read.longest"))
        assert len(waits) == len(longest) == len(result.turns) == fake.bench.rounds.fewest
        assert all(0 < median <= most for median, most in zip(waits, longest, strict=True))
        assert (result.facts["writeback_ms"] > 0) is (result.params["writeback"] == "running")
        assert all(check["expected"] == check["seen"] > 0 for check in result.checks.values())
    assert sum(bool(result.checks) for result in fake.kept.records) == 2


def test_pages_that_stay_where_they_are_are_an_error(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.zram.forgets = 1
        with pytest.raises(NothingMeasured, match="bd_stat counts"):
            measure_reads_during_writeback(fake.bench, ReadsDuring())
