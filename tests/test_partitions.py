"""A raw partition is overwritten, so one that anybody needs is refused: by name in a profile, by use on the phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from base.errors import EnvironmentRefused, ProfileError
from devices.backing import partition_backing
from devices.fake.phone import FakePhone
from devices.profiles.kept_partitions import kept_name
from devices.profiles.reading import load
from tests.android_fakes import opened

SPARE = "/dev/block/by-name/zram_backing"


def attach(phone: FakePhone, node: str = SPARE) -> str:
    with TemporaryDirectory() as folder, opened(phone, Path(folder)) as device, device.changes() as changes:
        return partition_backing(changes, node).node


def test_a_spare_partition_is_taken() -> None:
    assert attach(FakePhone()) == "/dev/block/sdc"


def mounted_under_another_name(phone: FakePhone) -> None:
    phone.files["/proc/self/mountinfo"] = "29 1 8:32 / /vendor/spare rw - ext4 /dev/root rw\n"


def with_partitions(phone: FakePhone) -> None:
    phone.files["/sys/class/block/sdc/sdc1/partition"] = "1"


def held_by_device_mapper(phone: FakePhone) -> None:
    phone.files["/sys/class/block/sdc/holders/dm-9"] = ""


def known_as_userdata(phone: FakePhone) -> None:
    phone.links["/dev/block/by-name/userdata"] = "/dev/block/sdc"


@pytest.mark.parametrize(
    ("used", "words"),
    [
        (mounted_under_another_name, "sdc is in use"),
        (held_by_device_mapper, "sdc is in use"),
        (with_partitions, "sdc is a whole disk with partitions on it"),
        (known_as_userdata, "sdc is the partition userdata, which is never overwritten"),
    ],
)
@pytest.mark.parametrize("node", [SPARE, "/dev/block/sdc"])
def test_one_that_is_needed_is_refused_under_every_name(
    used: Callable[[FakePhone], None], words: str, node: str
) -> None:
    phone = FakePhone()
    used(phone)
    with pytest.raises(EnvironmentRefused, match=words):
        attach(phone, node)


@pytest.mark.parametrize(
    "name", ["userdata", "super", "boot_a", "vendor_boot_b", "persist", "modemst1", "EFS", "nvram", "xbl_config_a"]
)
def test_a_profile_cannot_name_what_a_phone_is_lost_without(name: str, tmp_path: Path) -> None:
    partition = f"/dev/block/by-name/{name}"
    assert kept_name(partition) == name
    assert kept_name(f"/dev/block/platform/soc/1d84000.ufshc/by-name/{name}") == name
    for text in (
        f"variants: {{partition: {partition}, erase: true}}",
        f"backing: {{kind: partition, path: {partition}, erase: true}}",
    ):
        profile = tmp_path / "mine.yaml"
        profile.write_text(f"name: mine\nextends: generic\n{text}\n", encoding="utf-8")
        with pytest.raises(ProfileError, match=f"{name} is never overwritten"):
            load(profile)


@pytest.mark.parametrize("name", ["spare", "zram_backing", "cache", "userdata2", "myboot"])
def test_a_name_that_is_nobodys_is_none_of_those(name: str) -> None:
    assert kept_name(f"/dev/block/by-name/{name}") is None
