"""A zram device that somebody needs is not reset: refused before anything is made, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from base.errors import EXIT_REFUSED, EnvironmentRefused
from devices.android.selinux import make_permissive
from devices.device import Device
from devices.fake.phone import FakePhone
from devices.in_use import check_takeover
from devices.profiles.reading import load
from devices.zram import take_over
from tests.android_fakes import opened
from workloads.stage import set_stage

ZRAM = "/sys/block/zram0"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))


@pytest.fixture
def phone() -> FakePhone:
    phone = FakePhone()
    phone.files |= {f"{ZRAM}/disksize": "67108864", "/proc/mounts": "/dev/block/dm-5 /data f2fs rw 0 0\n"}
    return phone


@pytest.fixture
def device(phone: FakePhone, tmp_path: Path) -> Iterator[Device]:
    with opened(phone, tmp_path) as device:
        yield device


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({f"{ZRAM}/mm_stat": "1048576 4096 8192 0 8192 0 0 0 0"}, r"is no swap and holds data \(1024 KiB\)"),
        ({"/proc/mounts": "/dev/block/zram0 /mnt/z ext4 rw 0 0\n"}, "holds data, mounted at /mnt/z"),
        ({f"{ZRAM}/holders/dm-9": ""}, "holds data, used by dm-9"),
        ({f"{ZRAM}/backing_dev": "/dev/block/loop49"}, "has a backing device, /dev/block/loop49"),
        ({f"{ZRAM}/hybridswap_loop_device": "/dev/block/loop20"}, "hybridswap_loop_device is '/dev/block/loop20'"),
        ({f"{ZRAM}/mm_stat": "full"}, "mm_stat: "),
    ],
)
def test_what_would_be_lost_is_refused_before_anything_is_made(
    phone: FakePhone, device: Device, files: dict[str, str], says: str
) -> None:
    # What a counter says is the fake driver's to tell, unless it lies.
    phone.lies |= {path: text for path, text in files.items() if path.endswith("/mm_stat")}
    phone.files |= files
    before = phone.state()
    profile = load("generic")
    with pytest.raises(Exception, match=says) as caught, device.changes() as changes:
        set_stage(changes, profile)
    assert getattr(caught.value, "exit_status", 1) == EXIT_REFUSED
    assert phone.state() == before
    assert not any("loop-attach" in line for line in phone.log)


def test_what_is_swap_or_empty_may_be_taken(phone: FakePhone, device: Device) -> None:
    check_takeover(device)
    phone.lies[f"{ZRAM}/mm_stat"] = "1048576 4096 8192 0 8192 0 0 0 0"
    phone.swaps = {"/block/zram0": (65536, -2)}
    with device.changes() as changes:
        take_over(changes)


def test_no_zram_to_take_over_is_told_as_that(phone: FakePhone, device: Device) -> None:
    with pytest.raises(EnvironmentRefused, match="there is no /dev/block/zram1"):
        check_takeover(device, 1)


class Enforcing(FakePhone):
    """SELinux can be switched on it, unless it is ``stubborn``."""

    mode, stubborn = "Enforcing", False

    def _run(self, argv: tuple[str, ...]) -> str:
        if argv[0] == "getenforce":
            return f"{self.mode}\n"
        if argv[0] == "setenforce":
            if not self.stubborn:
                self.mode = "Permissive" if argv[1] == "0" else "Enforcing"
            return ""
        return super()._run(argv)


def test_selinux_enforces_again_after_the_scope(tmp_path: Path) -> None:
    phone = Enforcing()
    with opened(phone, tmp_path) as device:
        with device.changes() as changes:
            make_permissive(changes)
            assert (phone.mode, device.identity.selinux) == ("Permissive", "Permissive")
        assert phone.mode == "Enforcing"


def test_selinux_that_stays_enforcing_is_a_refusal_and_one_that_does_not_enforce_is_left_alone(tmp_path: Path) -> None:
    phone = Enforcing()
    phone.stubborn = True
    with opened(phone, tmp_path) as device:
        with pytest.raises(EnvironmentRefused, match="SELinux stays enforcing"), device.changes() as changes:
            make_permissive(changes)
        phone.mode = "Permissive"
        with device.changes() as changes:
            make_permissive(changes)
            assert not device.journal.entries
