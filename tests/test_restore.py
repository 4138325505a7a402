"""The promise that a phone is always put back, tried at every command at which it could be broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from base.errors import EnvironmentRefused, LabError, RestoreFailed
from devices.backing import loop_backing
from devices.device import MARKER, Device, open_device
from devices.fake.phone import FakePhone
from devices.journal import Expect, Undo
from devices.journal_files import journal_path
from devices.transport import Write
from devices.zram import ZramConfig, hot_add, take_over, zram_numbers

BACKING = "/data/per_boot/zram_writeback"


@pytest.fixture(autouse=True)
def state(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))


@pytest.fixture
def probe_file(tmp_path: Path) -> Path:
    path = tmp_path / "probe"
    path.write_bytes(b"not really a program")
    return path


def used_phone() -> FakePhone:
    """A phone whose zram0 is a live swap device with settings of its own, as a phone's is."""
    phone = FakePhone()
    zram = "/sys/block/zram0/"
    phone.files |= {
        zram + "disksize": "2147483648",
        zram + "comp_algorithm": "lzo-rle lzo [lz4] zstd",
        zram + "writeback_limit": "4711",
        zram + "writeback_limit_enable": "1",
        zram + "writeback_batch_size": "16",
    }
    phone.swaps = {"/dev/block/zram0": (1024, 100)}
    return phone


def opened(phone: FakePhone, probe_file: Path) -> Iterator[Device]:
    with open_device(phone, probe_builder=lambda arch: probe_file) as device:
        yield device


def change_everything(phone: FakePhone, probe_file: Path) -> None:
    for device in opened(phone, probe_file):
        device.probe.install(device.identity.arch)
        with device.changes() as changes:
            backing = loop_backing(changes, BACKING, 64 << 20)
            zram = take_over(changes)
            config = ZramConfig(1 << 28, comp_algorithm="zstd", backing_dev=backing.node, writeback_batch_size=8)
            zram.configure(config, swap_priority=32000)
            other = hot_add(changes, zram_numbers(device))
            other.configure(ZramConfig(1 << 26))


def commands_of_a_whole_run(probe_file: Path) -> int:
    phone = used_phone()
    change_everything(phone, probe_file)
    return len(phone.log)


def test_whole_run_leaves_the_phone_as_it_was(probe_file: Path) -> None:
    phone = used_phone()
    change_everything(phone, probe_file)
    assert phone.state() == used_phone().state()
    assert not journal_path("FAKE01").exists()


def test_changes_really_happened(probe_file: Path) -> None:
    phone = used_phone()
    change_everything(phone, probe_file)
    assert "echo 268435456 > /sys/block/zram0/disksize" in phone.log
    assert any(line.startswith("swapon -p 32000") for line in phone.log)


@pytest.mark.parametrize("lose_answer", [False, True], ids=["cut", "answer_lost"])
def test_cable_pulled_at_any_command_is_healed(probe_file: Path, lose_answer: bool) -> None:
    for commands_left in range(commands_of_a_whole_run(probe_file)):
        phone = used_phone()
        phone.commands_left, phone.lose_answer = commands_left, lose_answer
        with suppress(LabError):
            change_everything(phone, probe_file)
        phone.commands_left, phone.lose_answer = None, False
        for _ in opened(phone, probe_file):
            pass
        assert phone.state() == used_phone().state(), f"cut before command {commands_left}"


def test_cable_pulled_again_at_any_command_of_the_recovery_is_healed(probe_file: Path) -> None:
    total = commands_of_a_whole_run(probe_file)
    for commands_left in range(total // 3, total, 7):
        for recovery_left in range(0, 40, 3):
            phone = used_phone()
            phone.commands_left = commands_left
            with suppress(LabError):
                change_everything(phone, probe_file)
            phone.commands_left = recovery_left
            with suppress(LabError):
                for _ in opened(phone, probe_file):
                    pass
            phone.commands_left = None
            for _ in opened(phone, probe_file):
                pass
            assert phone.state() == used_phone().state(), f"cut at {commands_left}, then at {recovery_left}"


def test_after_a_reboot_sysfs_undos_are_void_and_files_are_still_removed(probe_file: Path) -> None:
    phone = used_phone()
    with suppress(LabError):
        for device in opened(phone, probe_file):
            device.probe.install(device.identity.arch)
            with device.changes() as changes:
                loop_backing(changes, BACKING, 64 << 20)
                take_over(changes)
                phone.commands_left = 0
                device.read("/proc/stat")
    phone.commands_left = None
    assert BACKING in phone.files
    phone.reboot()
    before = len(phone.log)
    for _ in opened(phone, probe_file):
        pass
    assert BACKING not in phone.files
    assert not any("zram0" in line and "echo" in line for line in phone.log[before:])


def test_restore_that_does_not_take_is_an_error_and_keeps_the_journal(probe_file: Path) -> None:
    phone = FakePhone()
    for device in opened(phone, probe_file):
        with pytest.raises(RestoreFailed, match="expected equal '7'"), device.changes() as changes:
            undo = Undo("a file", (Write("/data/x", "6"),), (Expect("/data/x", "7"),))
            changes.will_undo(undo)
        assert device.broken_by
    assert journal_path("FAKE01").exists()


def test_marker_of_another_host_refuses_until_reboot(probe_file: Path) -> None:
    phone = FakePhone()
    phone.files[MARKER] = f"elsewhere {phone.files['/proc/sys/kernel/random/boot_id']} run7"
    with pytest.raises(EnvironmentRefused, match="run7 on host elsewhere"):
        change_everything(phone, probe_file)
    phone.reboot()
    change_everything(phone, probe_file)
    assert MARKER not in phone.files


def test_second_run_on_the_same_phone_is_refused_and_names_the_first(probe_file: Path) -> None:
    first = open_device(FakePhone(), run_id="first", probe_builder=lambda arch: probe_file)
    with first, pytest.raises(EnvironmentRefused, match=r"in use by user .* run first"):
        change_everything(FakePhone(), probe_file)


def test_way_back_is_on_disk_before_the_change(probe_file: Path) -> None:
    phone = used_phone()
    for device in opened(phone, probe_file):
        with device.changes() as changes:
            take_over(changes)
            assert "4711" in journal_path("FAKE01").read_text(encoding="utf-8")
            assert phone.state()[1] == used_phone().state()[1]


def test_swapoff_that_does_not_fit_in_memory_is_refused_and_nothing_changed(probe_file: Path) -> None:
    phone = used_phone()
    phone.files["/proc/meminfo"] = "MemTotal: 100 kB\nMemAvailable: 100 kB\n"
    phone.lies["/proc/swaps"] = "Filename\tType\tSize\tUsed\tPriority\n/dev/block/zram0\tpartition\t9000\t9000\t100\n"
    with pytest.raises(EnvironmentRefused, match="needs 8 MiB of memory"):
        for device in opened(phone, probe_file):
            with device.changes() as changes:
                take_over(changes).configure(ZramConfig(1 << 28))


def test_data_full_is_refused_and_nothing_changed(probe_file: Path) -> None:
    phone = used_phone()
    phone.free_bytes = 1 << 20
    with pytest.raises(EnvironmentRefused, match="has 1 MiB free"):
        change_everything(phone, probe_file)
    assert phone.state() == used_phone().state()


def test_zram_with_a_backing_device_of_its_own_is_not_taken_over(probe_file: Path) -> None:
    phone = used_phone()
    phone.files["/sys/block/zram0/backing_dev"] = "/dev/block/loop9"
    with pytest.raises(EnvironmentRefused, match="has a backing device, /dev/block/loop9"):
        change_everything(phone, probe_file)


def test_100_attributes_take_at_most_two_round_trips(probe_file: Path) -> None:
    phone = FakePhone()
    for device in opened(phone, probe_file):
        before = phone.wire.trips
        values = device.read_many([f"/sys/block/zram0/disksize{n or ''}" for n in range(100)])
        assert len(values) == 100
        assert phone.wire.trips - before <= 2
