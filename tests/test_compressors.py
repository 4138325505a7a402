"""Compressors and writeback of pages as they are stored: the points, the settings, and that they take effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from base.units import MIB
from devices.adb import AdbTransport
from devices.device import open_device
from devices.fake.phone import FakePhone
from devices.probe.commands import DevicePages
from devices.profiles.profile import Profile
from devices.profiles.sections import Backing, PageKind
from devices.profiles.what_is_measured import Compressors as Wanted
from devices.profiles.what_is_measured import Faults
from devices.zram import InvalidValue, Zram, ZramConfig, ZramError, take_over
from records.model import Caveat
from tests.bench_sample import bench_on
from tests.fake_bench import fake_bench, small_profile
from workloads.compressors import (
    Compressor,
    CompressorRounds,
    compressor_results,
    compressors,
    measure_compressors,
)
from workloads.integrity import check_block
from workloads.rounds import Rounds
from workloads.stage import Stage, set_stage
from workloads.timed_writeback import fill_and_write_back
from workloads.turns import NotAvailable

SYSFS = "/sys/block/zram0/"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))


@contextmanager
def taken_over(phone: FakePhone) -> Iterator[Zram]:
    with open_device(phone) as device, device.changes() as changes:
        yield take_over(changes)


def with_older_name() -> FakePhone:
    """The posted series called the attribute differently."""
    phone = FakePhone()
    phone.files[f"{SYSFS}writeback_compressed"] = phone.files.pop(f"{SYSFS}compressed_writeback")
    return phone


def without_attribute() -> FakePhone:
    phone = FakePhone()
    del phone.files[f"{SYSFS}compressed_writeback"]
    return phone


def test_points_are_algorithms_with_each_way_of_writing_back() -> None:
    assert compressors(["lz4", "zstd"], has_compressed_writeback=False) == [
        Compressor("lz4", None),
        Compressor("zstd", None),
    ]
    points = compressors(["lz4", "zstd"], has_compressed_writeback=True)
    assert [point.name for point in points] == [
        "lz4-decompressed", "lz4-compressed", "zstd-decompressed", "zstd-compressed"
    ]  # fmt: skip
    assert [point.compressed_writeback for point in points] == [False, True, False, True]


@pytest.mark.parametrize(
    ("phone", "name"), [(FakePhone(), "compressed_writeback"), (with_older_name(), "writeback_compressed")]
)
def test_compressed_writeback_is_set_under_either_name_and_put_back(phone: FakePhone, name: str) -> None:
    with taken_over(phone) as zram:
        assert zram.compressed_writeback() == name
        zram.configure(ZramConfig(MIB, comp_algorithm="zstd", compressed_writeback=True))
        assert phone.files[SYSFS + name] == "1"
        zram.configure(ZramConfig(MIB))
        assert phone.files[SYSFS + name] == "0"
        zram.configure(ZramConfig(MIB, compressed_writeback=True))
    assert phone.files[SYSFS + name] == "0"


def test_a_kernel_without_it_is_asked_in_vain() -> None:
    phone = without_attribute()
    with taken_over(phone) as zram:
        assert zram.compressed_writeback() is None
        zram.configure(ZramConfig(MIB))
        with pytest.raises(ZramError, match="cannot write pages back compressed"):
            zram.configure(ZramConfig(MIB, compressed_writeback=True))


def test_an_algorithm_that_is_refused_is_an_error() -> None:
    with taken_over(FakePhone()) as zram, pytest.raises(InvalidValue):
        zram.configure(ZramConfig(MIB, comp_algorithm="842"))


def test_a_setting_that_reads_otherwise_than_it_was_written_is_an_error() -> None:
    phone = FakePhone()
    with taken_over(phone) as zram:
        phone.lies[f"{SYSFS}writeback_batch_size"] = "256"
        with pytest.raises(ZramError, match="writeback_batch_size reads '256', '257' was written"):
            zram.configure(ZramConfig(MIB, writeback_batch_size=257))
        phone.lies.clear()


def test_a_kernel_without_page_index_is_measured_without_faults_and_says_so(memory_path: Path) -> None:
    phone = FakePhone()
    del phone.files[f"{SYSFS}writeback_batch_size"]
    phone.zrams[0].names_pages = False
    point = Compressor("lzo-rle", None)
    rounds: CompressorRounds = Rounds()
    with fake_bench(memory_path, phone) as fake:
        measure_compressors(fake.bench, [point], rounds)
        records = compressor_results(fake.bench, point, rounds)
    assert rounds.failed == {}
    assert [record.test for record in records] == ["compressor"]
    assert {Caveat.no_page_index, Caveat.no_batch_size} <= set(records[0].caveats)


def test_records_have_ratio_writeback_and_faults_of_both_slots_turn_by_turn(memory_path: Path) -> None:
    points = compressors(["lz4", "zstd"], has_compressed_writeback=True)
    rounds: CompressorRounds = Rounds()
    with fake_bench(memory_path) as fake:
        measure_compressors(fake.bench, points, rounds)
        written, ram, back = compressor_results(fake.bench, points[-1], rounds)
        assert compressor_results(fake.bench, Compressor("lzo", None), rounds) == []
    assert {visit.point for visit in rounds.visits} == set(points)
    assert (written.test, ram.test) == ("compressor", "compressor_faults")
    point = {"comp_algorithm": "zstd", "compressed_writeback": True, "pages": "memory"}
    assert written.params == {**point, "batch_size": 8, "data_bytes": MIB}
    assert written.metrics["zram.ratio"].better == "higher"
    assert len(written.metrics["zram.ratio"].values) == len(written.turns) == written.facts["rounds"] == 5
    assert [r.params for r in (ram, back)] == [{**point, "slot": "ram"}, {**point, "slot": "written_back"}]
    # 100 samples in 5 rounds.
    for slot, result in (("ram", ram), ("written_back", back)):
        name = f"compressor-zstd-compressed-{slot}"
        assert result.raw == {"fault.latency": f"raw/{name}.npy", "fault.turn": f"raw/{name}-turn.npy"}
        assert fake.kept.raw[name].size == 100
        assert fake.kept.raw[f"{name}-turn"].tolist() == np.repeat(range(5), 20).tolist()
        assert len(result.turns) == 5
    assert back.checks["reads from the backing device (bd_stat)"] == {"expected": 100, "seen": 100}


@pytest.mark.parametrize("repeats", [1, 3])
def test_fewer_rounds_have_all_the_faults_that_were_asked_for(memory_path: Path, repeats: int) -> None:
    rounds: CompressorRounds = Rounds()
    with fake_bench(memory_path, profile=small_profile(compressors=Wanted(data=MIB, repeats=repeats))) as fake:
        measure_compressors(fake.bench, [point := Compressor("lz4", True)], rounds)
    assert len(rounds.of(point)) == repeats
    assert sum(turn.faults.ram_ns.size for turn in rounds.values(point) if turn.faults is not None) >= 100


def test_a_compressor_that_the_kernel_lacks_is_left_out(memory_path: Path) -> None:
    points = [Compressor("lz4", True), Compressor("nosuch", True)]
    rounds: CompressorRounds = Rounds()
    with fake_bench(memory_path) as fake:
        measure_compressors(fake.bench, points, rounds)
    assert isinstance(rounds.failed[points[1]], NotAvailable)
    assert [len(rounds.of(point)) for point in points] == [5, 0]


@contextmanager
def on_phone(transport: AdbTransport) -> Iterator[Stage]:
    # Smaller than a profile may be, whose sections must fit together.
    small = {
        "compressors": Wanted(data=MIB, repeats=1), "faults": Faults(samples=100),
        "backing": Backing(path="/data/local/tmp/compressors_test", size=16 * MIB),
    }  # fmt: skip
    profile = Profile(name="x").model_copy(update=small)
    with open_device(transport) as device, device.changes() as changes:
        yield set_stage(changes, profile)


@pytest.mark.phone
def test_on_a_phone_an_algorithm_that_it_does_not_have_spoils_no_other(transport: AdbTransport, tmp_path: Path) -> None:
    good, missing = Compressor("zstd", True), Compressor("nosuch", False)
    rounds: CompressorRounds = Rounds()
    with on_phone(transport) as stage, bench_on(stage, tmp_path)[0].probing(alarm_s=120) as bench:
        measure_compressors(bench, [good, missing], rounds)
    assert list(rounds.failed) == [missing]
    assert isinstance(rounds.failed[missing], NotAvailable)
    assert "nosuch: this kernel offers lz4" in str(rounds.failed[missing])
    for turn in rounds.values(good):
        assert turn.faults is not None
        assert turn.faults.algorithm == "zstd"
        assert len(turn.faults.written_back_ns) == len(turn.faults.ram_ns) == 100
        held = turn.run.timed.mm_before
        assert held.orig_data_size > held.compr_data_size


@pytest.mark.phone
@pytest.mark.parametrize("compressed", [False, True])
def test_on_a_phone_pages_are_written_back_as_they_are_stored_only_if_asked(
    transport: AdbTransport, tmp_path: Path, compressed: bool
) -> None:
    """On the backing device there are the probe's pages in another order, or something else."""
    with on_phone(transport) as before, bench_on(before, tmp_path, seed=1)[0].probing(alarm_s=120) as probing:
        stage = replace(before, comp_algorithm="lz4", compressed_writeback=compressed)
        bench = probing.on(stage)
        stage.as_block_device(64)
        pages = PageKind.compressible
        fill_and_write_back(bench, stage.all_pages(64), pages=pages, batch_size=None)
        found = bench.probe.verify_device(DevicePages(stage.backing.node, 1, 32), mix=pages.mix, seed=1)
        assert found.damaged == (32 if compressed else 0)
        seen = check_block(bench, 256)
    assert (seen.corrupt, seen.checker_works) == (0, True)
    assert seen.read_back == seen.written_back > 200
