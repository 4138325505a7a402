"""A fake phone with Android on it, opened, and the samples of what Android prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devices.device import Device, open_device
from devices.fake.phone import FakePhone
from devices.transport import Transport

_DATA = Path(__file__).parent / "data/android"


def sample(name: str) -> str:
    return (_DATA / f"{name}.txt").read_text(encoding="utf-8")


def phone_that_lives() -> FakePhone:
    """Charged, cool, in use by its owner."""
    phone = FakePhone()
    phone.android.thermal = sample("thermalservice")
    phone.android.settings = {("system", "accelerometer_rotation"): "1"}
    for line in sample("sysfs").splitlines():
        path, _, value = line.partition(":")
        phone.files[path] = value
    return phone


@contextmanager
def opened(phone: Transport, folder: Path) -> Iterator[Device]:
    """As a run opens it: what an earlier one left is put back first. ``folder`` is for what stands for the probe."""
    probe = folder / "probe"
    probe.write_bytes(b"not really a program")
    with open_device(phone, probe_builder=lambda arch: probe) as device:
        yield device


def heal(phone: FakePhone, folder: Path) -> None:
    """The cable is back and somebody runs ``./lab restore``."""
    phone.commands_left, phone.lose_answer = None, False
    with opened(phone, folder):
        pass
