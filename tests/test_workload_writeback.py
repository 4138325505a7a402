"""Writeback on a fake phone: what a sweep says against what the phone's zram and disks did."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from base.errors import DeviceLost
from base.kernel import PAGE_4K
from base.units import GIB, KIB, MIB
from devices.fake.content import INCOMPRESSIBLE, make_contents, parse_mix
from devices.fake.phone import FakePhone
from devices.fake.zram import BACKED, EMPTY
from devices.profiles.profile import Profile, Trigger
from devices.profiles.sections import Backing, Limits, PageKind, SlotOrder, ZramSection
from devices.profiles.what_is_measured import Apps
from devices.zram import BackingDeviceFull, InvalidValue, ZramError
from records.model import Caveat
from tests.fake_bench import BACKING, PAGES, Fake, by_param, fake_bench, median, opened, small_profile
from workloads.app_model import SwitchCondition
from workloads.app_watch import watched
from workloads.attributes import LimitRun, fault_of_partial_limit, limit_result, try_values, write_back_under_limit
from workloads.timed_writeback import NothingMeasured, fill_and_write_back, write_attribute
from workloads.writeback import MeasuredSweep, SweepPlan, measure_sweep, most_data, steps_of, sweep_results

RANDOM = SweepPlan(PAGES * PAGE_4K, PageKind.incompressible, SlotOrder.sparse, (1, 8, 32), 2, 1)


def test_a_larger_batch_is_faster_as_far_as_the_disk_goes(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        results = measure_sweep(fake.bench, replace(RANDOM, batch_sizes=(1, 8, 32, 128)))
        disk = fake.phone.disks["sda"]
        points = by_param(results, "batch_size")
        rates = {batch: median(result, "writeback.throughput") for batch, result in points.items()}
        assert rates[1] * 4 < rates[8] < rates[32] / 2
        assert rates[128] < 1.2 * rates[32], "no batch gets more out of a disk than it serves at a time"
        assert rates[1] == pytest.approx(4096 / MIB * 1e9 / disk.write_ns, rel=0.15)
        assert disk.writes == 14 * PAGES
    for result in results:
        assert len(result.metrics["writeback.throughput"].values) == 2
        assert len(result.warmups["writeback.throughput"].values) == 1
        assert result.checks["pages written (bd_stat)"] == {"expected": 2 * PAGES, "seen": 2 * PAGES}
        assert result.metrics["writeback.written"].values == [PAGES, PAGES]
        assert result.facts["disks_written_mib"] == {"loop0": 6.0, "sda": 6.0}
        assert result.facts["pages_written_mib"] == 6.0
        assert result.caveats == [Caveat.few_repeats, Caveat.short_writeback]
        assert result.facts["ended_by"] == "plan"
        assert [turn.round for turn in result.turns] == [0, 1]
        assert result.metrics["writeback.cpu_all"].values[0] > result.metrics["writeback.cpu_loop"].values[0] > 0


def test_each_repeat_has_an_order_of_its_own_and_each_step_is_told(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        measure_sweep(fake.bench, replace(RANDOM, repeats=3))
        batches = [int(keys["value"]) for keys in fake.told("write-timed") if keys["path"].endswith("batch_size")]
        assert len(fake.kept.steps) == steps_of(replace(RANDOM, repeats=3))
    orders = [tuple(batches[at : at + 3]) for at in range(0, len(batches), 3)]
    assert [sorted(order) for order in orders] == [[1, 8, 32]] * 4
    assert len(set(orders)) > 1


def roomy(backing: int) -> Profile:
    """A profile with so many MiB of backing device, and enough of everything else."""
    return small_profile(
        backing=Backing(path=BACKING, size=backing * MIB), zram=ZramSection(disksize=2048 * MIB),
        limits=Limits(written_per_run=1024 * GIB),
    )  # fmt: skip


def test_data_are_sized_for_half_a_second_at_the_fastest_of_the_large_batches(memory_path: Path) -> None:
    """The fake disk takes 400 us for a page, up to 32 of them at a time: 312 MiB/s, so 16 MiB last too short."""
    with fake_bench(memory_path, profile=roomy(2048)) as fake:
        results = measure_sweep(
            fake.bench, replace(RANDOM, data_bytes=None, batch_sizes=(1, 8, 32, 16), repeats=1, warmups=0)
        )
        points = by_param(results, "batch_size")
    (size,) = {result.params["data_bytes"] for result in results}
    assert size % (4 * MIB) == 0
    for result in results:
        assert result.metrics["writeback.wall"].values[0] >= 0.5
        assert Caveat.short_writeback not in result.caveats
    assert points[32].metrics["writeback.wall"].values[0] < 0.7
    assert list(points[32].warmups["writeback.throughput"].values) == pytest.approx([312, 312], rel=0.2)
    assert points[1].warmups == {}
    assert all(result.facts["sized_by_mib_s"] == pytest.approx(312, rel=0.2) for result in results)


@pytest.mark.parametrize(("backing", "memory", "expected"), [(64, 1024, 16), (1024, 30, 8), (1024, 1024, 256)])
def test_data_are_never_more_than_there_is_room_for(
    memory_path: Path, backing: int, memory: int, expected: int
) -> None:
    phone = FakePhone()
    phone.files["/proc/meminfo"] = f"MemTotal: 4000000 kB\nMemAvailable: {memory * 1024} kB\nSwapFree: 0 kB\n"
    with fake_bench(memory_path, phone, roomy(backing)) as fake:
        assert most_data(fake.bench.stage) == expected * MIB


def test_each_batch_is_divided_by_the_first_and_64_by_32() -> None:
    sweep = replace(RANDOM, batch_sizes=(1, 8, 32, 64, 128))
    pairs = [(one.batch_size, other.batch_size) for one, other in sweep.ratios]
    assert pairs == [(8, 1), (32, 1), (64, 1), (128, 1), (64, 32)]
    assert replace(RANDOM, batch_sizes=(None,)).ratios == []


def test_a_lost_phone_leaves_the_turns_that_it_had(memory_path: Path) -> None:
    phone = FakePhone()
    found = MeasuredSweep(replace(RANDOM, repeats=4, warmups=0))
    with suppress(DeviceLost), fake_bench(memory_path, phone) as fake:
        phone.commands_left = 60
        try:
            measure_sweep(fake.bench, found.plan, found)
        finally:
            phone.commands_left = None
            results = sweep_results(fake.bench, found)
    assert results
    assert all(len(result.turns) == len(result.metrics["writeback.wall"].values) for result in results)


@pytest.mark.parametrize("order", list(SlotOrder))
def test_what_is_measured_goes_where_a_half_is_free(memory_path: Path, order: SlotOrder) -> None:
    """Else blocks would be allocated, or slots written over, while a writeback is timed."""
    with fake_bench(memory_path) as fake:
        measure_sweep(fake.bench, replace(RANDOM, order=order))
        written_back = np.flatnonzero(fake.zram.place == BACKED)
        free = np.flatnonzero(fake.zram.place == EMPTY)
        whole = fake.bench.stage.backing_pages if order is SlotOrder.scattered else 2 * PAGES
        assert (len(written_back), len(free)) == (whole - PAGES, PAGES)
        assert (written_back.tolist() == list(range(PAGES, 2 * PAGES))) is (order is SlotOrder.sequential)
        assert bool(np.ptp(free) > whole * 9 // 10) is (order is not SlotOrder.sequential)
        filled = fake.told("fill")[1:]
        assert {tuple(keys.items()) for keys in fake.told("free")} == {
            tuple((key, text) for key, text in keys.items() if key not in ("mix", "seed")) for keys in filled
        }


def test_a_large_backing_device_is_filled_piece_by_piece_and_only_once(memory_path: Path) -> None:
    """zram holds what is not yet written back in the phone's memory, and filling a device takes long."""
    sweep = replace(RANDOM, data_bytes=None, batch_sizes=(32,), repeats=1, warmups=0, order=SlotOrder.scattered)
    with fake_bench(memory_path, profile=roomy(160)) as fake:
        (result,) = measure_sweep(fake.bench, sweep)
        filled = [keys for keys in fake.told("fill") if "pick" not in keys]
        pieces = [(int(keys["lo"]), int(keys["hi"])) for keys in filled]
        freed = [int(keys["pick"]) for keys in fake.told("free")]
        assert pieces == [(0, 16383), (16384, 32767), (32768, fake.bench.stage.backing_pages - 1)]
    assert freed[0] * PAGE_4K == 8 * MIB < result.params["data_bytes"] == freed[-1] * PAGE_4K


def test_parts_of_the_data_are_measured_in_each_round(memory_path: Path) -> None:
    sweep = replace(RANDOM, batch_sizes=(1, 8, 32), repeats=3, warmups=0, parts=(4, 16))
    with fake_bench(memory_path) as fake:
        results = measure_sweep(fake.bench, sweep)
        assert len(fake.kept.steps) == steps_of(sweep)
    whole, *parts = (PAGES // part * PAGE_4K for part in (1, 4, 16))
    points = {(result.params["data_bytes"], result.params["batch_size"]) for result in results}
    assert points == {(whole, 1), (whole, 8), (whole, 32), *((size, batch) for size in parts for batch in (1, 32))}
    for result in results:
        assert [turn.round for turn in result.turns] == [0, 1, 2]
        assert result.checks["pages written (bd_stat)"]["seen"] == 3 * result.params["data_bytes"] // PAGE_4K


def test_pages_of_one_word_are_no_pages_to_be_written(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        (result,) = measure_sweep(fake.bench, replace(RANDOM, pages=PageKind.mixed, batch_sizes=(8,)))
    check = result.checks["pages written (bd_stat)"]
    assert check["expected"] == check["seen"]
    assert 1.7 * PAGES < check["expected"] < 1.9 * PAGES


def test_a_kernel_without_batches_is_measured_and_says_so(memory_path: Path) -> None:
    phone = FakePhone()
    del phone.files["/sys/block/zram0/writeback_batch_size"]
    with fake_bench(memory_path, phone) as fake:
        (result,) = measure_sweep(fake.bench, replace(RANDOM, batch_sizes=fake.bench.stage.batch_sizes((1, 8))))
    assert (result.params["batch_size"], Caveat.no_batch_size in result.caveats) == (None, True)
    assert median(result, "writeback.throughput") < 12


def test_pages_that_were_forgotten_are_an_error_although_the_kernel_says_success(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.zram.forgets = 3
        with pytest.raises(NothingMeasured, match=r"writeback of 256 pages at batch size 1 ended with success .* 253"):
            measure_sweep(fake.bench, RANDOM)


def test_a_writeback_that_somebody_forbids_says_who(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.zram.forgets = 10**6
        fake.phone.android.dmesg.append(
            f'[ 9.0] avc:  denied  {{ write }} for  comm="kworker/u16:2" path="{BACKING}" scontext=u:r:kernel:s0 '
            "tcontext=u:object_r:system_data_file:s0 tclass=file permissive=0"
        )
        with pytest.raises(NothingMeasured) as caught:
            measure_sweep(fake.bench, RANDOM)
    assert f'avc:  denied  {{ write }} for  comm="kworker/u16:2" path="{BACKING}"' in caught.value.for_people()


def test_a_refused_attribute_is_the_error_that_its_errno_means(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.bench.stage.as_block_device(PAGES)
        with pytest.raises(InvalidValue):
            write_attribute(fake.bench, "writeback_batch_size", "0")
        with pytest.raises(ZramError, match="EBUSY"):
            write_attribute(fake.bench, "comp_algorithm", "zstd")
        fake.bench.probe.fill_device(fake.bench.stage.all_pages(PAGES), mix="i100", seed=1)
        fake.zram._device().size_bytes = 100 * 4096
        write_attribute(fake.bench, "idle", "all")
        with pytest.raises(BackingDeviceFull):
            write_attribute(fake.bench, "writeback", "idle")
        assert fake.phone.bd_stat(0) == [100, 0, 100]


def test_a_limit_is_kept_and_the_rest_is_written_without_it(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        kept = write_back_under_limit(fake.bench, pages=PAGES, limit_4k=100, batch_size=8)
        assert (kept.limited.written_4k, kept.limited.left_4k, kept.limited.errno) == (100, 0, "EIO")
        assert (kept.rest.written_4k, kept.rest.errno) == (PAGES - 100, "")
        assert fake.phone.bd_stat(0) == [PAGES, 0, PAGES]
        result = limit_result(fake.bench, kept)
    assert all(check["expected"] == check["seen"] for check in result.checks.values())


def with_large_pages(fake: Fake) -> Fake:
    """A fake phone's zram knows slots of 4 KiB only; what is asked of it follows from what the phone says it is."""
    fake.device.identity = replace(fake.device.identity, page_size_bytes=16 * KIB)
    return fake


def test_limits_of_a_run_are_whole_pages(memory_path: Path) -> None:
    apps = Apps(written_per_round=8 * MIB).model_copy(update={"written_per_round": 8 * MIB + 5 * PAGE_4K})
    limits = Limits().model_copy(update={"written_per_run": 64 * MIB + 3 * PAGE_4K})
    with fake_bench(memory_path, profile=small_profile(apps=apps, limits=limits)) as small:
        small.bench.stage.as_swap(PAGES)
        with_large_pages(small)
        condition = SwitchCondition(Trigger.periodic, 32)
        with watched(small.bench, condition, 1.0):
            pass
        (told,) = small.told("daemon-start")
    assert int(told["limit_4k"]) == 8 * MIB // PAGE_4K + 4
    assert int(told["total_4k"]) == 64 * MIB // PAGE_4K


@pytest.mark.parametrize(
    ("written", "left", "errno", "says"),
    [(112, 0, "EIO", ""), (2048, 2**64 - 13, "", "wrote 2048, and the limit reads 18446744073709551603"),
     (116, 0, "EIO", "112 are whole pages of 16 KiB) it wrote 116"), (0, 0, "EIO", "it wrote 0")],
)  # fmt: skip
def test_a_limit_within_a_page_must_hold_for_the_whole_pages_in_it(
    memory_path: Path, written: int, left: int, errno: str, says: str
) -> None:
    with fake_bench(memory_path) as fake:
        stage = with_large_pages(fake).bench.stage
        fault = fault_of_partial_limit(stage, LimitRun(32, 115, written, left, errno))
    assert bool(fault) == bool(says)
    assert says in fault
    assert fault.startswith("this kernel: " if says else "")


def test_values_of_an_attribute_are_tried_and_it_is_put_back(memory_path: Path) -> None:
    with fake_bench(memory_path) as fake:
        fake.bench.stage.as_block_device(PAGES)
        tried = try_values(fake.bench.stage, "writeback_batch_size", ("8", "0", "abc"), "32")
        assert [(one.value, one.errno, one.reads) for one in tried] == [
            ("8", "", "8"), ("0", "EINVAL", "8"), ("abc", "EINVAL", "8")
        ]  # fmt: skip
        assert fake.zram.setting("writeback_batch_size") == "32"
        with pytest.raises(ZramError, match="never written"):
            try_values(fake.bench.stage, "writeback_batch_size", ("8", "4097"), "32")


def one_writeback(phone: FakePhone, folder: Path) -> None:
    with fake_bench(folder, phone, small_profile()) as fake:
        fake.bench.stage.as_block_device(16)
        fill_and_write_back(fake.bench, fake.bench.stage.all_pages(16), pages=PageKind.incompressible, batch_size=8)


@pytest.mark.parametrize("lose_answer", [False, True], ids=["cut", "answer_lost"])
def test_a_cable_pulled_at_any_line_of_the_probe_is_healed(memory_path: Path, lose_answer: bool) -> None:
    whole = FakePhone()
    one_writeback(whole, memory_path)
    first = next(n for n, line in enumerate(whole.log) if "serve" in line)
    last = max(n for n, line in enumerate(whole.log) if line.startswith("write-timed"))
    assert last - first > 3
    for commands_left in range(first, last + 2):
        phone = FakePhone(commands_left=commands_left, lose_answer=lose_answer)
        with suppress(DeviceLost):
            one_writeback(phone, memory_path)
        phone.commands_left, phone.lose_answer = None, False
        with opened(phone, memory_path):
            pass
        assert phone.state() == FakePhone().state(), f"cut before command {commands_left}"


def test_a_page_of_the_fake_is_of_the_kind_that_its_mix_says() -> None:
    made = make_contents(parse_mix("z5,s5,c60@3,i30"), 7, np.arange(10_000))
    shares = np.bincount(made["kind"], minlength=INCOMPRESSIBLE + 1) / len(made)
    assert shares == pytest.approx([0.05, 0.05, 0.6, 0.3], abs=0.02)
