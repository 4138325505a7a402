"""Page faults under load on a fake phone: where the time of a read goes, by the events of loop device and disk."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from devices.fake.phone import FakePhone
from devices.fake.tracefs import TRACEFS
from devices.profiles.profile import Load
from devices.profiles.what_is_measured import Faults
from records.model import Caveat, RunResult, Turn
from tests.bench_sample import Kept
from tests.fake_bench import fake_bench, small_profile
from workloads.background import Background, LoadDone
from workloads.faults_under_load import (
    DEFAULT,
    IO_REALTIME,
    WORKER_NICE,
    LoadCondition,
    LoadTurn,
    UnderLoad,
    measure_faults_under_load,
    under_load_results,
)
from workloads.rounds import Visit
from workloads.timed_writeback import NothingMeasured

FEW = small_profile(faults=Faults(samples=100, loads=(Load.cpu, Load.random_read)).model_copy(update={"samples": 40}))


def condition(found: UnderLoad, backing: str, load: Load | None, setting: str = DEFAULT) -> LoadCondition:
    (one,) = [c for c in found.conditions if (c.backing, c.load, c.setting) == (backing, load, setting)]
    return one


@dataclass(frozen=True)
class Measured:
    """What was measured, the records of it by condition and slot, and what they saved."""

    found: UnderLoad
    results: Mapping[tuple[str, str, str, str], RunResult]
    kept: Kept

    def raw(self, result: RunResult, name: str) -> npt.NDArray[np.uint64]:
        return self.kept.raw[Path(result.raw[name]).stem]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    with fake_bench(tmp_path_factory.mktemp("load"), profile=FEW) as fake:
        measure_faults_under_load(fake.bench, found := UnderLoad())
        assert len(fake.kept.steps) == fake.bench.rounds.fewest * len(found.conditions)
        assert {keys["io"] for keys in fake.told("touch")} == {"default", "realtime"}
        results = under_load_results(fake.bench, found)
    keys = ("backing", "load", "setting", "slot")
    return Measured(found, {tuple(r.params[key] for key in keys): r for r in results}, fake.kept)


@pytest.fixture
def found(measured: Measured) -> UnderLoad:
    return measured.found


def test_each_condition_has_a_turn_a_round_and_the_books_agree(measured: Measured) -> None:
    assert len(measured.results) == 2 * len(measured.found.conditions)
    for (_, _, _, slot), result in measured.results.items():
        assert [turn.round for turn in result.turns] == list(range(5))
        # 40 samples in 5 rounds.
        assert measured.raw(result, "fault.turn").tolist() == np.repeat(range(5), 8).tolist()
        latencies = measured.raw(result, "fault.latency")
        assert latencies.size == 40
        if slot == "written_back":
            assert list(result.checks.values()) == [{"expected": 40, "seen": 40}]


def test_a_read_is_split_into_the_disk_and_the_worker(measured: Measured) -> None:
    """The fake's worker takes 15 us on the way to the disk and as much on the way back, the disk 80 us."""
    result = measured.results["loop_direct", "none", DEFAULT, "written_back"]
    disk, worker = measured.raw(result, "fault.disk"), measured.raw(result, "fault.worker")
    assert (disk.size, worker.size, result.facts["reads_not_found_at_the_disk"]) == (40, 40, 0)
    assert measured.raw(result, "split.turn").tolist() == np.repeat(range(5), 8).tolist()
    assert np.abs(worker.astype(np.int64) - 30_000).max() <= 2_000
    assert disk.mean() == pytest.approx(80_000, rel=0.05)
    faults = measured.raw(result, "fault.latency").astype(np.int64)
    assert np.abs(faults - (disk + worker).astype(np.int64)).max() < 10_000


def test_a_busy_disk_is_told_from_a_busy_worker(found: UnderLoad) -> None:
    quiet, reading = condition(found, "loop_direct", None), condition(found, "loop_direct", Load.random_read)
    alone, beside = found.split(quiet), found.split(reading)
    assert alone and beside
    assert beside[0].mean() == pytest.approx(3 * alone[0].mean(), rel=0.1)
    assert found.load(reading).bytes > 0 < found.load(reading).cpu_s
    assert (found.load(quiet).bytes, found.load(quiet).cpu_s) == (0, 0)


def test_each_backing_device_has_its_conditions(found: UnderLoad) -> None:
    assert {c.backing for c in found.conditions} == {"loop_direct", "loop_buffered", "partition"}
    for backing in ("loop_buffered", "partition"):
        assert [c.setting for c in found.conditions if c.backing == backing] == [DEFAULT] * 3
        assert all(found.split(c) is None for c in found.conditions if c.backing == backing)
    settings = [c.setting for c in found.conditions if c.backing == "loop_direct"]
    assert sorted(settings) == sorted([DEFAULT] * 3 + [IO_REALTIME] * 2 + [WORKER_NICE] * 2)


def test_what_the_page_cache_answers_is_not_found_at_the_disk(found: UnderLoad) -> None:
    buffered = condition(found, "loop_buffered", None)
    assert found.unmatched(buffered) == 40
    assert found.latencies(buffered, "written_back").max() < 20_000


def test_workers_are_put_first_for_their_condition_only(found: UnderLoad) -> None:
    """Those of ordinary priority; the fake phone compares their nice values at the end."""
    for one in found.conditions:
        assert {turn.reniced for turn in found.turns(one)} == {2 if one.setting == WORKER_NICE else 0}


def test_a_backing_device_is_made_anew_only_when_another_was_measured_meanwhile(memory_path: Path) -> None:
    with fake_bench(memory_path, profile=FEW) as fake:
        measure_faults_under_load(fake.bench, found := UnderLoad())
        fills = len([keys for keys in fake.told("fill") if keys["name"] == "under-load"])
    order = [visit.point.backing for visit in found.rounds.visits]
    assert fills == sum(1 for _ in itertools.groupby(order)) < len(order)


def test_without_events_faults_are_measured_and_the_reason_is_told(memory_path: Path) -> None:
    phone = FakePhone()
    phone.files = {path: text for path, text in phone.files.items() if not path.startswith(TRACEFS)}
    with fake_bench(memory_path, phone, FEW) as fake:
        measure_faults_under_load(fake.bench, found := UnderLoad())
        results = under_load_results(fake.bench, found)
    assert "no block events in tracefs" in found.no_events_because
    assert found.split(condition(found, "loop_direct", None)) is None
    loop = [r for r in results if r.params["slot"] == "written_back" and r.params["backing"] == "loop_direct"]
    assert {r.facts["no_split_because"] for r in loop} == {found.no_events_because}


def test_a_file_whose_place_is_not_told_gives_no_split(memory_path: Path) -> None:
    phone = FakePhone()
    phone.refuses["extents"] = "Operation not supported"
    with fake_bench(memory_path, phone, FEW) as fake:
        measure_faults_under_load(fake.bench, found := UnderLoad())
        assert "extents" in found.no_events_because


def test_reads_by_somebody_else_are_an_error(memory_path: Path) -> None:
    with fake_bench(memory_path, profile=FEW) as fake:
        fake.zram.other_reads = 1
        with pytest.raises(NothingMeasured, match="8 faults on written-back pages, but bd_stat counts 16 reads"):
            measure_faults_under_load(fake.bench, UnderLoad())


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
        ended = UnderLoad([busy := LoadCondition("loop_direct", Load.cpu)])
        fault = np.array([1], np.uint64)
        ended.rounds.visits.append(Visit(busy, Turn(0, 1.0), LoadTurn(fault, fault, 1, done)))
        assert Caveat.load_ended_early in under_load_results(fake.bench, ended)[0].caveats
