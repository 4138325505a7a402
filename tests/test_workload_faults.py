"""Page faults on a fake phone: samples against what its zram really served from memory and from storage."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from base.errors import DeviceLost, LabError
from base.units import MIB
from devices.fake.phone import FakePhone
from devices.fake.probe_race import RaceTruth
from devices.fake.zram import FakeZram
from devices.profiles.sections import Backing, PageKind
from devices.profiles.what_is_measured import Faults
from records.model import Caveat
from tests.fake_bench import BACKING, Fake, drawn, fake_bench, small_profile
from workloads.budget import RoundsPlan
from workloads.faults import FaultSamples, faulting
from workloads.faults_during import (
    FaultsDuring,
    during_writeback_results,
    measure_faults_during_writeback,
)
from workloads.quiet_faults import QuietFaults, fault_results, measure_quiet_faults
from workloads.races import Meanwhile, RaceCondition, RaceTurn, percent_to_burn
from workloads.timed_writeback import NothingMeasured

# What a read of memory takes at most, and one of storage at least.
MEMORY_NS, STORAGE_NS = 10_000, 70_000


def measured(fake: Fake, samples: int) -> QuietFaults:
    """Eight blocks that together have so many faults of each kind."""
    profile = fake.bench.stage.profile.model_copy(update={"faults": Faults(samples=samples)})
    stage = replace(fake.bench.stage, profile=profile)
    bench = replace(fake.bench, stage=stage, rounds=RoundsPlan(fewest=8, most=8))
    measure_quiet_faults(bench, found := QuietFaults())
    return found


def block_of(fake: Fake, samples: int) -> FaultSamples:
    with faulting(fake.bench, samples) as block:
        return block(7)


def test_pages_in_memory_and_on_storage_are_told_apart(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        faults = block_of(fake, 100)
        assert fake.phone.disks["sda"].reads == 100
    assert (faults.ram_ns.size, faults.written_back_ns.size, faults.majflt, faults.not_swapped) == (100, 100, 200, 0)
    assert faults.ram_ns.max() < MEMORY_NS < STORAGE_NS < faults.written_back_ns.min()


def test_both_kinds_have_the_same_turns_and_each_sample_knows_its_own(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        found = measured(fake, 400)
        ram, back = fault_results(fake.bench, found)
    assert (ram.params["slot"], back.params["slot"]) == ("ram", "written_back")
    assert list(ram.turns) == list(back.turns)
    assert [turn.round for turn in ram.turns] == list(range(8))
    for result in (ram, back):
        latencies = fake.kept.raw[f"fault-latency-{result.params['slot']}"]
        turns = fake.kept.raw[f"fault-latency-{result.params['slot']}-turn"]
        assert (latencies.size, turns.tolist()) == (400, np.repeat(np.arange(8), 50).tolist())
        assert result.facts["rounds"] == 8
    assert back.checks["reads from the backing device (bd_stat)"] == {"expected": 400, "seen": 400}


def test_rounds_of_faults_end_when_their_ratio_is_known(memory_path: Path) -> None:
    """The fake's faults are all alike, so eight blocks know it."""
    with fake_bench(memory_path) as fake:
        bench = replace(fake.bench, rounds=RoundsPlan(fewest=8, most=30))
        measure_quiet_faults(bench, found := QuietFaults())
    assert (found.rounds.count, found.rounds.ended_by) == (8, "precision")


def test_a_half_is_written_back_and_touched_among_the_others(memory_path: Path) -> None:
    """Drawn by one seed, the pages written back would all be touched first, and drift would fall on them alone."""
    with fake_bench(memory_path) as fake:
        measured(fake, 800)
        pages = int(fake.told("fill")[0]["bytes"]) // 4096
        rounds = list(zip(fake.told("writeback"), fake.told("touch"), strict=True))
    assert len({keys["pick_seed"] for keys, _ in rounds}) == len(rounds) == 8
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
            block_of(fake, 100)


def test_a_page_that_stays_in_memory_is_told_and_many_are_an_error(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.phone.memory.sticky = 1
        faults = block_of(fake, 100)
        assert (faults.not_swapped, faults.majflt) == (1, 199)
        fake.phone.memory.sticky = 3
        with pytest.raises(NothingMeasured, match="only 197 of 200 pages could be swapped out"):
            block_of(fake, 100)


def during(folder: Path, truth: RaceTruth | None = None, *, samples: int = 100) -> tuple[FaultsDuring, Fake]:
    phone = FakePhone()
    phone.race = truth or RaceTruth()
    profile = small_profile(faults=Faults(samples=100, batch_sizes=(8,)).model_copy(update={"samples": samples}))
    with fake_bench(folder, phone, profile) as fake:
        measure_faults_during_writeback(fake.bench, found := FaultsDuring())
        assert len(fake.kept.steps) == 3 * fake.bench.rounds.fewest
        results = during_writeback_results(fake.bench, found)
    for result in results:
        assert all(check["expected"] == check["seen"] for check in result.checks.values())
        assert Caveat.few_samples not in result.caveats
    return found, fake


def running_of(found: FaultsDuring) -> RaceCondition:
    """The one condition with a writeback."""
    (running,) = [condition for condition in found.conditions if condition.running]
    return running


def in_flight(found: FaultsDuring) -> list[int]:
    """All samples of pages in flight, sorted, those of the race before the turns among them."""
    return sorted(ns for turn in found.writers for ns in turn.latencies("in_flight").tolist())


def victims_written(fake: Fake) -> list[int]:
    """Pages of the victim of each race that wrote it back."""
    made = [int(keys["bytes"]) // 4096 for keys in fake.told("fill") if keys["name"] == "victim"]
    return [pages for pages, keys in zip(made, fake.told("race"), strict=True) if keys["writer"] == "write"]


def late(found: FaultsDuring) -> int:
    return sum(turn.late for turn in found.writers)


def races_before(found: FaultsDuring) -> int:
    """Races that only told how much CPU time a writer takes: where the busy control came first, and no turn."""
    turns = found.turns(running_of(found))
    return sum(turn.races for turn in found.writers if all(turn is not each for each in turns))


def test_each_slot_has_its_samples_and_the_books_agree(memory_path: Path) -> None:
    found, fake = during(memory_path)
    *controls, running = found.conditions
    assert [str(control) for control in controls] == ["quiet", "cpu"]
    for control in controls:
        assert control.slots == ["ram", "written_back", "victim"]
        assert found.latencies(control, "in_flight").size == found.late(control) == found.waiting(control) == 0
    assert running.slots == ["ram", "written_back", "in_flight"]
    for condition in found.conditions:
        assert all(found.latencies(condition, slot).size >= 100 for slot in condition.slots)
        assert found.latencies(condition, "ram").max() < MEMORY_NS
        assert found.latencies(condition, "written_back").min() > STORAGE_NS
        major = sum(turn.majflt for turn in found.turns(condition))
        assert major == sum(found.latencies(condition, slot).size for slot in condition.slots) + found.late(condition)
    truth = fake.phone.race
    assert in_flight(found) == sorted(truth.in_flight_ns)
    assert late(found) == len(truth.late_ns) > 0
    assert sum(turn.relabelled for turn in found.turns(running)) == 0


def test_the_control_is_the_same_loop_on_the_same_content(memory_path: Path) -> None:
    """What differs between a race and its control is what the other thread does."""
    found, fake = during(memory_path)
    mixes = {(keys["name"], keys["mix"]) for keys in fake.told("fill")}
    assert mixes == {("touched", PageKind.compressible.mix), ("victim", PageKind.incompressible.mix)}
    writers = [keys["writer"] for keys in fake.told("race")]
    assert {writers.count(writer) for writer in ("none", "burn")} == {fake.bench.rounds.fewest}
    assert fake.told("touch") == []
    quiet, burning, _ = found.conditions
    burnt = [int(keys["burn_percent"]) for keys in fake.told("race") if "burn_percent" in keys]
    assert burnt == [turn.burn_percent for turn in found.turns(burning)]
    assert burnt[-1] == pytest.approx(100 * np.median([turn.cpu_share for turn in found.writers]), abs=2)
    assert found.cpu_share(quiet) == 0 < found.cpu_share(burning) == pytest.approx(np.mean(burnt) / 100, rel=0.05)


def test_the_busy_control_burns_like_the_writers_before_it() -> None:
    """One turn in which a host took the CPU away tells nothing of the others."""
    assert percent_to_burn([RaceTurn(1, cpu_ns=cpu, wall_ns=100) for cpu in (20, 95, 30)]) == 30
    assert percent_to_burn([RaceTurn(1, cpu_ns=101, wall_ns=100)]) == 100


def test_pages_that_came_back_different_are_counted_where_they_were(memory_path: Path) -> None:
    """Every slot that is written is spoilt from its write on; pages in RAM are not."""
    with fake_bench(memory_path) as fake:
        fake.zram.spoils = set(range(8192))
        measure_faults_during_writeback(fake.bench, found := FaultsDuring())
        results = during_writeback_results(fake.bench, found)
    corrupt = {(r.params["slot"], r.params["writeback"]): r.metrics["integrity.corrupt"].values[0] for r in results}
    for (slot, meanwhile), count in corrupt.items():
        condition = next(each for each in found.conditions if each.meanwhile == meanwhile)
        touched = found.latencies(condition, slot).size
        assert (
            count
            == {"ram": 0, "victim": 0, "written_back": touched, "in_flight": touched + found.late(condition)}[slot]
        )


def test_each_condition_is_visited_once_a_round_and_each_sample_knows_its_turn(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        measure_faults_during_writeback(fake.bench, found := FaultsDuring())
        results = during_writeback_results(fake.bench, found)
    assert len(results) == 9
    conditions = {condition.meanwhile: condition for condition in found.conditions}
    for result in results:
        assert [turn.round for turn in result.turns] == list(range(result.facts["rounds"]))
        name = Path(result.raw["fault.latency"]).stem
        latencies, turns = fake.kept.raw[name], fake.kept.raw[Path(result.raw["fault.turn"]).stem]
        assert latencies.size == turns.size
        assert set(turns.tolist()) == set(range(len(result.turns)))
        condition = conditions[Meanwhile(result.params["writeback"])]
        for number, turn in enumerate(found.turns(condition)):
            assert latencies[turns == number].tolist() == turn.latencies(result.params["slot"]).tolist()
            assert turn.latencies(result.params["slot"]).size >= 100 / fake.bench.rounds.fewest


def test_of_a_phone_that_is_lost_there_are_the_turns_before(memory_path: Path) -> None:
    found = FaultsDuring()
    phone = FakePhone()
    with suppress(LabError), fake_bench(memory_path, phone) as fake:
        phone.commands_left = 90
        with pytest.raises(DeviceLost):
            measure_faults_during_writeback(fake.bench, found)
        results = during_writeback_results(fake.bench, found)
        assert len(results) == 9
        assert {len(result.turns) for result in results} == {len(found.turns(found.conditions[0]))}
    assert 1 <= len(found.turns(running_of(found))) < fake.bench.rounds.fewest


def test_what_became_of_victims_that_are_no_samples_is_told(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        measure_faults_during_writeback(fake.bench, found := FaultsDuring())
        *_, flying = during_writeback_results(fake.bench, found)
    assert flying.params["slot"] == "in_flight"
    assert flying.facts["late"] == found.late(running_of(found)) > 0
    assert late(found) == len(fake.phone.race.late_ns)
    assert flying.facts["waiting"] == found.waiting(running_of(found))


@pytest.mark.parametrize(("missed", "imagined", "relabelled"), [(0, 0, 0), (1, 0, 1), (3, 0, 3), (0, 1, 1), (0, 3, 3)])
def test_pages_that_the_probe_took_for_others_are_relabelled_as_bd_stat_says(
    memory_path: Path, missed: int, imagined: int, relabelled: int
) -> None:
    """The fake knows which pages came from storage: afterwards exactly these are late, and no others."""
    found, fake = during(memory_path, RaceTruth(late_every=3, missed=missed, imagined=imagined))
    truth = fake.phone.race
    assert (truth.missed, truth.imagined) == (0, 0)
    assert sum(turn.relabelled for turn in found.writers) == relabelled
    assert late(found) == len(truth.late_ns) > 4
    assert in_flight(found) == sorted(truth.in_flight_ns)
    assert in_flight(found)[-1] < MEMORY_NS


@pytest.mark.parametrize("truth", [RaceTruth(1, missed=4), RaceTruth(0, imagined=4)], ids=["missed", "imagined"])
def test_more_mistakes_than_a_counter_that_lags_can_explain_are_an_error(memory_path: Path, truth: RaceTruth) -> None:
    with pytest.raises(NothingMeasured, match="were read from storage by the disk's counter, by bd_stat"):
        during(memory_path, truth)


def test_reads_by_somebody_else_during_a_race_are_an_error(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.zram.other_reads = 1
        with pytest.raises(NothingMeasured, match="bd_stat"):
            measure_faults_during_writeback(fake.bench, FaultsDuring())


def test_pages_touched_before_their_write_began_are_waiting(memory_path: Path) -> None:
    found, fake = during(memory_path)
    running = running_of(found)
    written = found.checks(running)["writes of the writeback (backing device against bd_stat)"]["seen"]
    # The first races told how much CPU time the writer takes, and are no turn.
    victims = victims_written(fake)[races_before(found) :]
    waiting, touched = found.waiting(running), found.latencies(running, "in_flight").size
    assert waiting == sum(victims) - written
    assert found.share_in_flight(running) == 1 - min(waiting, touched) / touched
    assert 0 <= found.share_in_flight(running) <= 1


@pytest.mark.parametrize(("samples", "first_is"), [(1600, "too short"), (100, "too long")])
def test_a_victim_comes_to_last_as_long_as_the_touches(memory_path: Path, samples: int, first_is: str) -> None:
    """A turn whose writeback was over too soon has another one, so that it has its samples."""
    profile = small_profile(
        backing=Backing(path=BACKING, size=64 * MIB), faults=Faults(samples=samples, batch_sizes=(32,))
    )
    with fake_bench(memory_path, profile=profile) as fake:
        measure_faults_during_writeback(fake.bench, found := FaultsDuring())
        first, *others = victims_written(fake)
    turns, wanted = found.turns(running_of(found)), samples / fake.bench.rounds.fewest
    assert found.writers[0].races == 2 or first_is != "too short"
    assert (others[0] > 1.5 * first) if first_is == "too short" else (others[0] < first)
    assert max(others[3:]) < 1.2 * min(others[3:]), "what is left is how a race happens to go"
    assert min(turn.latencies(slot).size for turn in turns for slot in ("ram", "written_back")) >= wanted


def test_samples_shrink_until_the_fewest_rounds_fit_into_the_time(memory_path: Path) -> None:
    """By the fake phone's clock 2000 samples take 1.8 s in 8 rounds."""
    profile = small_profile(
        backing=Backing(path=BACKING, size=64 * MIB), faults=Faults(samples=2000, batch_sizes=(32,))
    )
    with fake_bench(memory_path, profile=profile) as fake:
        plan = RoundsPlan(fewest=8, most=8, budget_s=1.0)

        def now_s() -> float:
            return fake.phone.clock.now_ns / 1e9

        began_s = now_s()
        measure_faults_during_writeback(replace(fake.bench, rounds=plan), found := FaultsDuring(), now_s)
        assert now_s() - began_s < plan.budget_s
        results = during_writeback_results(fake.bench, found)
    for condition in found.conditions:
        assert len(found.turns(condition)) == plan.fewest
        assert all(20 <= turn.wanted < 2000 / plan.fewest for turn in found.turns(condition))
    assert [result.caveats for result in results] == [[]] * 9


def test_no_victim_is_larger_than_the_room(memory_path: Path) -> None:
    with fake_bench(memory_path, profile=small_profile(faults=Faults(samples=2500, batch_sizes=(32,)))) as fake:
        measure_faults_during_writeback(fake.bench, FaultsDuring())
        victims = [int(keys["bytes"]) // 4096 for keys in fake.told("fill") if keys["name"] == "victim"]
    # Of a backing device of 8 MiB, less block 0 and the area, a third.
    assert max(victims) == (8 * 256 - 1 - 1000) // 3


def test_the_pages_touched_are_of_the_right_zram_and_are_dropped(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        block_of(fake, 100)
        zram: FakeZram = fake.zram
        assert fake.phone.memory.areas == []
        assert not zram.place.any()


def test_the_writes_ahead_of_a_fault_from_storage_are_counted_turn_by_turn(memory_path: Path) -> None:
    """None on a quiet phone; while a writeback runs about as many as it keeps in flight, and never more."""
    with fake_bench(memory_path) as fake:
        measure_faults_during_writeback(fake.bench, found := FaultsDuring())
        results = during_writeback_results(fake.bench, found)
    told = {(r.params["slot"], r.params["writeback"]): r.metrics.get("fault.writes_ahead") for r in results}
    running = told.pop(("written_back", "running"))
    assert set(told.values()) == {None}
    assert running is not None
    assert len(running.values) == len(found.turns(running_of(found)))
    assert all(4 < ahead <= 8 for ahead in running.values)
    assert max(turn.writes_ahead for control in found.conditions[:2] for turn in found.turns(control)) == 0
