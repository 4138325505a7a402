"""UFS's WriteBooster: what is known of it, whether a sweep fitted into its buffer, and how it is switched off."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from base.errors import DeviceLost, EnvironmentRefused
from base.kernel import PAGE_4K
from base.units import MIB
from devices.device import open_device
from devices.fake.phone import FakePhone
from devices.fake.storage import Request, write_booster_files
from devices.planned import PlannedTransport
from devices.profiles.sections import PageKind, SlotOrder, WriteBoosterMode
from devices.storage import Disk
from devices.write_booster import HeldBack, fits_buffer, held_back
from records.model import Caveat, RunResult
from tests.bench_sample import bench_on
from tests.fake_bench import PAGES, fake_bench, opened, small_profile
from workloads.stage import set_stage
from workloads.writeback import SweepPlan, measure_sweep

CONTROLLER = "/sys/devices/platform/soc/1d84000.ufshc"
SWITCH = f"{CONTROLLER}/wb_on"
OFF = small_profile(write_booster=WriteBoosterMode.off)
SWEEP = SweepPlan(PAGES * PAGE_4K, PageKind.incompressible, SlotOrder.sparse, (1, 32), 5, 0)


def phone_with_write_booster(*, on: bool = True, left: int = 10) -> FakePhone:
    phone = FakePhone()
    phone.files |= write_booster_files(CONTROLLER, on=on, left=left)
    return phone


def swept(folder: Path, phone: FakePhone) -> RunResult:
    with fake_bench(folder, phone) as fake:
        return measure_sweep(fake.bench, SWEEP)[-1]


def test_a_sweep_that_fits_into_the_buffer_says_so(memory_path: Path) -> None:
    result = swept(memory_path, phone_with_write_booster())
    assert Caveat.write_booster in result.caveats
    before, after = (result.facts["held_back"][when] for when in ("before", "after"))
    assert before == after
    assert (before["wb_on"], before["wb_avail_buf"], before["write_cache"]) == ("1", "0x0000000A", "write back")


def a_buffer_that_runs_full(phone: FakePhone) -> None:
    def told(request: Request) -> None:
        phone.files[f"{CONTROLLER}/attributes/wb_avail_buf"] = "0x00000000"

    phone.disks["sda"].told = told


def more_than_is_free(phone: FakePhone) -> None:
    # A tenth of 8 MiB, of which the sweep writes 5.
    phone.files |= write_booster_files(CONTROLLER, on=True, left=1)


def it_is_off(phone: FakePhone) -> None:
    phone.files |= write_booster_files(CONTROLLER, on=False)


def nothing_is_known(phone: FakePhone) -> None:
    phone.files = {path: text for path, text in phone.files.items() if not path.startswith(CONTROLLER)}


@pytest.mark.parametrize("why", [a_buffer_that_runs_full, more_than_is_free, it_is_off, nothing_is_known])
def test_a_sweep_that_cannot_have_fitted_raises_no_doubt(memory_path: Path, why: Callable[[FakePhone], None]) -> None:
    phone = phone_with_write_booster()
    why(phone)
    with opened(phone, memory_path) as device, device.changes() as changes:
        bench, _ = bench_on(set_stage(changes, small_profile()), memory_path)
        with bench.probing() as probing:
            result = measure_sweep(probing, SWEEP)[-1]
    assert Caveat.write_booster not in result.caveats


@pytest.mark.parametrize(
    ("said", "on", "left", "buffer"),
    [
        ({"wb_on": "1", "wb_avail_buf": "0x0000000A"}, True, 1.0, None),
        ({"wb_enable": "true", "wb_avail_buf": "0x00000003"}, True, 0.3, None),
        ({"wb_on": "0", "wb_enable": "true"}, False, None, None),
        ({"wb_on": "yes", "wb_avail_buf": "0x000000FF", "wb_cur_buf": "many"}, None, None, None),
        (
            {"wb_shared_alloc_units": "0x00000400", "segment_size": "0x00002000", "allocation_unit_size": "0x01"},
            None, None, 1024 * 4 * MIB,
        ),
        ({}, None, None, None),
    ],
)  # fmt: skip
def test_what_kernels_say_is_read_and_the_rest_is_unknown(
    said: dict[str, str], on: bool | None, left: float | None, buffer: int | None
) -> None:
    known = HeldBack(said)
    assert (known.on, known.left, known.buffer_bytes) == (on, left, buffer)


def test_where_the_size_of_the_buffer_is_unknown_only_a_full_one_is_no_doubt() -> None:
    some, full = (HeldBack({"wb_on": "1", "wb_avail_buf": text}) for text in ("0x00000001", "0x00000000"))
    assert fits_buffer(some, some, 1 << 40)
    assert not fits_buffer(some, full, 1)
    assert not fits_buffer(HeldBack({}), HeldBack({}), 1)


def test_a_disk_of_another_kind_has_no_write_booster(memory_path: Path) -> None:
    phone = phone_with_write_booster()
    phone.links["/sys/class/block/mmcblk0"] = "/sys/devices/platform/soc/mmc/block/mmcblk0"
    with opened(phone, memory_path) as device:
        assert held_back(device, Disk("mmcblk0", "179:0", 0, True)).facts() == {}
        assert held_back(device, None).facts() == {}


def test_it_is_switched_off_for_the_run_and_on_again(memory_path: Path) -> None:
    phone = phone_with_write_booster()
    with fake_bench(memory_path, phone, OFF):
        assert phone.files[SWITCH] == "0"
    assert phone.files[SWITCH] == "1"
    undo = next(n for n, line in enumerate(phone.log) if line.endswith(f"> {SWITCH}"))
    assert "echo 0" in phone.log[undo]


def test_one_that_is_off_stays_as_it_is(memory_path: Path) -> None:
    phone = phone_with_write_booster(on=False)
    with fake_bench(memory_path, phone, OFF):
        pass
    assert not any(SWITCH in line and "echo" in line for line in phone.log)


@pytest.mark.parametrize(
    ("phone", "says"),
    [
        (FakePhone(), "nothing here says whether WriteBooster is on"),
        (phone_with_write_booster(), "WriteBooster stays on: .*Operation not supported"),
    ],
    ids=["unknown", "switched_by_the_clocks"],
)
def test_a_phone_that_does_not_let_it_be_switched_is_refused(memory_path: Path, phone: FakePhone, says: str) -> None:
    phone.refuses[SWITCH] = "Operation not supported on transport endpoint"
    before = phone.state()
    with pytest.raises(EnvironmentRefused, match=says), fake_bench(memory_path, phone, OFF):
        pass
    assert phone.state() == before


def test_a_switch_that_cannot_be_read_is_left_alone(memory_path: Path) -> None:
    """Whether it is on is known from the flag alone, and no way back could be seen to have worked."""
    phone = phone_with_write_booster()
    del phone.files[SWITCH]
    phone.files[f"{CONTROLLER}/flags/wb_enable"] = "true"
    before = phone.state()
    with pytest.raises(EnvironmentRefused, match="nothing here says"), fake_bench(memory_path, phone, OFF):
        pass
    assert phone.state() == before


@pytest.mark.parametrize("lose_answer", [False, True], ids=["cut", "answer_lost"])
def test_a_cable_pulled_while_it_is_switched_is_healed(memory_path: Path, lose_answer: bool) -> None:
    whole = phone_with_write_booster()
    with fake_bench(memory_path, whole, OFF):
        pass
    at = next(n for n, line in enumerate(whole.log) if line.endswith(f"> {SWITCH}"))
    for commands_left in range(at - 3, at + 3):
        phone = phone_with_write_booster()
        phone.commands_left, phone.lose_answer = commands_left, lose_answer
        with suppress(DeviceLost), opened(phone, memory_path) as device, device.changes() as changes:
            set_stage(changes, OFF)
        phone.commands_left, phone.lose_answer = None, False
        with opened(phone, memory_path):
            pass
        assert phone.state() == phone_with_write_booster().state(), f"cut before command {commands_left}"


def test_a_dry_run_tells_that_it_would_be_switched(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = phone_with_write_booster()
    program = memory_path / "probe"
    program.write_bytes(b"not really a program")
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))
    planned = PlannedTransport(phone)
    with open_device(planned, probe_builder=lambda arch: program) as device, device.changes() as changes:
        set_stage(changes, OFF)
    assert phone.files[SWITCH] == "1"
    assert not any(line.endswith(f"> {SWITCH}") for line in phone.log)
    assert [undo.what for undo in planned.undos if "WriteBooster" in undo.what] == ["WriteBooster on"]
