"""On the virtual phone: zram's module is exchanged in one boot, for its own file and for builds with the patches."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from base.deadline import Deadline
from base.paths import REPO
from devices.adb import AdbTransport
from devices.device import Device, open_device
from devices.module_swap import BUILD_ID, module_build_id, swap_zram_module
from devices.transport import Exec
from devices.virtual.machines import DEFAULT
from devices.virtual.module_build import Patch, build_zram
from devices.virtual.phone import RunningPhone

PATCHES = REPO / "docs/patches"


@pytest.fixture
def device(transport: AdbTransport) -> Iterator[Device]:
    with open_device(transport) as device:
        yield device


def loaded(device: Device) -> str:
    return module_build_id(device.execute(Exec(BUILD_ID))[0])


def settings_of(device: Device) -> Sequence[str | None]:
    names = ("disksize", "comp_algorithm", "writeback_limit", "writeback_batch_size", "backing_dev")
    swaps = re.sub(r"\s+\d+\s+\d+\s+", " ", device.read("/proc/swaps"))
    return [swaps, *device.read_many([f"/sys/block/zram0/{name}" for name in names]).values()]


@contextmanager
def put_back(device: Device) -> Iterator[None]:
    before = (loaded(device), settings_of(device))
    yield
    assert (loaded(device), settings_of(device)) == before


@pytest.mark.phone
def test_the_phones_own_module_is_unloaded_and_loaded_with_its_swap_put_aside(device: Device, tmp_path: Path) -> None:
    (own,) = device.run("find", "/vendor/lib/modules", "-name", "zram.ko").split()
    ko = tmp_path / "zram.ko"
    device.transport.pull(own, ko, deadline=Deadline.after(60))
    with put_back(device):
        device.write("/dev/kmsg", "module swap begins\n")
        settings = settings_of(device)
        with device.changes() as changes:
            module = swap_zram_module(changes, ko)
            assert (loaded(device), settings_of(device)) == (module.build_id, settings)
        log = device.run("dmesg").split("module swap begins")[-1]
        assert log.count("zram: Added device: zram0") == 2, "it was loaded for the scope, and again at its end"


@pytest.mark.builds
@pytest.mark.phone
def test_stock_and_each_patch_build_and_are_loaded_in_one_boot(phone: RunningPhone, device: Device) -> None:
    patches = [None, *(Patch.read(path) for path in sorted(PATCHES.glob("*.patch")))]
    assert len(patches) >= 5
    ids = {loaded(device)}
    with put_back(device), device.changes() as changes:
        for patch in patches:
            began = time.monotonic()
            built = build_zram(DEFAULT, patch, progress=print)
            built_s, began = time.monotonic() - began, time.monotonic()
            module = swap_zram_module(changes, built.module.path)
            print(
                f"{module.version}: {built.build_s} s to build ({built_s:.1f} s), "
                f"{time.monotonic() - began:.1f} s to load"
            )
            assert device.read("/sys/module/zram/version").strip() == (patch.version if patch else "stock")
            ids.add(module.build_id)
    assert len(ids) == len(patches) + 1, "each has a build id of its own"
