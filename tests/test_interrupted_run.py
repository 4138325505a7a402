"""Runs that are cut off in the middle of the sweep leave a phone that is restored, at once or by the next command."""

from __future__ import annotations

import os
import signal
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from base.deadline import Deadline, wait_until
from devices.adb import AdbTransport, RootStyle
from devices.device import MARKER
from devices.transport import Exec, Op, Read
from devices.virtual.phone import RunningPhone, find
from records.reading import StoredRun, load
from tests.conftest import Shelf, lab, lab_started

pytestmark = pytest.mark.phone

BACKING = "/data/per_boot/interrupted"
PROFILE = f"""\
name: interrupted
connection: {{adb: {{serial: "%s"}}}}
must_have: [writeback, writeback_batch_size]
zram: {{disksize: 32MiB}}
backing: {{path: {BACKING}, size: 32MiB}}
sweep: {{batch_sizes: [1, 32], data: [4MiB], pages: [incompressible], order: [sparse], repeats: 50}}
faults: {{samples: 500}}
"""
_ATTRIBUTES = (
    "disksize", "initstate", "backing_dev", "comp_algorithm", "mem_limit", "writeback_limit", "writeback_limit_enable",
    "writeback_batch_size", "compressed_writeback",
)  # fmt: skip


def state_of(phone: RunningPhone) -> dict[str, str]:
    """All that a run changes on a phone, read over a connection of its own."""
    transport = AdbTransport(phone.serial, root=RootStyle.su_c)
    paths = [f"/sys/block/zram0/{name}" for name in _ATTRIBUTES]
    swaps = Exec(
        ("sh", "-c", "while read -r name type size used priority; do echo $name $priority; done < /proc/swaps")
    )
    others: list[Op] = [
        swaps, Exec(("losetup", "-a")), Exec(("ls", "-A", "/data/per_boot")), Exec(("ls", "/sys/block")), Read(MARKER),
        Exec(("sh", "-c", "pidof probe || true")),
    ]  # fmt: skip
    reads: list[Op] = [Read(path) for path in paths]
    results = transport.execute([*reads, *others], deadline=Deadline.after(60), keep_going=True)
    return {str(result.op): "missing" if result.missing else result.text for result in results}


@dataclass(frozen=True)
class Scene:
    """A run on ``phone`` that is to be cut off; what it says goes to ``log``, its results below ``results``."""

    phone: RunningPhone
    before: dict[str, str]
    profile: Path
    results: Path
    log: Path

    def command(self) -> list[str]:
        return [
            "run", "--device", str(self.profile), "--plan", "standard", "--results", str(self.results), "--seed", "1",
            "-k", "writeback_throughput",
        ]  # fmt: skip

    def stored(self) -> StoredRun:
        return load(folder_in(self.results))


@pytest.fixture
def scene(phone: RunningPhone, tmp_path: Path) -> Iterator[Scene]:
    profile = tmp_path / "interrupted.yaml"
    profile.write_text(PROFILE % phone.serial)
    scene = Scene(phone, state_of(phone), profile, tmp_path / "results", tmp_path / "log")
    yield scene
    # The next test must not pay for a failure of this one.
    lab("restore", "--device", phone.serial)


def folder_in(results: Path) -> Path:
    (folder,) = results.iterdir()
    return folder


def await_sweep(process: subprocess.Popen[bytes], results: Path, log: Path, *, seconds: float = 120) -> None:
    """Returns in the middle of the sweep: several points were measured, many are left."""

    def in_the_middle() -> bool:
        assert process.poll() is None, f"it ended early:\n{log.read_text()}"
        transcripts = list(results.glob("*/transcript.log"))
        return (
            bool(transcripts) and transcripts[0].read_text().count("/sys/block/zram0/writeback_batch_size value=") >= 6
        )

    wait_until("the sweep", in_the_middle, Deadline.after(seconds))


def journals(state: Path) -> list[Path]:
    return list((state / "journals").glob("*.jsonl"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_the_run_with_the_phone_put_back_at_once(
    scene: Scene, own_state: Path, number: signal.Signals
) -> None:
    with lab_started(*scene.command(), log=scene.log) as process:
        await_sweep(process, scene.results, scene.log)
        assert state_of(scene.phone) != scene.before
        process.send_signal(number)
        # An impatient second one must not cut the restore off.
        process.send_signal(number)
        status = process.wait(60)
    assert status == 2, scene.log.read_text()
    assert state_of(scene.phone) == scene.before
    assert journals(own_state) == []
    stored = scene.stored()
    assert stored.problems == ()
    assert stored.end is not None
    assert stored.end.exit_status == 2
    assert (folder_in(scene.results) / "report.html").is_file()
    transcript = (folder_in(scene.results) / "transcript.log").read_text()
    # The watch on the kernel's log needs the phone, which a virtual one is not after the restore.
    assert transcript.rindex("    dmesg -> ") < transcript.rindex("    swapoff ")


def test_after_a_kill_restore_puts_the_phone_back_and_the_report_says_incomplete(scene: Scene, own_state: Path) -> None:
    with lab_started(*scene.command(), log=scene.log) as process:
        await_sweep(process, scene.results, scene.log)
        process.kill()
        process.wait(10)
    assert len(journals(own_state)) == 1
    assert state_of(scene.phone)[f"cat {MARKER}"] != "missing"
    doctor = lab("doctor", "--device", scene.phone.serial)
    assert "./lab restore" in doctor.stdout
    assert doctor.returncode == 11
    restored = lab("restore", "--device", scene.phone.serial, timeout=120)
    assert restored.returncode == 0, restored.stderr
    assert "restored: virtual-shelf" in restored.stdout
    assert state_of(scene.phone) == scene.before
    assert journals(own_state) == []
    assert "nothing to restore" in lab("restore").stdout
    report = lab("report", str(folder_in(scene.results)))
    assert report.returncode == 0, report.stderr
    assert "did not reach its end" in report.stdout
    assert not scene.stored().complete


def test_a_run_after_a_kill_heals_the_phone_itself(scene: Scene, own_state: Path) -> None:
    with lab_started(*scene.command(), log=scene.log) as process:
        await_sweep(process, scene.results, scene.log)
        process.kill()
        process.wait(10)
    again = lab(
        "run", "--device", str(scene.profile), "--plan", "standard", "--results", str(scene.results / "2"),
        "-k", "limit_grammar", timeout=120,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    assert "an earlier run was cut off; put back: /dev/block/zram0 as it was" in again.stdout
    assert state_of(scene.phone) == scene.before
    assert journals(own_state) == []


def test_a_cable_pulled_in_the_middle_is_a_lost_phone_and_restore_heals_it(scene: Scene, own_state: Path) -> None:
    try:
        with lab_started(*scene.command(), log=scene.log) as process:
            await_sweep(process, scene.results, scene.log)
            scene.phone.unplug_cable()
            status = process.wait(120)
    finally:
        scene.phone.plug_cable()
    said = scene.log.read_text()
    assert status == 10, said
    assert scene.phone.serial in said
    assert "lab restore" in said
    end = scene.stored().end
    assert end is not None
    assert end.exit_status == 10
    suite = ET.parse(folder_in(scene.results) / "junit.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1"), ET.tostring(suite)
    assert {prop.get("value") for prop in suite.iter("property")} == {scene.phone.serial}
    assert lab("restore", "--device", scene.phone.serial, timeout=120).returncode == 0
    assert state_of(scene.phone) == scene.before
    assert journals(own_state) == []


def test_a_qemu_killed_during_a_run_is_a_lost_phone_that_is_named(shelf: Shelf, tmp_path: Path) -> None:
    shelf.clear()
    results, log = tmp_path / "results", tmp_path / "log"
    command = ("run", "--results", str(results), "--repeats", "50", "-k", "writeback_throughput")
    with lab_started(*command, log=log) as process:
        await_sweep(process, results, log, seconds=240)
        phone = find("run")
        assert phone is not None
        os.kill(phone.pid, signal.SIGKILL)
        status = process.wait(120)
    said = log.read_text()
    assert status == 10, said
    assert f"QEMU of virtual phone run (pid {phone.pid}) is gone" in said
    stored = load(folder_in(results))
    assert stored.end is not None
    assert stored.end.exit_status == 10
    assert f"pid {phone.pid}" in str(stored.end.facts["lost"])
    assert find("run") is None
