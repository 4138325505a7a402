"""Faults on the virtual phone: both kinds of page in one order, and what a race with a writeback counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from devices.adb import AdbTransport
from devices.device import open_device
from devices.profiles.reading import load
from devices.profiles.sections import PageKind
from tests.bench_sample import bench_on
from workloads.bench import Bench
from workloads.faults import RAM, WRITTEN_BACK, swap_out, touch_all, write_back_half
from workloads.faults_during import FaultsDuring, measure_faults_during_writeback
from workloads.reads_during import FILES, ReadsDuring, measure_reads_during_writeback
from workloads.stage import Stage, set_stage

pytestmark = pytest.mark.phone
PROFILE = """\
name: faults
connection: {adb: {}}
zram: {disksize: 128MiB}
backing: {path: /data/per_boot/faults, size: 64MiB}
sweep: {data: [4MiB]}
inflight: {data: 4MiB}
variants: {data: 4MiB}
compressors: {data: 4MiB}
faults: {samples: 200, batch_sizes: [1, 32]}
"""


@pytest.fixture
def stage(transport: AdbTransport, tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "faults.yaml").write_text(PROFILE)
    with open_device(transport) as device, device.changes() as changes:
        yield set_stage(changes, load(str(tmp_path / "faults.yaml")))


@pytest.fixture
def bench(stage: Stage, tmp_path: Path) -> Iterator[Bench]:
    with bench_on(stage, tmp_path, seed=9)[0].probing(alarm_s=500) as probing:
        yield probing


def test_both_kinds_of_page_are_touched_in_one_mixed_order(stage: Stage, bench: Bench) -> None:
    stage.as_swap(1000)
    bench.probe.fill_area("a", 400 * stage.page_bytes, mix=PageKind.compressible.mix, seed=9)
    swap_out(bench, "a", 400)
    write_back_half(bench, "a", 200, seed=9)
    records, _ = touch_all(bench, "a", 9)
    label = records["label"]
    assert [(label == RAM).sum(), (label == WRITTEN_BACK).sum()] == [200, 200]
    # In a random order about every second page is of the other kind than the one before.
    assert np.count_nonzero(np.diff(label.astype(int))) > 100


def test_a_race_meets_all_kinds_and_the_kernel_counts_the_same(bench: Bench) -> None:
    measure_faults_during_writeback(bench, found := FaultsDuring())
    assert [str(condition) for condition in found.conditions] == ["quiet", "cpu", "batch-1", "batch-32"]
    for condition in found.conditions:
        assert all(found.latencies(condition, slot).size >= 200 for slot in condition.slots)
        assert [found.corrupt(condition, slot) for slot in condition.slots] == [0, 0, 0]
        assert [check for check in found.checks(condition).values() if check["seen"] != check["expected"]] == []
    quiet, burning, *running = found.conditions
    percent = found.burn_percent(burning)
    assert percent is not None
    assert found.cpu_share(quiet) < 0.05 < percent / 100
    # A busy host takes from the thread what it cannot give back.
    assert 0.3 * percent < 100 * found.cpu_share(burning) < percent + 10
    for condition in running:
        share, touched = found.share_in_flight(condition), found.latencies(condition, "in_flight")
        assert share > 0.3, (found.waiting(condition), touched.size)
        ahead = found.writes_ahead(condition)
        assert len(ahead) == len(found.turns(condition))
        assert 0 < np.median(ahead) <= (condition.batch_size or 1) + 1
        # Pages in flight are still in memory: no read from storage is among them.
        assert np.median(touched) < np.median(found.latencies(condition, "written_back"))


def test_a_read_of_zrams_files_waits_for_the_writeback_that_it_meets(bench: Bench) -> None:
    measure_reads_during_writeback(bench, found := ReadsDuring())
    quiet, *running = found.conditions
    for condition in running:
        for file in FILES:
            waits, alone = (np.median(np.concatenate(found.waits(each, file))) for each in (condition, quiet))
            assert waits > 2 * alone, (str(condition), file, waits, alone)
