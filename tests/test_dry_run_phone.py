"""A dry run on a virtual phone that is up: the whole command, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.virtual.phone import RunningPhone
from tests.conftest import lab
from tests.test_interrupted_run import PROFILE, journals, state_of

pytestmark = pytest.mark.phone


def test_a_phone_is_as_it_was_and_the_plan_is_told(phone: RunningPhone, tmp_path: Path, own_state: Path) -> None:
    profile, results = tmp_path / "dry.yaml", tmp_path / "results"
    profile.write_text(PROFILE % phone.serial)
    before = state_of(phone)
    done = lab(
        "run", "--dry-run", "--plan", "standard", "--device", str(profile), "--results", str(results), timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert state_of(phone) == before
    for said in (
        "/dev/block/zram0 as it was",
        "probe loop-attach",
        "limits.written_per_run",
        "test_writeback_throughput",
    ):
        assert said in done.stdout, done.stdout
    assert not results.exists()
    assert journals(own_state) == []
