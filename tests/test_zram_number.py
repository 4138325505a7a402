"""A phone that swaps to another zram device than zram0: the profile says which, and all that follows goes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from base.deadline import Deadline
from base.errors import EnvironmentRefused
from devices.capability import Capability
from devices.device import Device, open_device
from devices.fake.phone import FakePhone
from devices.profiles.profile import Profile
from devices.profiles.reading import load
from devices.transport import Exec, Op, Read, Write
from workloads.stage import set_stage


@pytest.fixture(autouse=True)
def state(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))


@pytest.fixture
def phone() -> FakePhone:
    """It has zram1, in use as swap, and no zram0."""
    phone = FakePhone()
    phone.files.setdefault("/proc/mounts", "tmpfs /data tmpfs rw 0 0\n")
    node, control = "/dev/block/zram1", "/sys/class/zram-control"
    ops: list[Op] = [
        Read(f"{control}/hot_add"), Write(f"{control}/hot_remove", "0"),
        Write("/sys/block/zram1/disksize", str(1 << 30)), Exec(("mkswap", node)), Exec(("swapon", node)),
    ]  # fmt: skip
    assert all(result.ok for result in phone.execute(ops, deadline=Deadline.after(5)))
    return phone


def profile_of(folder: Path, zram: str) -> Profile:
    path = folder / "phone.yaml"
    path.write_text(f"name: one\nconnection: {{adb: {{}}}}\nzram: {zram}\n")
    return load(str(path))


@contextmanager
def opened(phone: FakePhone, folder: Path, profile: Profile) -> Iterator[Device]:
    probe = folder / "probe"
    probe.write_bytes(b"not really a program")
    with open_device(
        phone, probe_builder=lambda arch: probe, zram_number=lambda identity: profile.zram.number
    ) as device:
        yield device


def measure_nothing(device: Device, profile: Profile) -> None:
    with device.changes() as changes:
        set_stage(changes, profile)


def test_the_device_of_that_number_is_measured_on_and_put_back(phone: FakePhone, tmp_path: Path) -> None:
    before, profile = phone.state(), profile_of(tmp_path, "{number: 1}")
    with opened(phone, tmp_path, profile) as device, device.changes() as changes:
        assert {Capability.writeback, Capability.writeback_batch_size} < device.capabilities
        stage = set_stage(changes, profile)
        assert (stage.zram.number, stage.batch_sizes([1, 8])) == (1, (1, 8))
        stage.as_swap(1000)
        assert phone.files["/sys/block/zram1/backing_dev"] == stage.backing.node
        assert list(phone.swaps) == ["/dev/block/zram1"]
        assert not any(path.startswith("/sys/block/zram0/") for path in phone.files)
    assert phone.state() == before


def test_a_new_device_is_added_beside_the_one_that_shows_what_the_kernel_can_do(
    phone: FakePhone, tmp_path: Path
) -> None:
    before, profile = phone.state(), profile_of(tmp_path, "{device: hot_add, number: 1}")
    with opened(phone, tmp_path, profile) as device, device.changes() as changes:
        assert Capability.writeback in device.capabilities
        assert set_stage(changes, profile).zram.number == 0
    assert phone.state() == before


def test_a_number_that_the_phone_does_not_have_is_refused_before_anything_is_changed(
    phone: FakePhone, tmp_path: Path
) -> None:
    before, profile = phone.state(), profile_of(tmp_path, "{number: 0}")
    with (
        opened(phone, tmp_path, profile) as device,
        pytest.raises(EnvironmentRefused, match="there is no /dev/block/zram0") as refused,
        device.changes() as changes,
    ):
        set_stage(changes, profile)
    assert "zram.number" in refused.value.hint
    assert phone.state() == before
