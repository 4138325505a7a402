"""Depth of writes in flight on a fake phone, whose disks serve as many at a time as a test says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from devices.fake.phone import QUEUE_DEPTH, FakePhone
from devices.fake.tracefs import TRACEFS
from devices.profiles.sections import PageKind
from devices.profiles.what_is_measured import Inflight
from records.model import Caveat, RunResult
from tests.fake_bench import PAGES, fake_bench, inflight, small_profile
from workloads.budget import RoundsPlan
from workloads.inflight import DISK, LOOP, MeasuredDepth, inflight_results, measure_inflight, steps_of
from workloads.rounds import EndedBy
from workloads.timed_writeback import NothingMeasured


def measured(folder: Path, phone: FakePhone, *batch_sizes: int) -> dict[tuple[int, str], RunResult]:
    profile = small_profile(inflight=inflight(*batch_sizes or (32,)))
    with fake_bench(folder, phone, profile) as fake:
        measure_inflight(fake.bench, found := MeasuredDepth())
        results = inflight_results(fake.bench, found)
        assert len(fake.kept.steps) == steps_of(fake.bench.stage)
    return {(result.params["batch_size"], result.params["layer"]): result for result in results}


def deepest(result: RunResult) -> float:
    return max(result.metrics["writeback.inflight_max"].values)


def test_as_many_are_in_flight_as_a_batch_holds(memory_path: Path) -> None:
    results = measured(memory_path, FakePhone(), 1, 8, 32)
    assert {point: deepest(result) for point, result in results.items()} == {
        (batch, layer): batch for batch in (1, 8, 32) for layer in (LOOP, DISK)
    }
    for (batch, layer), result in results.items():
        assert result.facts["verdict"] == "as expected"
        assert 0.8 * batch < result.metrics["writeback.inflight_mean"].values[0] <= batch
        assert sum(result.facts["time_at_depth"].values()) == pytest.approx(1, abs=1e-4)
        assert (result.facts["how"], result.caveats) == ("block events", [])
        if layer == LOOP:
            assert result.checks == {"write requests (disk statistics)": {"expected": PAGES, "seen": PAGES}}
            assert result.facts["flags"] == {"W": PAGES}
            assert len(result.metrics["trace.cost"].values) == 1


def test_each_round_has_a_mean_of_each_batch(memory_path: Path) -> None:
    """The fake's depth is the same in each round, so eight rounds know every ratio."""
    wanted = inflight(1, 8).model_copy(update={"repeats": 30})
    with fake_bench(memory_path, profile=small_profile(inflight=wanted)) as fake:
        bench = replace(fake.bench, rounds=RoundsPlan(fewest=8, most=30))
        measure_inflight(bench, found := MeasuredDepth())
        results = inflight_results(bench, found)
    assert (found.rounds.ended_by, found.rounds.count) == (EndedBy.precision, 8)
    for result in results:
        assert [turn.round for turn in result.turns] == list(range(8))
        assert all(len(result.metrics[name].values) == 8 for name in result.metrics)


@pytest.mark.parametrize(
    ("serves", "verdict"),
    [(4, "lower than expected"), (30, "lower than expected"), (31, "as expected"), (32, "as expected")],
)
def test_a_disk_that_serves_fewer_than_it_says_is_told_from_one_that_keeps_its_word(
    memory_path: Path, serves: int, verdict: str
) -> None:
    phone = FakePhone()
    phone.disks["sda"].depth = serves
    results = measured(memory_path, phone)
    disk, loop = results[32, DISK], results[32, LOOP]
    assert (deepest(disk), disk.facts["verdict"]) == (serves, verdict)
    assert disk.facts["expected_from"] == {"batch": 32, "loop0 nr_requests": 128, "disk queue_depth": QUEUE_DEPTH}
    assert (deepest(loop), loop.facts["verdict"]) == (32, "as expected")


@pytest.mark.parametrize(("says", "verdict"), [(30, "higher than expected"), (31, "as expected")])
def test_a_disk_that_serves_more_than_it_says_is_noticed(memory_path: Path, says: int, verdict: str) -> None:
    phone = FakePhone()
    phone.lies["/sys/block/sda/device/queue_depth"] = str(says)
    disk = measured(memory_path, phone)[32, DISK]
    assert (disk.facts["expected_max"], deepest(disk), disk.facts["verdict"]) == (says, 32, verdict)


def test_without_block_events_the_counters_are_sampled_and_that_is_said(memory_path: Path) -> None:
    phone = FakePhone()
    phone.files = {path: text for path, text in phone.files.items() if not path.startswith(TRACEFS)}
    loop = measured(memory_path, phone)[32, LOOP]
    assert (loop.facts["how"], loop.caveats, loop.checks) == ("sampled counters", [Caveat.sampled_depth], {})
    assert "no block events in tracefs" in loop.facts["no_trace_because"]
    assert deepest(loop) == 32
    assert loop.metrics["writeback.inflight_mean"].values[0] == pytest.approx(30, abs=3)


def test_another_tracer_is_named_and_left_alone(memory_path: Path) -> None:
    phone = FakePhone()
    phone.files[f"{TRACEFS}/current_tracer"] = "function"
    loop = measured(memory_path, phone)[32, LOOP]
    assert (loop.facts["other_tracer"], loop.caveats) == ("function", [Caveat.other_tracer])


def test_a_trace_without_the_writes_that_zram_counted_is_an_error(memory_path: Path) -> None:
    profile = small_profile(inflight=inflight(8))
    with fake_bench(memory_path, profile=profile) as fake:
        fake.phone.disks["loop0"].told = lambda request: None
        with pytest.raises(NothingMeasured, match="no write was seen at loop0"):
            measure_inflight(fake.bench, MeasuredDepth())


def test_the_trace_instance_is_gone_afterwards(memory_path: Path) -> None:
    phone = FakePhone()
    measured(memory_path, phone)
    assert not [path for path in phone.files if path.startswith(f"{TRACEFS}/instances/zram")]


def case_of(result: RunResult) -> tuple[object, ...]:
    return tuple(result.params[name] for name in ("batch_size", "pages", "comp_algorithm", "compressed_writeback"))


def cases(wanted: Inflight, phone: FakePhone, folder: Path) -> dict[tuple[object, ...], RunResult]:
    with fake_bench(folder, phone, small_profile(inflight=wanted)) as fake:
        measure_inflight(fake.bench, found := MeasuredDepth())
        results = inflight_results(fake.bench, found)
    return {case_of(result): result for result in results if result.params["layer"] == DISK}


OTHERS = inflight(1, 32).model_copy(
    update={
        "pages": (PageKind.incompressible, PageKind.memory), "algorithms": ("lzo-rle", "zstd"), "others_at": (32,),
        "compressed_writeback": (False, True),
    }
)  # fmt: skip


def test_pages_compressor_and_compressed_writeback_are_points(memory_path: Path) -> None:
    """The fake takes 9 us to make a page whole with zstd, 4 with lzo-rle, none where it is written compressed."""
    phone = FakePhone()
    # A disk as fast as that: what is decompressed comes too slowly.
    phone.disks["sda"].write_ns = 60_000
    found = cases(OTHERS, phone, memory_path)
    others = [(32, "memory", name, way) for name in ("lzo-rle", "zstd") for way in (False, True)]
    plain = [(batch, "incompressible", "lzo-rle", False) for batch in (1, 32)]
    assert list(found) == [plain[0], plain[1], *others]
    depth = {case: result.metrics["writeback.inflight_mean"].values[0] for case, result in found.items()}
    assert depth[32, "memory", "zstd", False] < 0.6 * depth[32, "memory", "zstd", True]
    assert depth[32, "memory", "zstd", False] < 0.8 * depth[32, "memory", "lzo-rle", False]
    assert depth[32, "memory", "zstd", True] == pytest.approx(depth[32, "incompressible", "lzo-rle", False], rel=0.1)


def test_what_a_kernel_lacks_is_no_point_and_the_others_are_measured(memory_path: Path) -> None:
    phone = FakePhone()
    del phone.files["/sys/block/zram0/compressed_writeback"]
    found = cases(OTHERS.model_copy(update={"algorithms": ("lz4hc", "zstd")}), phone, memory_path)
    assert list(found) == [
        (1, "incompressible", "lzo-rle", None), (32, "incompressible", "lzo-rle", None), (32, "memory", "zstd", None)
    ]  # fmt: skip


def test_events_are_kept_turn_by_turn_as_long_as_there_is_room(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workloads.inflight.MOST_KEPT", 20_000)
    wanted = inflight(8).model_copy(update={"repeats": 6, "pages": (PageKind.incompressible,)})
    with fake_bench(memory_path, profile=small_profile(inflight=wanted)) as fake:
        measure_inflight(fake.bench, found := MeasuredDepth())
        loop, disk = inflight_results(fake.bench, found)
        kept = sum(map(len, fake.kept.traces.values()))
    assert loop.facts["events"] == disk.facts["events"] == [f"raw/{name}.trace.gz" for name in fake.kept.traces]
    assert 0 < len(loop.facts["events"]) < len(loop.turns)
    assert len(loop.facts["events"]) + loop.facts["events_left_out"] == len(loop.turns)
    assert kept <= 20_000


def test_a_sparse_half_is_written_upwards_and_with_small_gaps(memory_path: Path) -> None:
    steps = measured(memory_path, FakePhone(), 8)[8, LOOP].facts["sector_steps"]
    assert steps.keys() <= {"0", "1"}
    assert 0.4 < steps["0"] < 0.6
