"""Other backing devices: what each must prove to be, and that the phone is its old self after each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import DeviceError, DeviceLost, EnvironmentRefused, LabError, RestoreFailed
from base.units import MIB
from devices.adb import AdbTransport
from devices.backing import loop_backing
from devices.device import Changes, Device, open_device
from devices.fake.phone import FakePhone
from devices.journal_files import journal_path
from devices.profiles.profile import Profile
from devices.profiles.sections import Backing
from devices.profiles.what_is_measured import Faults
from devices.profiles.what_is_measured import Variants as Wanted
from devices.zram import take_over
from records.model import Caveat
from suites.turns import recorded_even_if_broken_off
from tests.bench_sample import bench_on
from tests.replies_sample import timed_writeback
from workloads.faults import FaultSamples
from workloads.stage import Stage, set_stage
from workloads.turns import FaultShares, NotAvailable, in_turns
from workloads.variants import VARIANTS, MeasuredVariant, Variant, attach, measure_variants, variant_results

PATH = "/data/per_boot/zram_writeback"
BY_NAME = {variant.name: variant for variant in VARIANTS}


@pytest.fixture(autouse=True)
def state(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))


@pytest.fixture
def probe_file(tmp_path: Path) -> Path:
    path = tmp_path / "probe"
    path.write_bytes(b"not really a program")
    return path


def used_phone() -> FakePhone:
    """zram0 is a live swap device, and there is a file system that is not F2FS."""
    phone = FakePhone()
    phone.files |= {"/sys/block/zram0/disksize": "2147483648", "/mnt/scratch/lost+found": ""}
    phone.swaps = {"/dev/block/zram0": (1024, 100)}
    return phone


@contextmanager
def opened(phone: FakePhone, probe_file: Path) -> Iterator[Device]:
    with open_device(phone, probe_builder=lambda arch: probe_file) as device:
        device.probe.install(device.identity.arch)
        yield device


@contextmanager
def staged(phone: FakePhone, probe_file: Path, profile: Profile | None = None) -> Iterator[Stage]:
    with opened(phone, probe_file) as device, device.changes() as changes:
        backing = loop_backing(changes, PATH, 64 * MIB)
        yield Stage(device, profile or Profile(name="x"), take_over(changes), backing, None)


def other(changes: Changes) -> Any:
    return loop_backing(changes, f"{PATH}_variant", 8 * MIB)


def measure_on_another(phone: FakePhone, probe_file: Path) -> None:
    with staged(phone, probe_file) as stage:
        with stage.on_backing(other, None) as there:
            there.as_block_device(1024)
            there.as_swap(1024)
        stage.as_block_device(1024)


def test_zram_is_on_the_other_backing_device_for_the_scope_only(probe_file: Path) -> None:
    phone = used_phone()
    with staged(phone, probe_file) as stage:
        with stage.on_backing(other, None) as there:
            there.as_swap(1024)
            assert phone.files["/sys/block/zram0/backing_dev"] == there.backing.node == "/dev/block/loop1"
        assert phone.files["/sys/block/zram0/backing_dev"] == "none"
        assert phone.loops == {0: PATH}
        assert f"{PATH}_variant" not in phone.files
        stage.as_block_device(1024)
        assert phone.files["/sys/block/zram0/backing_dev"] == "/dev/block/loop0"
    assert phone.state() == used_phone().state()


def test_a_measurement_that_fails_in_the_scope_leaves_the_same(probe_file: Path) -> None:
    phone = used_phone()
    with staged(phone, probe_file) as stage:
        with pytest.raises(ZeroDivisionError), stage.on_backing(other, None) as there:
            there.as_swap(1024)
            raise ZeroDivisionError
        assert (phone.loops, phone.swaps) == ({0: PATH}, {})
    assert phone.state() == used_phone().state()


@pytest.mark.parametrize("lose_answer", [False, True], ids=["cut", "answer_lost"])
def test_cable_pulled_at_any_command_is_healed(probe_file: Path, lose_answer: bool) -> None:
    whole = used_phone()
    measure_on_another(whole, probe_file)
    for commands_left in range(len(whole.log)):
        phone = used_phone()
        phone.commands_left, phone.lose_answer = commands_left, lose_answer
        with suppress(LabError):
            measure_on_another(phone, probe_file)
        phone.commands_left, phone.lose_answer = None, False
        with opened(phone, probe_file):
            pass
        assert phone.state() == used_phone().state(), f"cut before command {commands_left}"


def test_zram_that_did_not_let_go_is_healed_later_and_the_phones_swap_stays(probe_file: Path) -> None:
    """The undo that failed must not be tried again on the zram that the phone has back."""
    phone = used_phone()
    with pytest.raises(RestoreFailed), staged(phone, probe_file) as stage:
        try:
            with stage.on_backing(other, None) as there:
                there.as_swap(1024)
                phone.refuses["swapoff"] = "Out of memory"
        finally:
            phone.refuses.clear()
    assert phone.swaps == used_phone().swaps
    with opened(phone, probe_file):
        pass
    assert phone.state() == used_phone().state()
    assert not journal_path("FAKE01").exists()


def profile_of(**variants: Any) -> Profile:
    return Profile(name="x", variants=Wanted(**variants))


def try_attach(phone: FakePhone, probe_file: Path, name: str, profile: Profile) -> None:
    with opened(phone, probe_file) as device, device.changes() as changes:
        attach(changes, profile, BY_NAME[name], 8 * MIB)


@pytest.mark.parametrize(
    ("name", "profile", "error", "says"),
    [
        ("ext4 file", profile_of(), NotAvailable, "variants.ext4: the profile names no path"),
        ("partition", profile_of(), NotAvailable, "variants.partition: the profile names none"),
        ("ext4 file", profile_of(ext4="/data/local/x"), EnvironmentRefused, "lies on f2fs, not on ext4"),
        (
            "f2fs file",
            Profile(name="x", backing=Backing(path="/mnt/scratch/x")),
            NotAvailable,
            "/mnt/scratch/x_variant lies on ext4, not on f2fs",
        ),
        (
            "f2fs file, pinned",
            Profile(name="x", backing=Backing(path="/mnt/scratch/x")),
            NotAvailable,
            "on ext4 cannot be pinned: ENOTTY",
        ),
        (
            "f2fs file",
            Profile(name="x", backing=Backing(kind="partition", path="/dev/block/sdb", erase=True)),
            NotAvailable,
            "backing.path is a partition",
        ),
    ],
)
def test_what_is_not_there_is_told_apart_from_a_broken_promise(
    probe_file: Path, name: str, profile: Profile, error: type[LabError], says: str
) -> None:
    phone = used_phone()
    with pytest.raises(error, match=says) as caught:
        try_attach(phone, probe_file, name, profile)
    assert type(caught.value) is error
    assert phone.state() == used_phone().state()


@pytest.mark.parametrize(
    ("name", "lie", "says"),
    [
        ("f2fs file", {"allocated_bytes": 4096}, "all of it allocated was asked for"),
        ("f2fs file, sparse", {"allocated_bytes": 8 * MIB}, "nothing allocated was asked for"),
        ("f2fs file", {"dio": 0}, "direct I/O False"),
        ("f2fs file, buffered", {"dio": 1}, "direct I/O True"),
        ("f2fs file, pinned", {"pinned": 0, "pin_errno": "EFBIG"}, "cannot be pinned: EFBIG"),
    ],
)
def test_a_variant_that_is_not_what_it_claims_is_refused(
    probe_file: Path, name: str, lie: dict[str, Any], says: str
) -> None:
    phone = used_phone()
    phone.claims = lie
    with pytest.raises(LabError, match=says):
        try_attach(phone, probe_file, name, Profile(name="x"))
    assert phone.state() == used_phone().state()


def test_every_point_has_its_turn_in_an_order_that_the_seed_decides() -> None:
    turns: list[tuple[str, int]] = []
    assert in_turns("abcdef", 3, 4711, lambda point, repeat: turns.append((point, repeat))) == {}
    rounds = [[point for point, repeat in turns if repeat == n] for n in range(3)]
    assert [repeat for _, repeat in turns] == sorted(repeat for _, repeat in turns)
    assert [sorted(order) for order in rounds] == [list("abcdef")] * 3
    assert len({tuple(order) for order in rounds}) == 3
    again: list[tuple[str, int]] = []
    in_turns("abcdef", 3, 4711, lambda point, repeat: again.append((point, repeat)))
    assert again == turns


def test_a_point_that_fails_is_left_out_and_the_others_go_on() -> None:
    turns: list[tuple[str, int]] = []

    def measure(point: str, repeat: int) -> None:
        turns.append((point, repeat))
        if point == "b" and repeat == 1:
            raise DeviceError("no")

    failed = in_turns("abc", 3, 1, measure)
    assert {point: str(error) for point, error in failed.items()} == {"b": "no"}
    assert sorted(turns) == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("c", 0), ("c", 1), ("c", 2)]


@pytest.mark.parametrize("error", [DeviceLost("gone"), RestoreFailed("not as it was")])
def test_a_phone_that_is_gone_or_spoilt_ends_it(error: LabError) -> None:
    turns: list[str] = []

    def measure(point: str, repeat: int) -> None:
        turns.append(point)
        raise error

    with pytest.raises(type(error)):
        in_turns("abc", 3, 1, measure)
    assert len(turns) == 1


@pytest.mark.parametrize(("samples", "repeats", "count", "share"), [(2000, 5, 2, 1000), (101, 5, 2, 51), (7, 1, 1, 7)])
def test_shares_add_up_to_the_faults_asked_for(samples: int, repeats: int, count: int, share: int) -> None:
    shares = FaultShares(samples, repeats)
    assert (shares.count, shares.share) == (count, share)
    assert shares.count * shares.share >= samples


def measured_as(count: int) -> MeasuredVariant:
    values = np.arange(10, dtype=np.uint64)
    share = FaultSamples(values, values + np.uint64(100), 20, 10, 0, {"timer p50": 1}, "lz4")
    return MeasuredVariant(
        fresh=[timed_writeback(256, 100)] * count, overwritten=[timed_writeback(256, 50)] * count,
        faults=[share, share], verified={"file_system": "f2fs"},
    )  # fmt: skip


def results_of(
    probe_file: Path, variant: Variant, count: int = 0, measured: MeasuredVariant | None = None
) -> tuple[list[Any], dict[str, Any]]:
    with staged(used_phone(), probe_file, profile_of(data=MIB)) as stage:
        bench, kept = bench_on(stage, probe_file.parent)
        return variant_results(bench, variant, measured or measured_as(count)), kept.raw


def test_a_file_has_a_record_for_fresh_and_one_for_overwritten_blocks(probe_file: Path) -> None:
    (fresh, overwritten), saved = results_of(probe_file, BY_NAME["f2fs file, buffered"], 5)
    assert [dict(r.params) for r in (fresh, overwritten)] == [
        {"variant": "f2fs file, buffered", "blocks": blocks, "batch_size": 32, "data_bytes": MIB}
        for blocks in ("fresh", "overwritten")
    ]
    assert fresh.metrics["writeback.throughput"].values == pytest.approx([10.0] * 5)
    assert overwritten.metrics["writeback.throughput"].values == pytest.approx([20.0] * 5)
    assert (fresh.raw, overwritten.raw) == ({}, {"fault.latency": "raw/variant-f2fs-file-buffered.npy"})
    assert saved["variant-f2fs-file-buffered"].tolist() == [*range(100, 110)] * 2
    assert overwritten.checks["reads from the backing device (bd_stat)"] == {"expected": 20, "seen": 20}
    assert overwritten.checks["pages written (bd_stat)"] == {"expected": 1280, "seen": 1280}
    assert fresh.caveats == overwritten.caveats == [Caveat.buffered_io]
    assert overwritten.facts["disk_written_mib"] == overwritten.facts["pages_written_mib"] == 5.0


def test_a_partition_has_no_fresh_blocks_but_a_warm_up(probe_file: Path) -> None:
    (result,), _ = results_of(probe_file, BY_NAME["partition"], 3)
    assert result.params["blocks"] == "overwritten"
    assert result.warmups["writeback.throughput"].values == pytest.approx([10.0] * 3)
    assert Caveat.few_repeats in result.caveats


def test_of_a_variant_that_was_broken_off_there_is_what_was_measured(probe_file: Path) -> None:
    file, partition = BY_NAME["f2fs file"], BY_NAME["partition"]
    assert results_of(probe_file, file, measured=MeasuredVariant())[0] == []
    once = MeasuredVariant(fresh=[timed_writeback(256, 100)])
    assert [r.params["blocks"] for r in results_of(probe_file, file, measured=once)[0]] == ["fresh"]
    assert results_of(probe_file, partition, measured=once)[0] == []
    once.overwritten = [timed_writeback(256, 50)]
    for variant, count in ((file, 2), (partition, 1)):
        results, saved = results_of(probe_file, variant, measured=once)
        assert (len(results), saved, results[-1].raw) == (count, {}, {})
        assert results[-1].metrics["writeback.throughput"].values == pytest.approx([20.0])
        assert Caveat.few_repeats in results[-1].caveats


@pytest.mark.parametrize("error", [DeviceLost("gone"), KeyboardInterrupt()])
def test_what_points_have_is_recorded_when_their_measurement_is_broken_off(error: BaseException) -> None:
    recorded: list[Any] = []

    def results(point: str) -> list[Any]:
        return [point, point]

    def record(result: Any) -> None:
        recorded.append(result)
        raise DeviceLost("what was measured is recorded first, then the phone is asked how it is")

    bench = replace(bench_on(None, Path())[0], record=record)  # type: ignore[arg-type]
    measured = {"a": MeasuredVariant(), "b": MeasuredVariant(error=NotAvailable("no")), "c": MeasuredVariant()}
    with pytest.raises(type(error)), recorded_even_if_broken_off(bench, measured, results):
        raise error
    assert recorded == ["a", "a", "c", "c"]
    assert [found.error for found in measured.values()] == [error, measured["b"].error, error]


@pytest.mark.phone
def test_on_a_phone_each_variant_is_what_it_claims(transport: AdbTransport, tmp_path: Path) -> None:
    wanted = Wanted(data=MIB, repeats=1, ext4="/mnt/scratch/v", partition="/dev/block/by-name/zram_backing", erase=True)
    # Smaller than a profile may be, whose sections must fit together.
    small = {"variants": wanted, "backing": Backing(path=PATH, size=16 * MIB), "faults": Faults(samples=100)}
    profile = Profile(name="x").model_copy(update=small)
    with open_device(transport) as device, device.changes() as changes:
        stage = set_stage(changes, profile)
        measured = {variant: MeasuredVariant() for variant in VARIANTS}
        with bench_on(stage, tmp_path)[0].probing(alarm_s=120) as bench:
            measure_variants(bench, measured)
        assert {variant.name: found.error for variant, found in measured.items()} == dict.fromkeys(BY_NAME)
        verified = {variant.name: found.verified for variant, found in measured.items()}
        loops = device.run("ls", "/data/per_boot", "/mnt/scratch").split()
    assert {name: facts["file_system"] for name, facts in verified.items()} == {
        "f2fs file": "f2fs", "f2fs file, pinned": "f2fs", "f2fs file, sparse": "f2fs", "f2fs file, buffered": "f2fs",
        "ext4 file": "ext4", "partition": None,
    }  # fmt: skip
    assert [name for name, facts in verified.items() if facts["pinned"]] == ["f2fs file, pinned"]
    assert {name for name, facts in verified.items() if facts["direct_io"] is False} == {"f2fs file, buffered"}
    sparse = verified["f2fs file, sparse"]
    assert sparse["allocated_bytes"] == 0
    assert MIB <= sparse["allocated_bytes_after_first_pass"] < sparse["size_bytes"]
    assert {facts["disk"] for facts in verified.values()} == {"sda", "sdb", "sdc"}
    assert not [name for name in loops if name in ("v", "zram_writeback_variant")]
    for variant, found in measured.items():
        assert [run.written for run in found.fresh + found.overwritten] == [256, 256]
        on_disk = sum(run.timed.disks[found.verified["disk"]].written_bytes for run in found.overwritten)
        assert on_disk < MIB if variant.direct_io is False else on_disk >= MIB
        assert sum(len(share.written_back_ns) for share in found.faults) >= 100
