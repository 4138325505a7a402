"""Synthetic apps, the sampler and the writebacks of the probe on a virtual phone, where there is a zram to swap to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.deadline import Deadline
from base.units import MIB
from devices.adb import AdbTransport
from devices.probe.app_replies import AppSwitch
from devices.probe.build import build
from devices.probe.session import PROBE_FOLDER, Probe, ProbeSession
from devices.transport import Exec
from devices.virtual.phone import RunningPhone
from workloads.app_watch import SAMPLE, WRITEBACK

pytestmark = pytest.mark.phone

BACKING = "/data/local/tmp/apps_test_backing"
APPS: dict[str, Any] = {
    "count": 8, "anonymous": 2 * MIB, "file_backed": MIB // 4, "working_set": MIB, "mix": "c70@3,i30", "seed": 5,
    "order": "random", "folder": PROBE_FOLDER,
}  # fmt: skip


@dataclass
class Swap:
    """A phone whose preferred swap device is a zram with a backing device."""

    transport: AdbTransport
    probe: Probe
    zram: int
    loop: str

    def sh(self, script: str) -> str:
        run = Exec(("sh", "-e", "-c", script))
        return self.transport.execute([run], deadline=Deadline.after(60))[0].check().text

    def zram_reads(self, attribute: str) -> str:
        return self.sh(f"cat /sys/block/zram{self.zram}/{attribute}")

    def pull(self, name: str, folder: Path, dtype: np.dtype[np.void]) -> Any:
        self.transport.pull(f"{PROBE_FOLDER}/{name}", folder / name, deadline=Deadline.after(30))
        return np.fromfile(folder / name, dtype)


@pytest.fixture
def swap(phone: RunningPhone, transport: AdbTransport) -> Iterator[Swap]:
    probe = Probe(transport, build)
    probe.install(phone.arch)
    loop = probe.loop_attach(BACKING, size=64 * MIB, direct=True, block=4096, allocate=True, pin=False, seconds=120)
    swap = Swap(transport, probe, -1, loop.loop)
    swap.zram = int(swap.sh("cat /sys/class/zram-control/hot_add"))
    node, folder = f"/dev/block/zram{swap.zram}", f"/sys/block/zram{swap.zram}"
    swap.sh(
        f"echo {swap.loop} > {folder}/backing_dev; echo 64M > {folder}/disksize; mkswap {node}; swapon -p 100 {node}"
    )
    yield swap
    swap.sh(f"swapoff {node}; echo {swap.zram} > /sys/class/zram-control/hot_remove")
    probe.loop_detach(BACKING, remove=True)


@pytest.fixture
def session(swap: Swap) -> Iterator[ProbeSession]:
    with swap.probe.session(alarm_s=120) as session:
        yield session


def rounds(session: ProbeSession, swap: Swap, count: int) -> list[AppSwitch]:
    """So many rounds through all apps: the switches."""
    backing = swap.loop.rpartition("/")[2]
    replies = [session.apps_switch(range(8), dwell_ms=400, backing=backing, seconds=90) for _ in range(count)]
    assert [reply.deaths for reply in replies] == [()] * count
    return [switch for reply in replies for switch in reply.switches]


@pytest.mark.parametrize("trigger", ["idle", "background", "periodic"])
def test_working_sets_are_written_back_and_read_again(
    swap: Swap, session: ProbeSession, trigger: str, tmp_path: Path
) -> None:
    """The kernel's books agree with ours, page by page, and no page is damaged on the way."""
    session.apps_make(**APPS)
    backing = swap.loop.rpartition("/")[2]
    session.sample_start(zram=swap.zram, interval_ms=50, duration_s=60, backing=backing)
    session.daemon_start(zram=swap.zram, trigger=trigger, limit_4k=4096, age_s=1, delay_ms=300, period_ms=500)
    switches = rounds(session, swap, 3)
    written = session.daemon_stop(f"{PROBE_FOLDER}/writebacks", seconds=60)
    totals = session.sample_stop(f"{PROBE_FOLDER}/samples")
    assert sum(switch.corrupt for switch in switches) == 0
    flash_4k = sum(switch.flash_4k for switch in switches)
    assert 0 < flash_4k <= totals.read_4k == totals.backing_read_sectors // 8
    writebacks = swap.pull("writebacks", tmp_path, WRITEBACK)
    assert (written.failed, len(writebacks)) == (0, written.rounds)
    assert writebacks["pages_4k"].sum() == written.written_4k == totals.written_4k
    assert totals.backing_written_sectors == 8 * written.written_4k
    assert (writebacks["end_ns"] >= writebacks["t_ns"]).all()
    samples = swap.pull("samples", tmp_path, SAMPLE)
    assert len(samples) == totals.samples > 20
    assert (np.diff(samples["t_ns"].astype(np.int64)) > 0).all()
    assert samples["written_back_4k"].max() > 0
    assert 0 < samples["available_kib"].min() < 1024 * 1024
    assert 0 < totals.cpu_ns < totals.wall_ns


def test_one_writeback_keeps_to_its_limit_and_all_to_theirs(swap: Swap, session: ProbeSession, tmp_path: Path) -> None:
    session.apps_make(**APPS)
    session.daemon_start(zram=swap.zram, trigger="periodic", limit_4k=64, total_4k=150, period_ms=200)
    rounds(session, swap, 3)
    written = session.daemon_stop(f"{PROBE_FOLDER}/writebacks", seconds=60)
    writebacks = swap.pull("writebacks", tmp_path, WRITEBACK)
    assert writebacks["pages_4k"].max() == 64
    assert (written.written_4k, written.spent, written.failed) == (150, True, 0)
    assert written.limited > 0
    # Nobody after us is held by our limit.
    assert [swap.zram_reads(name).strip() for name in ("writeback_limit_enable", "writeback_limit")] == ["0", "0"]


def test_nothing_is_left_when_the_session_is_cut(swap: Swap) -> None:
    with swap.probe.session(alarm_s=60) as session:
        session.apps_make(**APPS)
        session.daemon_start(zram=swap.zram, trigger="idle", limit_4k=4096, age_s=1)
        rounds(session, swap, 1)
        assert swap.sh("ps -A -o NAME").split().count("zwb.app01") == 1
    listing = swap.sh(
        "n=50; while ps -A -o NAME | grep -q zwb.app && [ $n -gt 0 ]; do sleep 0.1; n=$((n-1)); done; ps -A"
    )
    assert "zwb.app" not in listing
    assert swap.sh(f"ls {PROBE_FOLDER}").split().count("probe") == 1
    assert "apps." not in swap.sh(f"ls {PROBE_FOLDER}")
