"""A build of zram's module as a side: loaded for its turns, gone between them, refused before anything is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.errors import EnvironmentRefused, ProfileError
from base.units import MIB
from devices.fake.modules import OWN_BUILD_ID, module_file
from devices.fake.phone import FakePhone
from devices.profiles.sections import ZramSection
from tests.fake_bench import fake_bench, small_profile
from workloads.sides import fitting_room, parse_sides

OTHER, THIRD = "a5" * 20, "b6" * 20


def ko(folder: Path, build_id: str) -> str:
    path = folder / f"{build_id[:4]}.ko"
    path.write_bytes(module_file(build_id))
    return str(path)


def loaded(phone: FakePhone) -> str:
    return phone.modules.xxd(("xxd",)).replace("\n", "")[32:]


def test_each_side_measures_on_its_own_build_and_the_phones_is_back_afterwards(
    memory_path: Path, tmp_path: Path
) -> None:
    phone = FakePhone()
    phone.modules.install()
    sides = parse_sides(f"zram={ko(tmp_path, OTHER)}", f"zram={ko(tmp_path, THIRD)}")
    with fake_bench(memory_path, phone) as fake:
        with fitting_room(fake.bench.stage, sides) as room:
            for side, build_id in [*zip(sides, (OTHER, THIRD), strict=True), (sides[0], OTHER)]:
                stage = room.wear(side)
                assert loaded(phone) == build_id
                stage.as_block_device(16)
                assert int(stage.zram.read("disksize")) == 16 * stage.page_bytes
            assert room.generation == 3
        assert loaded(phone) == OWN_BUILD_ID
        fake.bench.stage.as_block_device(16)


def test_a_build_that_cannot_be_loaded_is_told_before_anything_is_changed(memory_path: Path, tmp_path: Path) -> None:
    built_in = FakePhone()
    sides = parse_sides("default", f"zram={ko(tmp_path, OTHER)}")
    with (
        fake_bench(memory_path, built_in) as fake,
        pytest.raises(EnvironmentRefused, match=r"zram=.*zram is built into its kernel"),
        fitting_room(fake.bench.stage, sides),
    ):
        pass


def test_a_build_of_the_whole_run_is_no_side(memory_path: Path, tmp_path: Path) -> None:
    """Its way back is noted once, so that the other side would be measured on this side's build."""
    phone = FakePhone()
    phone.modules.install()
    of_the_run = small_profile(zram=ZramSection(disksize=16 * MIB, module=ko(tmp_path, THIRD)))
    sides = parse_sides("default", f"zram={ko(tmp_path, OTHER)}")
    with (
        fake_bench(memory_path, phone, of_the_run) as fake,
        pytest.raises(EnvironmentRefused, match=r"zram\.module"),
        fitting_room(fake.bench.stage, sides),
    ):
        pass


def test_what_is_no_build_is_told_with_the_other_errors(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as told:
        parse_sides("zram=fast", f"zram={tmp_path}/none.patch")
    fast, none = str(told.value).splitlines()
    assert "expected stock, FILE.patch or FILE.ko" in fast
    assert "no such file" in none
