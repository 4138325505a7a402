"""Page faults under load on a fake phone: where the time of a read goes, by the events of loop device and disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from devices.fake.phone import FakePhone
from devices.fake.tracefs import TRACEFS
from devices.profiles.profile import Load
from devices.profiles.what_is_measured import Faults
from records.model import Caveat
from tests.fake_bench import fake_bench, small_profile
from workloads.background import Background, LoadDone
from workloads.faults_under_load import (
    DEFAULT,
    IO_REALTIME,
    WORKER_NICE,
    LoadCondition,
    UnderLoad,
    measure_faults_under_load,
    steps_of,
    under_load_results,
)
from workloads.timed_writeback import NothingMeasured

FEW = small_profile(faults=Faults(samples=100, loads=(Load.cpu, Load.random_read)).model_copy(update={"samples": 40}))


def condition(found: UnderLoad, backing: str, load: Load | None, setting: str = DEFAULT) -> LoadCondition:
    (one,) = [c for c in found.conditions if (c.backing, c.load, c.setting) == (backing, load, setting)]
    return one


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> UnderLoad:
    with fake_bench(tmp_path_factory.mktemp("load"), profile=FEW) as fake:
        found = measure_faults_under_load(fake.bench)
        assert len(fake.kept.steps) == steps_of(fake.bench.stage)
        assert {keys["io"] for keys in fake.told("touch")} == {"default", "realtime"}
        results = under_load_results(fake.bench, found)
    reads = [result.checks for result in results if result.params["slot"] == "written_back"]
    assert [list(check.values()) for check in reads] == [[{"expected": 40, "seen": 40}]] * len(found.conditions)
    return found


def test_a_read_is_split_into_the_disk_and_the_worker(found: UnderLoad) -> None:
    """The fake's worker takes 15 us on the way to the disk and as much on the way back, the disk 80 us."""
    quiet = condition(found, "loop_direct", None)
    assert quiet.split is not None
    disk, worker = quiet.split
    assert (disk.size, quiet.unmatched) == (40, 0)
    assert np.abs(worker.astype(np.int64) - 30_000).max() <= 2_000
    assert disk.mean() == pytest.approx(80_000, rel=0.05)
    faults = np.concatenate(quiet.written_back).astype(np.int64)
    assert np.abs(faults - (disk + worker).astype(np.int64)).max() < 10_000


def test_a_busy_disk_is_told_from_a_busy_worker(found: UnderLoad) -> None:
    quiet, reading = condition(found, "loop_direct", None), condition(found, "loop_direct", Load.random_read)
    assert quiet.split and reading.split
    assert reading.split[0].mean() == pytest.approx(3 * quiet.split[0].mean(), rel=0.1)
    assert reading.done.bytes > 0 < reading.done.cpu_s
    assert (quiet.done.bytes, quiet.done.cpu_s) == (0, 0)


def test_each_backing_device_has_its_conditions(found: UnderLoad) -> None:
    assert {c.backing for c in found.conditions} == {"loop_direct", "loop_buffered", "partition"}
    for backing in ("loop_buffered", "partition"):
        assert [c.setting for c in found.conditions if c.backing == backing] == [DEFAULT] * 3
        assert all(c.split is None for c in found.conditions if c.backing == backing)
    settings = [c.setting for c in found.conditions if c.backing == "loop_direct"]
    assert sorted(settings) == sorted([DEFAULT] * 3 + [IO_REALTIME] * 2 + [WORKER_NICE] * 2)


def test_what_the_page_cache_answers_is_not_found_at_the_disk(found: UnderLoad) -> None:
    buffered = condition(found, "loop_buffered", None)
    assert buffered.unmatched == 40
    assert np.concatenate(buffered.written_back).max() < 20_000


def test_workers_are_put_first_for_their_condition_only(found: UnderLoad) -> None:
    """Those of ordinary priority; the fake phone compares their nice values at the end."""
    assert {c.reniced for c in found.conditions if c.setting == WORKER_NICE} == {2}
    assert {c.reniced for c in found.conditions if c.setting != WORKER_NICE} == {0}


def test_without_events_faults_are_measured_and_the_reason_is_told(memory_path: Path) -> None:
    phone = FakePhone()
    phone.files = {path: text for path, text in phone.files.items() if not path.startswith(TRACEFS)}
    with fake_bench(memory_path, phone, FEW) as fake:
        found = measure_faults_under_load(fake.bench)
        results = under_load_results(fake.bench, found)
    assert "no block events in tracefs" in found.no_events_because
    assert condition(found, "loop_direct", None).split is None
    loop = [r for r in results if r.params["slot"] == "written_back" and r.params["backing"] == "loop_direct"]
    assert {r.facts["no_split_because"] for r in loop} == {found.no_events_because}


def test_a_file_whose_place_is_not_told_gives_no_split(memory_path: Path) -> None:
    phone = FakePhone()
    phone.refuses["extents"] = "Operation not supported"
    with fake_bench(memory_path, phone, FEW) as fake:
        assert "extents" in measure_faults_under_load(fake.bench).no_events_because


def test_reads_by_somebody_else_are_an_error(memory_path: Path) -> None:
    with fake_bench(memory_path, profile=FEW) as fake:
        fake.zram.other_reads = 1
        with pytest.raises(NothingMeasured, match="20 faults on written-back pages, but bd_stat counts 40 reads"):
            measure_faults_under_load(fake.bench)


def test_a_load_that_reached_its_bound_says_so(memory_path: Path) -> None:
    done = LoadDone()
    with fake_bench(memory_path, profile=FEW) as fake:
        background = Background(fake.bench, "/data/per_boot/load")
        with background.running(Load.sequential_write, done):
            fake.phone.clock.spend(2_000_000_000, busy=False)
        assert (done.bytes, done.ended_early) == (2 * 128 << 20, False)
        with background.running(Load.sequential_write, done):
            fake.phone.clock.spend(60_000_000_000, busy=False)
        assert (done.bytes, done.ended_early) == ((2 * 128 << 20) + (512 << 20), True)
        fake.phone.remove("/data/per_boot/load")
        faults = [np.array([1], np.uint64)]
        ended = UnderLoad([LoadCondition("loop_direct", Load.cpu, done=done, ram=faults, written_back=faults)])
        assert Caveat.load_ended_early in under_load_results(fake.bench, ended)[0].caveats
