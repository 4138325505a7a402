"""The machines beside the default one: CI measures on one with pages of 16 KiB, the others are booted on demand."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.deadline import Deadline
from base.units import KIB, MIB
from devices.adb import AdbTransport, RootStyle
from devices.clocks import TOLERANCE, ClockReading, clock_rate
from devices.transport import Exec
from devices.virtual.machines import MACHINES, Machine
from devices.virtual.phone import RunningPhone, VirtualPhoneConfig, start
from records.reading import StoredRun, load
from tests.conftest import Shelf, lab

pytestmark = pytest.mark.phone

_SPAN_S = 10.0


@pytest.fixture(scope="module")
def large_pages(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    """A run of what depends on the page size most."""
    shelf.clear()
    results = tmp_path_factory.mktemp("16k")
    chosen = "integrity or writeback_limit or fault_latency"
    done = lab("run", "--page-size", "16k", "--arch", "arm64", "--results", str(results), "-k", chosen, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return load(next(results.iterdir()))


def test_with_pages_of_16_kib_everything_passes(large_pages: StoredRun) -> None:
    assert {outcome.outcome for outcome in large_pages.outcomes} == {"passed"}
    assert {"test_data_integrity[swap]", "test_fault_latency"} <= {outcome.test for outcome in large_pages.outcomes}


def test_with_pages_of_16_kib_the_session_says_so_and_which_file_system_it_was(large_pages: StoredRun) -> None:
    facts = large_pages.session.provenance
    assert (facts.page_size_bytes, facts.arch) == (16 * KIB, "aarch64")
    assert facts.backing["file_system"] in ("ext4", "f2fs")


def test_a_clean_run_says_how_fast_the_phones_clock_ran(large_pages: StoredRun) -> None:
    assert large_pages.end is not None
    clock = large_pages.end.facts["phone_clock"]
    assert clock["low"] <= 1 + TOLERANCE
    assert clock["high"] >= 1 - TOLERANCE
    assert clock["span_s"] > _SPAN_S


@pytest.fixture(scope="module", params=MACHINES, ids=lambda machine: machine.name)
def machine(request: pytest.FixtureRequest) -> Machine:
    found: Machine = request.param
    return found


@pytest.fixture(scope="module")
def booted(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPhone]:
    config = VirtualPhoneConfig(
        name="machine",
        kernel=machine.kernel,
        arch=machine.processor.name,
        page_size=machine.page_size,
        memory_bytes=1024 * MIB,
        ufs_bytes=1024 * MIB,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZRAM_LAB_STATE", str(tmp_path_factory.mktemp("state")))
        phone = start(config, fresh=True, progress=lambda text: print(text, file=sys.stderr))
        yield phone
        phone.stop()


def output(phone: RunningPhone, script: str) -> str:
    transport = AdbTransport(phone.serial, root=RootStyle.su_c)
    return transport.execute([Exec(("sh", "-c", script))], deadline=Deadline.after(60))[0].check().text


@pytest.mark.machines
def test_a_machine_is_what_its_row_says(machine: Machine, booted: RunningPhone) -> None:
    said = output(booted, "getconf PAGE_SIZE; uname -m; uname -r; getprop ro.product.cpu.abi").split()
    assert said == [str(machine.page_size), machine.processor.uname, booted.kernel_release, machine.processor.abi]
    assert booted.kernel_release.startswith(f"{machine.kernel}.")


@pytest.mark.machines
def test_a_machine_has_storage_swap_and_apps(booted: RunningPhone) -> None:
    assert "/dev/block/zram0" in output(booted, "cat /proc/swaps")
    assert output(booted, "echo kept >/data/local/tmp/x; sync; cat /data/local/tmp/x; rm /data/local/tmp/x") == "kept"
    assert "LaunchState: COLD" in output(booted, "am start -W -n com.zramlab.chat/.MainActivity")


@pytest.mark.machines
def test_a_machines_clock_is_within_half_a_percent(booted: RunningPhone) -> None:
    def reading() -> ClockReading:
        before = time.monotonic()
        seconds = float(output(booted, "cat /proc/uptime").split()[0])
        return ClockReading(before, time.monotonic(), seconds)

    first = min((reading() for _ in range(5)), key=lambda one: one.width_s)
    rate = clock_rate(first, first)
    while not rate.decides():
        time.sleep(1)  # sleep: the span that decides
        rate = clock_rate(first, reading())
    assert not rate.is_off(), rate.for_people()


@pytest.mark.machines
@pytest.mark.parametrize("kernel", ["5.10", "6.1", "6.18"])
def test_what_a_kernel_lacks_is_skipped_with_its_reason(shelf: Shelf, tmp_path: Path, kernel: str) -> None:
    shelf.clear()
    chosen = "batch_size or writeback_limit or integrity or fault_latency"
    done = lab("run", "--kernel", kernel, "--arch", "arm64", "--results", str(tmp_path), "-k", chosen, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = {outcome.test: (outcome.outcome, outcome.reason) for outcome in load(next(tmp_path.iterdir())).outcomes}
    skipped = {reason for outcome, reason in outcomes.values() if outcome == "skipped"}
    assert any("writeback_batch_size: not on this phone" in reason for reason in skipped)
    assert any("page_index: not on this phone" in reason for reason in skipped) == (kernel == "5.10")
