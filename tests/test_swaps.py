"""Swap devices as the kernel lists them, and whose turn comes first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from base.errors import EnvironmentRefused, UnreadableAnswer
from devices.device import Device
from devices.fake.phone import FakePhone
from devices.swaps import FIRST_SWAP, make_way, parse_swaps, swap_priority
from devices.zram import Zram, ZramConfig, hot_add, take_over
from tests.android_fakes import opened

HEADER = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


@pytest.fixture(autouse=True)
def state(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))


@pytest.fixture
def phone() -> FakePhone:
    """Its zram0 is swap, under the name that vendors' kernels show for it."""
    phone = FakePhone()
    phone.files["/sys/block/zram0/disksize"] = "4294967296"
    phone.swaps = {"/block/zram0": (4096, 32758)}
    return phone


@pytest.fixture
def device(phone: FakePhone, tmp_path: Path) -> Iterator[Device]:
    with opened(phone, tmp_path) as device:
        yield device


@pytest.mark.parametrize(
    ("listed", "node"),
    [
        ("/dev/block/zram0", "/dev/block/zram0"),
        ("/block/zram0", "/dev/block/zram0"),
        ("/zram0", "/dev/block/zram0"),
        ("/dev/block/zram0\\040(deleted)", "/dev/block/zram0"),
        ("/dev/zram0", "/dev/zram0"),
    ],
)
def test_a_device_is_the_same_under_every_name(listed: str, node: str) -> None:
    table = f"{HEADER}{listed:40}partition\t2150396\t\t8864\t\t-2\n"
    (swap,) = parse_swaps(table)
    assert (swap.node, swap.used_kib, swap.priority) == (node, 8864, -2)
    assert swap_priority(table, "/dev/block/zram0") == -2
    assert swap_priority(table, "/dev/block/zram1") is None


def test_a_file_that_is_called_like_a_device_is_none() -> None:
    table = f"{HEADER}/data/my\\040swap/zram0 file\t\t1\t1\t5\n"
    assert swap_priority(table, "/dev/block/zram0") is None
    assert parse_swaps(table)[0].node == "/data/my swap/zram0"


@pytest.mark.parametrize("row", ["/dev/block/zram0 partition", "/data/my swap file 1 2 3", "x y z 1 2"])
def test_a_row_that_is_none_is_an_error_that_shows_it(row: str) -> None:
    with pytest.raises(UnreadableAnswer, match="/proc/swaps: "):
        parse_swaps(HEADER + row)


def test_a_swap_that_is_listed_without_dev_is_taken_over_and_put_back(phone: FakePhone, device: Device) -> None:
    with device.changes() as changes:
        zram = take_over(changes)
        zram.configure(ZramConfig(disksize_bytes=1 << 20), swap_priority=FIRST_SWAP)
        assert list(phone.swaps.values()) == [(1024, FIRST_SWAP)]
    assert phone.swaps == {"/dev/block/zram0": (1024, 32758)}


def test_ours_is_used_before_a_vendors_swap(phone: FakePhone, device: Device) -> None:
    with device.changes() as changes:
        zram = hot_add(changes, [0])
        make_way(changes, zram.node)
        zram.configure(ZramConfig(disksize_bytes=1 << 20), swap_priority=FIRST_SWAP)
        assert phone.swaps["/dev/block/zram1"][1] > phone.swaps["/block/zram0"][1]
        assert phone.swaps["/block/zram0"][1] == 32758
    assert phone.swaps == {"/block/zram0": (4096, 32758)}


def test_a_swap_of_the_highest_priority_is_lowered_for_the_run(phone: FakePhone, device: Device) -> None:
    phone.swaps = {"/block/zram0": (1024, 32767)}
    with device.changes() as changes:
        make_way(changes, Zram(device, 1).node)
        assert phone.swaps == {"/dev/block/zram0": (1024, 32766)}
    assert phone.swaps == {"/dev/block/zram0": (1024, 32767)}


def test_one_that_is_too_full_to_be_lowered_is_refused_with_its_name_and_priority(
    phone: FakePhone, device: Device
) -> None:
    phone.swaps = {"/block/zram0": (4 << 20, 32767)}
    phone.files["/proc/meminfo"] = "MemTotal: 8000000 kB\nMemAvailable: 1000000 kB\n"
    phone.swap_used_kib = 1 << 20
    with (
        device.changes() as changes,
        pytest.raises(EnvironmentRefused, match=r"/dev/block/zram0 has priority 32767.*1024 MiB do not fit in memory"),
    ):
        make_way(changes, Zram(device, 1).node)
    assert phone.swaps == {"/block/zram0": (4 << 20, 32767)}
