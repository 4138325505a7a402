"""``./lab profile show`` says where each value comes from; ``new`` writes a profile that is valid, from reads alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from base.errors import EnvironmentRefused
from commands.profile import main
from devices.fake.phone import FakePhone
from devices.profiles.found import profile_of
from devices.profiles.profile import Profile
from devices.profiles.reading import known, load
from tests.android_fakes import phone_that_lives


@pytest.mark.parametrize("name", known())
def test_what_is_shown_is_the_profile_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", name]) == 0
    shown = capsys.readouterr().out
    assert Profile.model_validate(yaml.safe_load(shown)).sha256 == load(name).sha256


@pytest.mark.parametrize("plan", ["quick", "nightly"])
def test_with_a_plan_its_changes_are_in_and_their_lines_are_named(
    plan: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "generic", "--plan", plan]) == 0
    shown = capsys.readouterr().out
    planned = load("generic").for_plan(plan)
    assert Profile.model_validate(yaml.safe_load(shown)).sweep == planned.sweep
    sweep = shown[shown.index("\nsweep:") :]
    line = next(line for line in sweep.splitlines() if line.startswith("  data: "))
    file, number = line.rpartition("# ")[2].rsplit(":", 1)
    source = Path(file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
    assert "sweep: {" in source


def test_a_value_says_file_and_line_and_a_default_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nextends: generic\nlimits:\n  battery: 55\n")
    assert main(["show", str(mine)]) == 0
    rows = {line.split(":")[0].strip(): line.partition("# ")[2] for line in capsys.readouterr().out.splitlines()}
    assert rows["battery"].endswith("mine.yaml:4")
    assert "generic.yaml:" in rows["temperature"]


def test_a_new_profile_is_valid_and_the_phone_is_as_it_was(tmp_path: Path) -> None:
    phone = phone_that_lives()
    before = phone.state()
    text = profile_of(phone)
    assert phone.state() == before
    assert not any(" > " in line or line.startswith(("swap", "rm", "mkdir", "setprop")) for line in phone.log)
    path = tmp_path / f"{yaml.safe_load(text)['name']}.yaml"
    path.write_text(text)
    profile = load(path)
    assert profile.connection.adb is not None
    assert profile.connection.adb.serial == phone.serial
    assert "writeback_batch_size" in profile.must_have
    values = [line for line in text.splitlines() if line and not line.startswith("#") and not line.endswith(":")]
    assert [line for line in values if "  # " not in line] == []
    assert "not tried" in text


def test_a_zram_that_is_in_use_for_writeback_is_left_alone() -> None:
    phone = phone_that_lives()
    phone.files["/sys/block/zram0/backing_dev"] = "/dev/block/loop7"
    text = profile_of(phone)
    assert "device: hot_add" in text
    assert "/dev/block/loop7 already" in text


def test_little_room_makes_a_small_file() -> None:
    phone = phone_that_lives()
    phone.free_bytes = 1 << 30
    assert "size: 256MiB" in profile_of(phone)


def test_a_phone_without_writeback_gets_no_profile() -> None:
    phone = FakePhone()
    phone.files = {path: text for path, text in phone.files.items() if "/zram0/" not in path}
    with pytest.raises(EnvironmentRefused, match="no zram writeback"):
        profile_of(phone)
