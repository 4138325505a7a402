"""The probe on a virtual phone: what needs zram, F2FS and swap. Sizes are small; the suites do the measuring."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from base.deadline import Deadline
from base.errors import CommandFailed
from base.units import MIB
from devices.adb import AdbTransport, RootStyle
from devices.counters import BdStat
from devices.page_mix import HEAP_RATIOS
from devices.probe.build import build
from devices.probe.commands import DevicePages
from devices.probe.replies import LoopAttached
from devices.probe.session import PROBE_FOLDER, Probe, ProbeFailed, ProbeSession
from devices.transport import Exec
from devices.virtual.phone import VirtualPhoneConfig, start

pytestmark = pytest.mark.phone

BACKING = "/data/local/tmp/probe_test_backing"
BACKING_BYTES = 64 * MIB
MIX = "z5,s5,c60@3,i30"
PAGES = 1000
SAMPLE = np.dtype([("t_ns", "<u8"), ("ns", "<u8"), ("page", "<u4"), ("label", "<u2"), ("ahead", "<u2")])


@dataclass
class Lab:
    """A phone with a zram of its own for these tests, backed by a loop device."""

    transport: AdbTransport
    probe: Probe
    kernel: str
    zram: int = -1

    def sh(self, script: str) -> str:
        run = Exec(("sh", "-e", "-c", script))
        return self.transport.execute([run], deadline=Deadline.after(60))[0].check().text

    @property
    def sysfs(self) -> str:
        return f"/sys/block/zram{self.zram}"

    @property
    def node(self) -> str:
        return f"/dev/block/zram{self.zram}"

    def attach(
        self, size: int = BACKING_BYTES, *, direct: bool = True, block: int = 4096, allocate: bool = True,
        pin: bool = False,
    ) -> LoopAttached:  # fmt: skip
        return self.probe.loop_attach(
            BACKING, size=size, direct=direct, block=block, allocate=allocate, pin=pin, seconds=120
        )

    def pages(self, hi: int) -> DevicePages:
        return DevicePages(self.node, 0, hi)

    def configure(self, *, backing: str | None = None, algorithm: str = "lz4") -> None:
        if backing:
            self.sh(f"echo {backing} > {self.sysfs}/backing_dev")
        self.sh(f"echo {algorithm} > {self.sysfs}/comp_algorithm; echo 128M > {self.sysfs}/disksize")

    def mm_stat(self) -> list[int]:
        return [int(word) for word in self.sh(f"cat {self.sysfs}/mm_stat").split()]

    def bd_stat(self) -> list[int]:
        return [int(word) for word in self.sh(f"cat {self.sysfs}/bd_stat").split()]

    def pull(self, name: str, folder: Path) -> Path:
        self.transport.pull(f"{PROBE_FOLDER}/{name}", folder / name, deadline=Deadline.after(30))
        return folder / name


@pytest.fixture(scope="module", params=["7.3", "6.12"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    config = VirtualPhoneConfig(name="probe", kernel=request.param, memory_bytes=1024 * MIB, ufs_bytes=1024 * MIB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZRAM_LAB_STATE", str(tmp_path_factory.mktemp("state")))
        phone = start(config, fresh=True, progress=lambda text: print(text, file=sys.stderr))
        try:
            transport = AdbTransport(phone.serial, root=RootStyle.su_0)
            probe = Probe(transport, build)
            probe.install(phone.arch)
            yield Lab(transport, probe, request.param)
        finally:
            phone.stop()


@pytest.fixture
def zram(lab: Lab) -> Iterator[Lab]:
    """A fresh zram device, not configured; it and the backing file are gone afterwards."""
    lab.zram = int(lab.sh("cat /sys/class/zram-control/hot_add"))
    yield lab
    lab.sh(f"swapoff {lab.node} 2> /dev/null || true; echo {lab.zram} > /sys/class/zram-control/hot_remove")
    lab.probe.loop_detach(BACKING, remove=True)


@pytest.fixture
def swap(zram: Lab) -> Lab:
    """The zram as the preferred of two swap devices, written back through the loop device."""
    zram.configure(backing=zram.attach().loop)
    zram.sh(f"mkswap {zram.node} > /dev/null; swapon -p 100 {zram.node}")
    return zram


@pytest.fixture
def session(swap: Lab) -> Iterator[ProbeSession]:
    with swap.probe.session(alarm_s=300) as serving:
        yield serving


def swapped_area(session: ProbeSession, pages: int = PAGES) -> None:
    session.fill_area("a", pages * session.hello().page_size, mix=MIX, seed=11)
    reply = session.pageout("a")
    assert (reply.pages, reply.swapped) == (pages, pages)


def test_hello_is_protected_from_the_oom_killer_and_locked(lab: Lab) -> None:
    hello = lab.probe.hello()
    assert (hello.uid, hello.oom_score_adj, hello.locked) == (0, -1000, True)


def test_loop_on_f2fs_has_direct_io_and_blocks_as_asked(zram: Lab) -> None:
    reply = zram.attach()
    assert (reply.dio, reply.dio_errno, reply.block_size, reply.fs_magic) == (True, "", 4096, "0xf2f52010")
    assert reply.file_bytes == BACKING_BYTES <= reply.allocated_bytes < BACKING_BYTES * 1.02
    assert zram.sh(f"stat -c %a {BACKING}; cat /sys/block/loop{reply.number}/loop/dio").split() == ["600", "1"]


def test_buffered_loop_over_a_sparse_file(zram: Lab) -> None:
    reply = zram.attach(direct=False, allocate=False, block=512)
    assert (reply.dio, reply.block_size, reply.allocated_bytes, reply.pinned) == (False, 512, 0, False)


def test_file_is_pinned_on_f2fs(zram: Lab) -> None:
    reply = zram.attach(pin=True)
    assert (reply.pinned, reply.pin_errno) == (True, "")


def test_full_disk_is_refused_and_left_as_it_was(zram: Lab) -> None:
    before = zram.sh("df /data | tail -1")
    with pytest.raises(ProbeFailed, match="No space left") as refused:
        zram.attach(size=8192 * MIB)
    assert refused.value.errno == "ENOSPC"
    assert zram.sh(f"df /data | tail -1; ls {BACKING} 2> /dev/null || true") == before


def test_a_loop_device_is_added_for_the_file_and_leaves_no_trace(zram: Lab) -> None:
    """A device that was there keeps traces of its use: a detached loop0 says "write back" ever after."""
    facts = "ls /sys/block; ls /dev/block; cat /sys/block/loop*/queue/write_cache"
    before = zram.sh(facts)
    reply = zram.attach()
    assert reply.number not in range(8)
    zram.probe.loop_detach(BACKING, remove=True)
    assert zram.sh(facts) == before


def test_loop_in_use_is_named_and_stays(zram: Lab) -> None:
    loop = zram.attach().loop
    zram.configure(backing=loop)
    with pytest.raises(ProbeFailed, match=loop) as refused:
        zram.probe.loop_detach(BACKING, remove=True)
    assert refused.value.errno == "EBUSY"
    assert zram.sh(f"cat {zram.sysfs}/backing_dev") == loop
    zram.sh(f"echo 1 > {zram.sysfs}/reset")
    reply = zram.probe.loop_detach(BACKING, remove=True)
    assert (reply.detached, reply.removed) == (1, True)


@pytest.mark.parametrize("algorithm", ["lz4", "zstd"])
def test_zram_sees_each_kind_of_page_as_it_is_meant(zram: Lab, algorithm: str) -> None:
    for mix, stored in {"i100": 1.0, "c100@2": 1 / 2, "c100@3": 1 / 3, "c100@5": 1 / 5, "z50,s50": 0.0}.items():
        zram.configure(algorithm=algorithm)
        zram.probe.fill_device(zram.pages(299), mix=mix, seed=3)
        original, compressed, *_, same, _, huge, _ = zram.mm_stat()
        assert compressed / original == pytest.approx(stored, rel=0.25)
        assert (same, huge) == (300 if mix == "z50,s50" else 0, 300 if mix == "i100" else 0)
        assert zram.probe.verify_device(zram.pages(299), mix=mix, seed=3).corrupt == 0
        zram.sh(f"echo 1 > {zram.sysfs}/reset")


@pytest.mark.parametrize("algorithm", ["lz4", "zstd"])
def test_zram_ranks_compressors_on_pages_like_memory(zram: Lab, algorithm: str) -> None:
    zram.configure(algorithm=algorithm)
    zram.probe.fill_device(zram.pages(999), mix="h100", seed=3)
    original, compressed, *_, huge, _ = zram.mm_stat()
    assert original / compressed == pytest.approx(HEAP_RATIOS[algorithm], rel=0.08)
    assert huge == 0
    assert zram.probe.verify_device(zram.pages(999), mix="h100", seed=3).corrupt == 0


def test_a_phones_own_files_fill_pages_and_are_known_again(zram: Lab) -> None:
    zram.configure()
    filled = zram.probe.fill_device(zram.pages(299), mix="f100", seed=3)
    original, compressed, *_ = zram.mm_stat()
    assert (filled.file, filled.stored) == (300, 300)
    assert original > 1.2 * compressed
    assert zram.probe.verify_device(zram.pages(299), mix="f100", seed=3).corrupt == 0


def test_timed_writeback_of_a_device_agrees_with_the_kernels_books(zram: Lab) -> None:
    zram.configure(backing=zram.attach().loop)
    pages = DevicePages(zram.node, 0, 999, pick=500, pick_seed=5)
    filled = zram.probe.fill_device(pages, mix=MIX, seed=3)
    zram.sh(f"echo all > {zram.sysfs}/idle")
    reply = zram.probe.write_timed(f"{zram.sysfs}/writeback", "idle", zram=zram.zram, seconds=120)
    assert (reply.rc, reply.errno) == (4, "")
    assert (reply.bd_before, reply.bd_after) == (BdStat(0, 0, 0), BdStat(filled.stored, 0, filled.stored))
    assert (reply.mm_before.huge_pages, reply.mm_after.huge_pages) == (filled.incompressible, 0)
    assert 0 < reply.sys_ns <= reply.wall_ns
    verified = zram.probe.verify_device(pages, mix=MIX, seed=3)
    assert (verified.pages, verified.corrupt) == (500, 0)
    assert zram.bd_stat()[1] == filled.stored
    zram.probe.free(pages)
    assert zram.bd_stat()[0] == 0


def test_a_damaged_page_on_the_device_is_found(zram: Lab) -> None:
    zram.configure()
    zram.probe.fill_device(zram.pages(99), mix=MIX, seed=3)
    zram.probe.corrupt_device(zram.node, 42)
    reply = zram.probe.verify_device(zram.pages(99), mix=MIX, seed=3)
    assert (reply.corrupt, reply.first_corrupt) == (1, (42,))


def test_refused_write_is_an_answer(zram: Lab) -> None:
    reply = zram.probe.write_attribute(f"{zram.sysfs}/writeback", "idle")
    assert (reply.rc, reply.errno) == (-1, "EINVAL")


def test_live_swap_is_never_overwritten(swap: Lab) -> None:
    with pytest.raises(ProbeFailed) as refused:
        swap.probe.fill_device(swap.pages(9), mix="i100", seed=1)
    assert refused.value.errno == "EBUSY"
    with pytest.raises(ProbeFailed) as refused:
        swap.probe.free(swap.pages(9))
    assert refused.value.errno == "EBUSY"


def test_slots_name_where_the_pages_are(swap: Lab, session: ProbeSession, tmp_path: Path) -> None:
    swapped_area(session)
    reply = session.slots("a", out=f"{PROBE_FOLDER}/slots")
    slots = np.fromfile(swap.pull("slots", tmp_path), "<u8")
    assert (len(slots), len(set(slots.tolist())), reply.swap_types) == (PAGES, PAGES, (1,))
    assert (reply.lo, reply.hi) == (slots.min(), slots.max())


@pytest.mark.parametrize("order", ["random", "sequential"])
def test_only_the_pages_asked_for_are_written_back_and_read_again(
    swap: Lab, session: ProbeSession, tmp_path: Path, order: str
) -> None:
    swapped_area(session)
    reply = session.writeback("a", zram=swap.zram, pick=250, pick_seed=9, order=order)
    assert (reply.requested, reply.accepted, reply.written) == (250, 250, 250)
    assert reply.bd_after == BdStat(250, 0, 250)
    grammar, most_calls = ("page_indexes", 10) if swap.kernel == "7.3" else ("page_index", 250)
    assert reply.grammar == grammar
    assert reply.calls <= most_calls
    touched = session.touch("a", order="random", seed=4, out=f"{PROBE_FOLDER}/touch", zram=swap.zram, seconds=120)
    assert (touched.samples, touched.majflt, touched.not_swapped) == (PAGES, PAGES, 0)
    samples = np.fromfile(swap.pull("touch", tmp_path), SAMPLE)
    assert (samples["label"] == 1).sum() == 250
    assert touched.read_4k == 250
    assert np.median(samples["ns"][samples["label"] == 1]) > np.median(samples["ns"][samples["label"] == 0])
    assert session.verify_area("a").corrupt == 0


def test_all_pages_that_can_be_are_written_back_once(swap: Lab, session: ProbeSession) -> None:
    swapped_area(session, 300)
    part = session.writeback("a", zram=swap.zram, pick=100, pick_seed=1)
    rest = session.writeback("a", zram=swap.zram, order="sequential")
    assert part.written + rest.written == rest.bd_after.count_4k
    assert rest.written == rest.requested < 200
    with pytest.raises(ProbeFailed, match="0 pages of a can be written back"):
        session.writeback("a", zram=swap.zram)


def test_exhausted_limit_stops_writeback_and_is_told(swap: Lab, session: ProbeSession) -> None:
    swapped_area(session, 300)
    swap.sh(f"echo 1 > {swap.sysfs}/writeback_limit_enable; echo 40 > {swap.sysfs}/writeback_limit")
    with pytest.raises(ProbeFailed) as refused:
        session.writeback("a", zram=swap.zram)
    swap.sh(f"echo 0 > {swap.sysfs}/writeback_limit_enable")
    assert refused.value.errno == "EIO"
    assert refused.value.known["written"] == 40
    assert session.verify_area("a").corrupt == 0


def test_what_it_held_is_free_when_the_session_ends(swap: Lab) -> None:
    used = f"grep '^{swap.node}[[:space:]]' /proc/swaps | while read file type size used priority; do echo $used; done"
    with swap.probe.session(alarm_s=100) as serving:
        swapped_area(serving)
        assert int(swap.sh(used)) >= PAGES * 4
    # Before 6.14 each CPU keeps up to 64 freed slots for itself, and as many to hand out.
    kept_kib = 2 * 2 * 64 * 4
    deadline = Deadline.after(10)
    while int(swap.sh(used)) > kept_kib and not deadline.expired:
        time.sleep(0.1)  # sleep: polls the phone within a deadline
    assert int(swap.sh(used)) <= kept_kib < PAGES * 4


def test_single_command_exits_with_1_and_still_answers(lab: Lab) -> None:
    result = lab.transport.execute(
        [Exec((f"{PROBE_FOLDER}/probe", "drop", "name=nobody"))], deadline=Deadline.after(30)
    )[0]
    assert (result.status, json.loads(result.text)["ok"]) == (1, False)
    with pytest.raises(CommandFailed):
        result.check()
