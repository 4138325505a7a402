"""zram's module is exchanged in one boot: its devices are as they were, and the phone's own is back at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from base.errors import CommandFailed, DeviceError, DeviceLost, EnvironmentRefused, ProfileError, RestoreFailed
from devices.device import Device
from devices.fake.modules import OWN_BUILD_ID, OWN_FILE, module_file
from devices.fake.phone import FakePhone
from devices.kernel_module import KernelModule
from devices.module_swap import BUILD_ID, module_build_id, swap_zram_module
from devices.profiles.reading import load
from devices.swaps import FIRST_SWAP
from devices.transport import Exec
from devices.zram import ZramConfig, hot_add, take_over
from tests.android_fakes import heal, opened
from workloads.stage import set_stage

OTHER = "a5" * 20
ZRAM = "/sys/block/zram0"


@pytest.fixture(autouse=True)
def state(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))


@pytest.fixture
def phone() -> FakePhone:
    """Its zram is a module, and zram0 is swap with settings of its owner's."""
    phone = FakePhone()
    phone.modules.install()
    phone.files |= {
        f"{ZRAM}/comp_algorithm": "lzo-rle lzo [lz4] zstd", f"{ZRAM}/disksize": "4294967296",
        f"{ZRAM}/writeback_limit": "112", f"{ZRAM}/writeback_batch_size": "64",
    }  # fmt: skip
    phone.swaps = {"/dev/block/zram0": (4096, 32758)}
    return phone


@pytest.fixture
def device(phone: FakePhone, tmp_path: Path) -> Iterator[Device]:
    with opened(phone, tmp_path) as device:
        yield device


def ko(folder: Path, build_id: str = OTHER, **said: str) -> Path:
    path = folder / f"{build_id[:4]}.ko"
    path.write_bytes(module_file(build_id, **said))
    return path


def loaded(phone: FakePhone) -> str:
    return phone.modules.xxd(("xxd",)).replace("\n", "")[32:]


def test_another_build_is_loaded_and_the_phones_devices_are_as_they_were(
    phone: FakePhone, device: Device, tmp_path: Path
) -> None:
    before = phone.state()
    with device.changes() as changes:
        module = swap_zram_module(changes, ko(tmp_path, version="stock"))
        assert (module.build_id, module.version) == (OTHER, "stock") == (loaded(phone), "stock")
        assert phone.swaps == {"/dev/block/zram0": (1024, 32758)}
        settings = ("disksize", "writeback_limit", "writeback_batch_size", "comp_algorithm")
        assert [phone.files[f"{ZRAM}/{name}"] for name in settings] == [
            "4294967296", "112", "64", "lzo-rle lzo [lz4] zstd"
        ]  # fmt: skip
    assert loaded(phone) == OWN_BUILD_ID
    phone.swaps = {name: (4096, priority) for name, (_, priority) in phone.swaps.items()}
    assert phone.state() == before


def test_exchanged_again_and_again_there_is_one_way_back(phone: FakePhone, device: Device, tmp_path: Path) -> None:
    with device.changes() as changes:
        for build_id in (OTHER, "b6" * 20, OTHER):
            swap_zram_module(changes, ko(tmp_path, build_id))
            assert loaded(phone) == build_id
        assert len(device.journal.entries) == 1
    assert loaded(phone) == OWN_BUILD_ID


def test_a_device_that_was_added_for_the_run_is_there_again_empty(
    phone: FakePhone, device: Device, tmp_path: Path
) -> None:
    with device.changes() as changes:
        swap_zram_module(changes, ko(tmp_path))
        added = hot_add(changes, [0])
        added.configure(ZramConfig(disksize_bytes=1 << 20), swap_priority=FIRST_SWAP)
        swap_zram_module(changes, ko(tmp_path, "b6" * 20))
        assert sorted(phone.zrams) == [0, 1]
        assert added.read("disksize") == "0"
        added.configure(ZramConfig(disksize_bytes=1 << 20), swap_priority=FIRST_SWAP)
    assert sorted(phone.zrams) == [0]


def test_numbers_that_the_phone_does_not_have_are_not_made(phone: FakePhone, device: Device, tmp_path: Path) -> None:
    phone.add_zram(2)
    with device.changes() as changes:
        swap_zram_module(changes, ko(tmp_path))
        assert sorted(phone.zrams) == [0, 2]
    assert sorted(phone.zrams) == [0, 2]


def test_a_zram_that_was_taken_over_is_configured_anew_after_an_exchange(
    phone: FakePhone, device: Device, tmp_path: Path
) -> None:
    with device.changes() as changes:
        swap_zram_module(changes, ko(tmp_path))
        zram = take_over(changes)
        zram.configure(ZramConfig(disksize_bytes=1 << 20), swap_priority=FIRST_SWAP)
        swap_zram_module(changes, ko(tmp_path, "b6" * 20))
        zram.configure(ZramConfig(disksize_bytes=2 << 20), swap_priority=FIRST_SWAP)
        assert zram.read("disksize") == str(2 << 20)
    assert phone.files[f"{ZRAM}/disksize"] == "4294967296"


def test_a_zram_that_was_taken_over_before_is_empty_and_put_back_by_its_own_way(
    phone: FakePhone, device: Device, tmp_path: Path
) -> None:
    with device.changes() as outer:
        zram = take_over(outer)
        zram.configure(ZramConfig(disksize_bytes=1 << 20, backing_dev="/dev/block/sdc"), swap_priority=FIRST_SWAP)
        with device.changes() as changes:
            swap_zram_module(changes, ko(tmp_path))
            assert (zram.read("disksize"), zram.read("backing_dev")) == ("0", "none")
            zram.configure(ZramConfig(disksize_bytes=1 << 20, backing_dev="/dev/block/sdc"), swap_priority=FIRST_SWAP)
        assert loaded(phone) == OWN_BUILD_ID
        assert zram.read("disksize") == "0"
    assert (phone.files[f"{ZRAM}/disksize"], phone.files[f"{ZRAM}/backing_dev"]) == ("4294967296", "none")
    assert phone.swaps["/dev/block/zram0"][1] == 32758


def test_a_profile_names_the_build_that_a_run_is_made_with(phone: FakePhone, device: Device, tmp_path: Path) -> None:
    path = tmp_path / "patched.yaml"
    path.write_text(f"name: patched\nconnection: {{adb: {{}}}}\nzram: {{module: {ko(tmp_path)}}}\n")
    with device.changes() as changes:
        stage = set_stage(changes, load(str(path)))
        stage.as_swap(1000)
        assert loaded(phone) == OTHER
        assert stage.has_batch_size
    assert loaded(phone) == OWN_BUILD_ID
    assert (phone.files[f"{ZRAM}/disksize"], phone.loops) == ("4294967296", {})


def test_a_profile_with_something_else_for_a_build_is_told_what_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "patched.yaml"
    path.write_text("name: patched\nconnection: {adb: {}}\nzram: {module: my.patch}\n")
    with pytest.raises(ProfileError, match=r"zram\.module.*absolute path of a \.ko"):
        load(str(path))


def refused(phone: FakePhone, device: Device, path: Path, says: str) -> None:
    before = phone.state()
    with pytest.raises(EnvironmentRefused, match=says), device.changes() as changes:
        swap_zram_module(changes, path)
    assert phone.state() == before
    assert not any(line.startswith(("rmmod", "insmod", "swapoff", "push")) and ".ko" in line for line in phone.log)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"/proc/sys/kernel/modules_disabled": "1"}, "loads no more modules"),
        ({"/sys/module/module/parameters/sig_enforce": "Y"}, "only modules that its maker has signed"),
        ({"/sys/module/zram/holders/zstd_ext": ""}, "other modules need zram: zstd_ext"),
        ({f"{ZRAM}/backing_dev": "/dev/block/loop49"}, "has a backing device, /dev/block/loop49"),
    ],
)
def test_what_cannot_be_put_back_is_refused_before_anything_is_changed(
    phone: FakePhone, device: Device, tmp_path: Path, files: dict[str, str], says: str
) -> None:
    phone.files |= files
    refused(phone, device, ko(tmp_path), says)


def test_a_zram_that_is_built_in_is_refused(tmp_path: Path) -> None:
    phone = FakePhone()
    with opened(phone, tmp_path) as device:
        refused(phone, device, ko(tmp_path), "zram is built into its kernel")


def test_a_phone_without_the_file_of_its_module_is_refused(phone: FakePhone, device: Device, tmp_path: Path) -> None:
    phone.binaries[OWN_FILE] = module_file("77" * 20)
    refused(phone, device, ko(tmp_path), rf"build id {OWN_BUILD_ID}\) is not on the phone; others are: /vendor/")


def test_a_module_for_another_kernel_is_refused(phone: FakePhone, device: Device, tmp_path: Path) -> None:
    refused(phone, device, ko(tmp_path, release="6.12.1"), r"runs Linux 7\.3\.4-fake, .* is built for 6\.12\.1")


def test_another_module_is_refused(phone: FakePhone, device: Device, tmp_path: Path) -> None:
    refused(phone, device, ko(tmp_path, name="loop"), "is the module loop, not zram")


def test_one_that_the_kernel_does_not_load_leaves_the_phone_as_it_was(
    phone: FakePhone, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = phone.modules.insmod

    def insmod(argv: tuple[str, ...]) -> str:
        return good(argv) if argv[1] == OWN_FILE else str(phone.programs.run(("nothing",)))

    monkeypatch.setitem(phone.programs.known, "insmod", insmod)
    with pytest.raises(CommandFailed, match="insmod"), device.changes() as changes:
        swap_zram_module(changes, ko(tmp_path))
    assert loaded(phone) == OWN_BUILD_ID
    assert phone.swaps == {"/dev/block/zram0": (1024, 32758)}


def test_one_that_is_not_what_was_asked_for_once_it_is_loaded_is_an_error(
    phone: FakePhone, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = phone.modules.insmod

    def insmod(argv: tuple[str, ...]) -> str:
        if argv[1] != OWN_FILE:
            phone.binaries[argv[1]] = module_file("77" * 20)
        return good(argv)

    monkeypatch.setitem(phone.programs.known, "insmod", insmod)
    with pytest.raises(DeviceError, match=f"has build id {'77' * 20}, .* has {OTHER}"), device.changes() as changes:
        swap_zram_module(changes, ko(tmp_path))
    assert loaded(phone) == OWN_BUILD_ID


def test_a_way_back_that_loads_another_module_is_no_way_back(phone: FakePhone, device: Device, tmp_path: Path) -> None:
    with pytest.raises(RestoreFailed, match="build-id"), device.changes() as changes:
        swap_zram_module(changes, ko(tmp_path))
        phone.binaries[OWN_FILE] = module_file("77" * 20)


def test_a_cable_that_is_pulled_at_any_moment_leaves_a_phone_that_is_put_back(phone: FakePhone, tmp_path: Path) -> None:
    before = {path: text for path, text in phone.files.items() if path.startswith(("/sys/block/zram", "/sys/module"))}
    for left in range(400):
        phone.commands_left, phone.lose_answer = left, bool(left % 2)
        try:
            with opened(phone, tmp_path) as device, device.changes() as changes:
                swap_zram_module(changes, ko(tmp_path))
        except DeviceLost:
            heal(phone, tmp_path)
            now = {path: phone.files.get(path) for path in before}
            assert (loaded(phone), now) == (OWN_BUILD_ID, before), f"cut at command {left}"
            assert phone.swaps["/dev/block/zram0"][1] == 32758
        else:
            break
    else:
        pytest.fail("it did not come to an end")
    assert left > 40


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"#!/bin/sh\n", "no kernel module"), (module_file(OTHER)[:-4], "has no build id"), (None, "No such file")],
)
def test_a_file_that_is_no_module_is_named(tmp_path: Path, data: bytes | None, says: str) -> None:
    path = tmp_path / "x.ko"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ProfileError, match=says):
        KernelModule.read(path)


def test_the_id_that_a_phone_tells_is_the_files(device: Device, phone: FakePhone, tmp_path: Path) -> None:
    assert module_build_id(device.execute(Exec(BUILD_ID))[0]) == OWN_BUILD_ID
