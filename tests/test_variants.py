"""Other backing devices: what each must prove to be, and that the phone is its old self after each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import DeviceLost, EnvironmentRefused, LabError, RestoreFailed
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
from records.model import Caveat, Turn
from suites.turns import SharedRounds
from tests.bench_sample import bench_on
from tests.fake_bench import PARTITION, SCRATCH, fake_bench, small_profile
from tests.replies_sample import timed_writeback
from workloads.faults import FaultSamples
from workloads.rounds import Rounds, Visit
from workloads.stage import Stage, set_stage
from workloads.turns import NotAvailable
from workloads.variants import VARIANTS, Variant, VariantRounds, VariantTurn, attach, measure_variants, variant_results

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


def turns_of(variant: Variant, count: int, *, faults: bool = True) -> VariantRounds:
    """Turns of one variant, as its rounds leave them."""
    values = np.arange(10, dtype=np.uint64)
    found = FaultSamples(values, values + np.uint64(100), 20, 10, 0, {"timer p50": 1}, "lz4") if faults else None
    turn = VariantTurn(timed_writeback(256, 100), timed_writeback(256, 50), found, {"file_system": "f2fs"})
    return Rounds([Visit(variant, Turn(number, number * 1.0), turn) for number in range(count)], count)


def results_of(
    probe_file: Path, variant: Variant, rounds: VariantRounds
) -> tuple[list[Any], dict[str, Any]]:  # fmt: skip
    with staged(used_phone(), probe_file, profile_of(data=MIB)) as stage:
        bench, kept = bench_on(stage, probe_file.parent)
        return variant_results(bench, variant, rounds), kept.raw


def test_a_file_has_a_record_for_fresh_and_one_for_overwritten_blocks(probe_file: Path) -> None:
    variant = BY_NAME["f2fs file, buffered"]
    (fresh, overwritten), saved = results_of(probe_file, variant, turns_of(variant, 5))
    assert [dict(r.params) for r in (fresh, overwritten)] == [
        {"variant": "f2fs file, buffered", "blocks": blocks, "batch_size": 32, "data_bytes": MIB}
        for blocks in ("fresh", "overwritten")
    ]
    assert fresh.metrics["writeback.throughput"].values == pytest.approx([10.0] * 5)
    assert overwritten.metrics["writeback.throughput"].values == pytest.approx([20.0] * 5)
    name = "variant-f2fs-file-buffered"
    assert (fresh.raw, list(overwritten.raw.values())) == ({}, [f"raw/{name}.npy", f"raw/{name}-turn.npy"])
    assert saved[name].tolist() == [*range(100, 110)] * 5
    assert saved[f"{name}-turn"].tolist() == np.repeat(range(5), 10).tolist()
    assert [turn.round for turn in overwritten.turns] == [turn.round for turn in fresh.turns] == list(range(5))
    assert overwritten.checks["reads from the backing device (bd_stat)"] == {"expected": 50, "seen": 50}
    assert overwritten.checks["pages written (bd_stat)"] == {"expected": 1280, "seen": 1280}
    assert fresh.caveats == overwritten.caveats == [Caveat.buffered_io]
    assert overwritten.facts["disk_written_mib"] == overwritten.facts["pages_written_mib"] == 5.0


def test_a_partition_has_no_fresh_blocks_but_a_warm_up(probe_file: Path) -> None:
    (result,), _ = results_of(probe_file, BY_NAME["partition"], turns_of(BY_NAME["partition"], 3))
    assert result.params["blocks"] == "overwritten"
    assert result.warmups["writeback.throughput"].values == pytest.approx([10.0] * 3)
    assert Caveat.few_repeats in result.caveats


def test_of_a_variant_that_was_broken_off_there_is_what_was_measured(probe_file: Path) -> None:
    file, partition = BY_NAME["f2fs file"], BY_NAME["partition"]
    assert results_of(probe_file, file, Rounds())[0] == []
    for variant, count in ((file, 2), (partition, 1)):
        results, saved = results_of(probe_file, variant, turns_of(variant, 1, faults=False))
        assert (len(results), saved, results[-1].raw) == (count, {}, {})
        assert results[-1].metrics["writeback.throughput"].values == pytest.approx([20.0])
        assert Caveat.few_repeats in results[-1].caveats


def test_variants_are_made_anew_each_round_and_one_that_is_not_there_spoils_no_other(memory_path: Path) -> None:
    profile = small_profile(variants=Wanted(data=MIB, partition=PARTITION, erase=True))
    rounds: VariantRounds = Rounds()
    with fake_bench(memory_path, profile=profile) as fake:
        measure_variants(fake.bench, VARIANTS, rounds)
        made = [line for line in fake.phone.log if "-attach" in line and ("_variant" in line or SCRATCH in line)]
    assert list(rounds.failed) == [BY_NAME["ext4 file"]]
    assert "variants.ext4" in str(rounds.failed[BY_NAME["ext4 file"]])
    there = [variant for variant in VARIANTS if variant not in rounds.failed]
    assert {len(rounds.of(variant)) for variant in there} == {5}
    assert len(made) == 5 * sum(variant.file_system is not None for variant in there)
    turns = rounds.values(BY_NAME["f2fs file"])
    assert [turn.faults.written_back_ns.size for turn in turns if turn.faults is not None] == [20] * 5
    assert {turn.verified["file_system"] for turn in turns} == {"f2fs"}


@pytest.mark.parametrize("error", [DeviceLost("gone"), KeyboardInterrupt()])
def test_what_points_have_is_recorded_when_their_measurement_is_broken_off(error: BaseException) -> None:
    recorded: list[Any] = []

    def results(point: str) -> list[Any]:
        return [point, point]

    def record(result: Any) -> None:
        recorded.append(result)
        raise DeviceLost("what was measured is recorded first, then the phone is asked how it is")

    bench = replace(bench_on(None, Path())[0], record=record)  # type: ignore[arg-type]
    shared: SharedRounds[str, float] = SharedRounds()
    shared.rounds.failed["b"] = NotAvailable("no")
    with pytest.raises(type(error)), shared.measuring(bench, ["a", "b", "c"], results):
        raise error
    assert recorded == ["a", "a", "c", "c"]
    for point, told in (("a", type(error)), ("b", pytest.skip.Exception), ("c", type(error))):
        with pytest.raises(told):
            shared.skip_or_raise(point)


@pytest.mark.phone
def test_on_a_phone_each_variant_is_what_it_claims(transport: AdbTransport, tmp_path: Path) -> None:
    wanted = Wanted(data=MIB, repeats=1, ext4="/mnt/scratch/v", partition="/dev/block/by-name/zram_backing", erase=True)
    # Smaller than a profile may be, whose sections must fit together.
    small = {"variants": wanted, "backing": Backing(path=PATH, size=16 * MIB), "faults": Faults(samples=100)}
    profile = Profile(name="x").model_copy(update=small)
    with open_device(transport) as device, device.changes() as changes:
        stage = set_stage(changes, profile)
        rounds: VariantRounds = Rounds()
        with bench_on(stage, tmp_path)[0].probing(alarm_s=120) as bench:
            measure_variants(bench, VARIANTS, rounds)
        assert rounds.failed == {}
        verified = {variant.name: rounds.values(variant)[0].verified for variant in VARIANTS}
        loops = device.run("ls", "/data/per_boot", "/mnt/scratch").split()
    assert {name: facts["file_system"] for name, facts in verified.items()} == {
        "f2fs file": "f2fs", "f2fs file, pinned": "f2fs", "f2fs file, sparse": "f2fs", "f2fs file, buffered": "f2fs",
        "f2fs file, mapped": "f2fs", "ext4 file": "ext4", "partition": None,
    }  # fmt: skip
    assert [name for name, facts in verified.items() if facts["pinned"]] == ["f2fs file, pinned", "f2fs file, mapped"]
    assert {name for name, facts in verified.items() if facts["direct_io"] is False} == {"f2fs file, buffered"}
    sparse = verified["f2fs file, sparse"]
    assert sparse["allocated_bytes"] == 0
    assert MIB <= sparse["allocated_bytes_after_first_pass"] < sparse["size_bytes"]
    assert {facts["disk"] for facts in verified.values()} == {"sda", "sdb", "sdc"}
    assert not [name for name in loops if name in ("v", "zram_writeback_variant")]
    for variant in VARIANTS:
        for turn in rounds.values(variant):
            assert [run.written for run in (turn.fresh, turn.overwritten)] == [256, 256]
            assert turn.faults is not None
            assert len(turn.faults.written_back_ns) == 100
        disk = verified[variant.name]["disk"]
        on_disk = sum(turn.overwritten.timed.disks[disk].written_bytes for turn in rounds.values(variant))
        pages_bytes = MIB * len(rounds.of(variant))
        assert on_disk < pages_bytes if variant.direct_io is False else on_disk >= pages_bytes
