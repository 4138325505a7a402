"""What a phone can do is seen at any zram device, and where there is none that is what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from base.deadline import Deadline
from devices.capability import Capability, detect, no_writeback
from devices.device import Device
from devices.fake.phone import FakePhone
from devices.phone import see_a_zram
from devices.zram import hot_add, zram_numbers
from tests.android_fakes import opened

CONTROL = "/sys/class/zram-control"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))


@pytest.fixture
def phone() -> FakePhone:
    """Its zram0 was removed."""
    phone = FakePhone()
    phone.write(f"{CONTROL}/hot_remove", "0")
    return phone


@pytest.fixture
def device(phone: FakePhone, tmp_path: Path) -> Iterator[Device]:
    with opened(phone, tmp_path) as device:
        yield device


def why_not(phone: FakePhone) -> str:
    found = detect(phone, deadline=Deadline.after(5))
    return no_writeback(phone, found, deadline=Deadline.after(5))


def test_a_phone_without_zram0_is_not_said_to_lack_writeback(phone: FakePhone) -> None:
    assert why_not(phone).startswith("there is no zram device now; a profile with `zram: {device: hot_add}` adds one")


def test_any_zram_tells_what_the_driver_can(phone: FakePhone) -> None:
    assert [phone.read(f"{CONTROL}/hot_add") for _ in range(2)] == ["0", "1"]
    phone.write(f"{CONTROL}/hot_remove", "0")
    found = detect(phone, deadline=Deadline.after(5))
    assert {Capability.writeback, Capability.writeback_batch_size, Capability.writeback_limit} <= found
    assert why_not(phone) == ""


def test_a_driver_without_writeback_and_a_kernel_without_zram(phone: FakePhone) -> None:
    phone.files["/sys/block/zram0/disksize"] = "0"
    assert why_not(phone) == "this kernel has no zram writeback"
    del phone.files["/sys/block/zram0/disksize"], phone.files[f"{CONTROL}/hot_add"]
    assert why_not(phone) == "this kernel has no zram"


def test_a_device_is_added_for_a_look_and_removed_again(phone: FakePhone, device: Device) -> None:
    before = phone.state()
    assert Capability.writeback not in device.capabilities
    see_a_zram(device)
    assert Capability.writeback_batch_size in device.capabilities
    assert phone.state() == before


def test_a_run_may_add_the_first_one(phone: FakePhone, device: Device) -> None:
    with device.changes() as changes:
        assert hot_add(changes, zram_numbers(device)).number == 0
    assert zram_numbers(device) == []
