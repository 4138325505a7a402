"""What a measurement is given: records come whole from the phone or not at all, and the probe lives in a scope."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from base.errors import DeviceError
from devices.fake.phone import FakePhone
from devices.profiles.profile import Profile
from devices.zram import Zram
from tests.android_fakes import opened
from tests.bench_sample import bench_on
from workloads.bench import Bench
from workloads.stage import Stage

REMOTE = "/data/local/tmp/records.bin"
PAIR = np.dtype([("first", "<u2"), ("second", "<u2")])


@pytest.fixture
def phone() -> FakePhone:
    return FakePhone()


@pytest.fixture
def bench(phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    with opened(phone, tmp_path) as device:
        stage = Stage(device, Profile(name="x"), Zram(device, 0), None, None)  # type: ignore[arg-type]
        yield bench_on(stage, tmp_path)[0]


def test_records_are_fetched_and_leave_nothing_behind(phone: FakePhone, bench: Bench, tmp_path: Path) -> None:
    phone.files[REMOTE] = "abcdefgh"
    records = bench.fetch(REMOTE, PAIR, 2)
    assert records["second"].tobytes() == b"cdgh"
    assert REMOTE not in phone.files
    assert not (tmp_path / "records.bin").exists()


@pytest.mark.parametrize("text", ["", "abcd", "abcdefg", "abcdefghijkl"])
def test_a_file_that_does_not_hold_the_announced_records_is_an_error(phone: FakePhone, bench: Bench, text: str) -> None:
    phone.files[REMOTE] = text
    with pytest.raises(DeviceError, match=f"{REMOTE} has {len(text)} bytes, 2 records of 4 bytes were announced"):
        bench.fetch(REMOTE, PAIR, 2)


def test_there_is_no_probe_outside_its_scope(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match=r"bench\.probing"):
        _ = bench.probe
