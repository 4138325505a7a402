"""A backing file without a loop device: what it proves to be, what refuses it, and that nothing of it stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from base.errors import EnvironmentRefused, LabError, RestoreFailed
from base.kernel import PAGE_4K
from base.units import MIB
from devices.adb import AdbTransport
from devices.device import Device, open_device
from devices.fake.phone import FakePhone
from devices.mapped import MappingRefused, mapped_backing
from devices.probe.session import ProbeFailed
from devices.profiles.profile import Profile, Trigger
from devices.profiles.sections import Backing
from devices.transport import Exec
from tests.fake_bench import fake_bench, opened, small_profile
from workloads.app_model import SwitchCondition
from workloads.apps import Shared, run_apps
from workloads.faults import faulting
from workloads.inflight import MeasuredDepth, inflight_results, measure_inflight
from workloads.read_parts import splitting_reads
from workloads.turns import NotAvailable

PATH = "/data/per_boot/mapped"
SIZE = 8 * MIB


def mapped_profile() -> Profile:
    return small_profile(backing=Backing(kind="mapped", path=PATH, size=SIZE))


@contextmanager
def attached(phone: FakePhone, folder: Path, path: str = PATH) -> Iterator[Device]:
    with opened(phone, folder) as device, device.changes() as changes:
        device.probe.install(device.identity.arch)
        backing = mapped_backing(changes, path, SIZE)
        assert (backing.kind, backing.node, backing.file, backing.pinned) == ("mapped", "/dev/block/dm-1", path, True)
        yield device


def test_it_is_there_for_the_scope_only(memory_path: Path) -> None:
    phone = FakePhone()
    before = phone.state()
    with attached(phone, memory_path):
        assert phone.mapped == {PATH: "dm-1"}
    assert phone.state() == before


@pytest.mark.parametrize("lose_answer", [False, True], ids=["cut", "answer_lost"])
def test_cable_pulled_at_any_command_is_healed(memory_path: Path, lose_answer: bool) -> None:
    whole = FakePhone()
    with attached(whole, memory_path):
        pass
    for commands_left in range(len(whole.log)):
        phone = FakePhone()
        before = phone.state()
        phone.commands_left, phone.lose_answer = commands_left, lose_answer
        with suppress(LabError), attached(phone, memory_path):
            pass
        phone.commands_left, phone.lose_answer = None, False
        with opened(phone, memory_path):
            pass
        assert phone.state() == before, f"cut before command {commands_left}"


def test_after_a_reboot_the_file_alone_is_left_to_be_removed(memory_path: Path) -> None:
    phone = FakePhone()
    with suppress(LabError), attached(phone, memory_path):
        phone.commands_left = 0
    phone.commands_left = None
    phone.reboot()
    assert (phone.mapped, PATH in phone.files) == ({}, True)
    with opened(phone, memory_path):
        pass
    assert PATH not in phone.files


def test_as_long_as_zram_holds_it_the_file_stays_and_the_phone_is_marked(memory_path: Path) -> None:
    """The blocks of a file that is gone would belong to other files while zram still writes to them."""
    phone = FakePhone()
    with pytest.raises(RestoreFailed), attached(phone, memory_path):
        phone.files["/sys/block/zram0/backing_dev"] = "/dev/block/dm-1"
    assert PATH in phone.files
    assert phone.mapped == {PATH: "dm-1"}
    phone.files["/sys/block/zram0/backing_dev"] = "none"
    with opened(phone, memory_path):
        pass
    assert (PATH in phone.files, phone.mapped) == (False, {})


def test_where_the_disk_is_mounted_directly_it_is_refused_with_the_reason(memory_path: Path) -> None:
    phone = FakePhone()
    mapping = attached(phone, memory_path, "/mnt/scratch/mapped")
    with pytest.raises(MappingRefused, match="mounted from 8:16 directly") as caught, mapping:
        pass
    assert "kind: loop" in caught.value.hint


def test_a_path_that_is_taken_is_refused_before_anything_is_done(memory_path: Path) -> None:
    phone = FakePhone()
    phone.files[PATH] = "somebody's"
    with pytest.raises(EnvironmentRefused, match="is there already"), attached(phone, memory_path):
        pass
    assert not [line for line in phone.log if "mapped" in line and "probe" in line]


def test_no_app_is_ever_written_to_it(memory_path: Path) -> None:
    with fake_bench(memory_path, profile=mapped_profile()) as fake:
        with pytest.raises(NotAvailable, match="past the phone's encryption"):
            run_apps(fake.bench, SwitchCondition(Trigger.idle, 8), Shared())
        assert fake.zram.writes_4k == 0
        assert not fake.told("apps-make")


def test_depth_is_seen_at_the_mapped_device_and_at_the_disk(memory_path: Path) -> None:
    with fake_bench(memory_path, profile=mapped_profile()) as fake:
        found = MeasuredDepth()
        measure_inflight(fake.bench, found)
        results = inflight_results(fake.bench, found)
    devices = {result.params["layer"]: result.facts["device"] for result in results}
    assert devices == {"loop": "dm-1", "disk": "sda"}
    for result in results:
        assert all(check["expected"] == check["seen"] > 0 for check in result.checks.values())
        assert result.metrics["writeback.inflight_mean"].values[0] > 0.5


def test_a_read_is_its_time_at_the_disk_and_nothing_else(memory_path: Path) -> None:
    with (
        fake_bench(memory_path, profile=mapped_profile()) as fake,
        faulting(fake.bench, 50) as block,
        splitting_reads(fake.bench, events=10_000) as splitter,
    ):
        assert splitter is not None
        with splitter.recording():
            block(1)
        disk, rest, unmatched = splitter.split()
    assert (disk.size, unmatched) == (50, 0)
    assert rest.max() <= 1000


@pytest.mark.phone
def test_on_a_phone_it_is_the_file_and_stays_until_zram_lets_go(transport: AdbTransport, memory_path: Path) -> None:
    path, scratch = "/data/local/tmp/mapped", "/mnt/scratch/mapped"
    with open_device(transport) as device, device.changes() as changes:
        device.probe.install(device.identity.arch)

        def sh(script: str) -> str:
            return device.run("sh", "-c", script)

        backing = mapped_backing(changes, path, SIZE)
        assert (backing.file_system, backing.pinned, backing.block_size_bytes) == ("f2fs", True, PAGE_4K)
        name = backing.name
        assert sh(f"cat /sys/block/{name}/size; ls /sys/block/{name}/slaves").split() == [str(SIZE // 512), "sda"]
        # What is written there is the file's.
        sh(f"head -c {SIZE} /dev/urandom > {backing.node}; sync; echo 3 > /proc/sys/vm/drop_caches")
        sh(f"cmp {path} {backing.node}")
        with pytest.raises(ProbeFailed) as again:
            device.probe.mapped_attach(path, size=SIZE)
        assert again.value.errno == "EBUSY"
        zram = sh("cat /sys/class/zram-control/hot_add").strip()
        sh(f"echo {backing.node} > /sys/block/zram{zram}/backing_dev; echo 8M > /sys/block/zram{zram}/disksize")
        with pytest.raises(ProbeFailed) as held:
            device.probe.mapped_detach(path, remove=True)
        assert held.value.errno == "EBUSY"
        assert sh(f"ls {path}").strip() == path
        sh(f"echo 1 > /sys/block/zram{zram}/reset; echo {zram} > /sys/class/zram-control/hot_remove")
        with pytest.raises(MappingRefused, match="directly"):
            mapped_backing(changes, scratch, SIZE)
        with pytest.raises(MappingRefused, match="may move blocks"):
            mapped_backing(changes, "/mnt/mapped", SIZE)
    left = Exec(("sh", "-c", f"ls {path} {scratch} /mnt/mapped /sys/block/{name} 2>/dev/null"), accept=(0, 1))
    with open_device(transport) as device:
        assert device.execute(left)[0].stdout == ""
