"""Page faults on a fake phone: samples against what its zram really served from memory and from storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from base.units import MIB
from devices.fake.phone import FakePhone
from devices.fake.probe_race import RaceTruth
from devices.fake.zram import FakeZram
from devices.profiles.sections import Backing
from devices.profiles.what_is_measured import Faults
from records.model import Caveat
from tests.fake_bench import BACKING, Fake, drawn, fake_bench, small_profile
from workloads.faults import fault_results, measure_faults
from workloads.faults_during import (
    RaceCondition,
    during_writeback_results,
    measure_faults_during_writeback,
    steps_of,
)
from workloads.timed_writeback import NothingMeasured

# What a read of memory takes at most, and one of storage at least.
MEMORY_NS, STORAGE_NS = 10_000, 70_000


def test_pages_in_memory_and_on_storage_are_told_apart(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        faults = measure_faults(fake.bench, 100)
        ram, back = fault_results(fake.bench, faults)
        assert fake.phone.disks["sda"].reads == 100
    assert (faults.ram_ns.size, faults.written_back_ns.size, faults.majflt, faults.not_swapped) == (100, 100, 200, 0)
    assert faults.ram_ns.max() < MEMORY_NS < STORAGE_NS < faults.written_back_ns.min()
    assert (ram.params["slot"], back.params["slot"]) == ("ram", "written_back")
    assert back.checks["reads from the backing device (bd_stat)"] == {"expected": 100, "seen": 100}
    assert fake.kept.raw["fault-latency-written_back"] is faults.written_back_ns


def test_a_half_is_written_back_and_touched_among_the_others(memory_path: Path) -> None:
    """Drawn by one seed, the pages written back would all be touched first, and drift would fall on them alone."""
    with fake_bench(memory_path) as fake:
        measure_faults(fake.bench, 400)
        pages = int(fake.told("fill")[0]["bytes"]) // 4096
        rounds = list(zip(fake.told("writeback"), fake.told("touch"), strict=True))
    assert len({keys["pick_seed"] for keys, _ in rounds}) == len(rounds) == 4
    for written, touched in rounds:
        half = drawn(pages, written, "pick", "pick_seed")
        order = drawn(pages, touched, "pages", "seed")
        assert (2 * len(half), len(order)) == (pages, pages)
        places = np.flatnonzero(np.isin(order, half)) / pages
        assert places.mean() == pytest.approx(0.5, abs=0.08)
        in_first_quarter = np.count_nonzero(places < 0.25) / len(half)
        assert in_first_quarter == pytest.approx(0.25, abs=0.1)


def test_reads_by_somebody_else_are_an_error(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.zram.other_reads = 1
        with pytest.raises(NothingMeasured, match="100 faults on written-back pages, but bd_stat counts 200 reads"):
            measure_faults(fake.bench, 100)


def test_a_page_that_stays_in_memory_is_told_and_many_are_an_error(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.phone.memory.sticky = 1
        faults = measure_faults(fake.bench, 400)
        assert (faults.not_swapped, faults.majflt) == (4, 796)
        fake.phone.memory.sticky = 3
        with pytest.raises(NothingMeasured, match="only 197 of 200 pages could be swapped out"):
            measure_faults(fake.bench, 400)


def during(folder: Path, truth: RaceTruth | None = None, *, samples: int = 100) -> tuple[list[RaceCondition], Fake]:
    phone = FakePhone()
    phone.race = truth or RaceTruth()
    profile = small_profile(faults=Faults(samples=100, batch_sizes=(8,)).model_copy(update={"samples": samples}))
    with fake_bench(folder, phone, profile) as fake:
        found = measure_faults_during_writeback(fake.bench)
        assert len(fake.kept.steps) >= steps_of(fake.bench.stage)
        results = during_writeback_results(fake.bench, found)
    for result in results:
        assert all(check["expected"] == check["seen"] for check in result.checks.values())
        assert Caveat.few_samples not in result.caveats
    return found, fake


def test_each_slot_has_its_samples_and_the_books_agree(memory_path: Path) -> None:
    (quiet, running), fake = during(memory_path)
    assert set(quiet.samples) == {"ram", "written_back"}
    assert set(running.samples) == {"ram", "written_back", "in_flight"}
    assert (quiet.turns, quiet.late, quiet.waiting) == (4, 0, 0)
    for condition in (quiet, running):
        assert all(condition.count(slot) >= 100 for slot in condition.samples)
        assert condition.latencies("ram").max() < MEMORY_NS < STORAGE_NS < condition.latencies("written_back").min()
        assert condition.majflt == sum(map(condition.count, condition.samples)) + condition.late
    truth = fake.phone.race
    assert sorted(running.latencies("in_flight").tolist()) == sorted(truth.in_flight_ns)
    assert (running.late, running.relabelled) == (len(truth.late_ns), 0)
    assert truth.late_ns


@pytest.mark.parametrize(("missed", "imagined", "relabelled"), [(0, 0, 0), (1, 0, 1), (3, 0, 3), (0, 1, 1), (0, 3, 3)])
def test_pages_that_the_probe_took_for_others_are_relabelled_as_bd_stat_says(
    memory_path: Path, missed: int, imagined: int, relabelled: int
) -> None:
    """The fake knows which pages came from storage: afterwards exactly these are late, and no others."""
    (_, running), fake = during(memory_path, RaceTruth(late_every=3, missed=missed, imagined=imagined))
    truth = fake.phone.race
    assert (truth.missed, truth.imagined) == (0, 0)
    assert running.relabelled == relabelled
    assert running.late == len(truth.late_ns) > 4
    assert sorted(running.latencies("in_flight").tolist()) == sorted(truth.in_flight_ns)
    assert running.latencies("in_flight").max() < MEMORY_NS


@pytest.mark.parametrize("truth", [RaceTruth(1, missed=4), RaceTruth(0, imagined=4)], ids=["missed", "imagined"])
def test_more_mistakes_than_a_counter_that_lags_can_explain_are_an_error(memory_path: Path, truth: RaceTruth) -> None:
    with pytest.raises(NothingMeasured, match="were read from storage by the disk's counter, by bd_stat"):
        during(memory_path, truth)


def test_reads_by_somebody_else_during_a_race_are_an_error(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.zram.other_reads = 1
        with pytest.raises(NothingMeasured, match="bd_stat"):
            measure_faults_during_writeback(fake.bench)


def test_pages_touched_before_their_write_began_are_waiting(memory_path: Path) -> None:
    (_, running), fake = during(memory_path)
    written = running.checks["writes of the writeback (backing device against bd_stat)"]["seen"]
    victims = [int(keys["bytes"]) // 4096 for keys in fake.told("fill") if keys["name"] == "victim"]
    assert running.waiting == sum(victims) - written
    assert 0 <= running.share_in_flight <= 1
    assert running.share_in_flight == 1 - min(running.waiting, running.count("in_flight")) / running.count("in_flight")


def test_the_victim_grows_until_its_writeback_lasts_as_long_as_the_touches(memory_path: Path) -> None:
    profile = small_profile(
        backing=Backing(path=BACKING, size=64 * MIB),
        faults=Faults(samples=100, batch_sizes=(32,)).model_copy(update={"samples": 20}),
    )
    with fake_bench(memory_path, profile=profile) as fake:
        measure_faults_during_writeback(fake.bench)
        victims = [int(keys["bytes"]) // 4096 for keys in fake.told("fill") if keys["name"] == "victim"]
    room = (64 * 256 - 1 - 10) // 3
    assert victims[0] == 16 * 256 < victims[1] <= min(4 * victims[0], room)
    assert max(victims) <= room


def test_the_pages_touched_are_of_the_right_zram_and_are_dropped(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        measure_faults(fake.bench, 100)
        zram: FakeZram = fake.zram
        assert fake.phone.memory.areas == []
        assert not zram.place.any()
