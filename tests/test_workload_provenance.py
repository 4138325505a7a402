"""What travels with every number, on a fake phone whose facts are known."""

from __future__ import annotations

from pathlib import Path

from devices.clocks import ClockWatch
from devices.fake.modules import OWN_BUILD_ID
from devices.fake.phone import QUEUE_DEPTH, FakePhone
from devices.health import Guard
from devices.phone import Phone
from devices.transcript import Transcript
from records.model import Provenance
from tests.fake_bench import BACKING, fake_bench
from workloads.provenance import provenance


def provenance_of(phone: FakePhone, folder: Path) -> Provenance:
    with fake_bench(folder, phone) as fake:
        profile = fake.bench.stage.profile
        guard = Guard(fake.device, profile.limits, lambda text: None)
        guard.before_run()
        clock = ClockWatch(fake.device, virtual=False, say=lambda text: None)
        return provenance(Phone(fake.device, profile, Transcript(None), guard, clock), fake.bench.stage)


def test_the_phone_its_kernel_and_its_storage_are_named(memory_path: Path) -> None:
    seen = provenance_of(FakePhone(), memory_path)
    assert (seen.serial, seen.model, seen.kernel_release, seen.arch) == ("FAKE01", "FakePhone", "7.3.4-fake", "aarch64")
    assert (seen.page_size_bytes, seen.ram_bytes, seen.cpus, seen.virtual) == (4096, 8_000_000 * 1024, 2, False)
    assert seen.ufs["queue_depth"] == str(QUEUE_DEPTH)
    assert seen.backing["file"] == BACKING
    assert (seen.backing["file_system"], seen.backing["direct_io"]) == ("f2fs", True)
    assert seen.backing["queue"]["nr_requests"] == "128"
    assert seen.zram["algorithms"] == ["lzo-rle", "lzo", "lz4", "zstd"]
    assert seen.tool_versions["probe"]


def test_attributes_and_capabilities_are_those_that_this_kernel_has(memory_path: Path) -> None:
    phone = FakePhone()
    for name in ("writeback_batch_size", "compressed_writeback"):
        del phone.files[f"/sys/block/zram0/{name}"]
    old, new = provenance_of(phone, memory_path), provenance_of(FakePhone(), memory_path)
    assert set(new.zram_attributes) - set(old.zram_attributes) == {"writeback_batch_size", "compressed_writeback"}
    assert {"writeback", "idle", "bd_stat"} <= set(old.zram_attributes)
    assert set(new.capabilities) - set(old.capabilities) == {
        "writeback_batch_size", "compressed_writeback", "page_indexes"
    }  # fmt: skip
    assert {"writeback", "loop", "f2fs", "tracefs"} <= set(old.capabilities)


def test_which_build_of_zram_it_is_and_that_it_was_built_in(memory_path: Path) -> None:
    loaded = FakePhone()
    loaded.modules.install()
    loaded.files["/sys/module/zram/version"] = "patch-0123456789ab"
    seen = provenance_of(loaded, memory_path).zram["module"]
    assert seen == {"kind": "module", "build id": OWN_BUILD_ID, "version": "patch-0123456789ab"}
    assert provenance_of(FakePhone(), memory_path).zram["module"] == {"kind": "built in", "build id": None}
