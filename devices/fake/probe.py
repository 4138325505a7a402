"""The probe on FakePhone, at the level of its lines: the real session, its parsing and every workload run on it.

It answers with the fields that the real one answers with and refuses what that refuses (tests/test_probe_contract.py
asks both). Time is the phone's clock, so what is measured follows from the figures of its disks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from base.deadline import Deadline
from base.errors import DeviceLost
from base.kernel import MAX_BATCH_SIZE, SECTORS_PER_4K
from base.units import NS_PER_MS, NS_PER_S, NS_PER_US
from devices.fake.android import Refused
from devices.fake.probe_grammar import Call, ProbeRefusal, parse
from devices.fake.records import described
from devices.fake.storage import FakeDisk

if TYPE_CHECKING:
    from devices.fake.phone import FakePhone

Fields = dict[str, object]
# Names of mm_stat's columns, from Documentation/admin-guide/blockdev/zram.rst.
_MM_STAT = (
    "orig_data_size", "compr_data_size", "mem_used_total", "mem_limit", "mem_used_max", "same_pages",
    "pages_compacted", "huge_pages", "huge_pages_since",
)  # fmt: skip
_COMMAND_NS = 50 * NS_PER_US
_TICK_NS = 10 * NS_PER_MS
_MOST_WATCHED = 4
_BOOT_EPOCH_NS = 100 * NS_PER_S


class FakeProbe:
    """A probe's process: what it holds is gone with it."""

    def __init__(self, phone: FakePhone) -> None:
        from devices.fake.probe_apps import ProbeApps
        from devices.fake.probe_hammer import ProbeHammer
        from devices.fake.probe_mapped import ProbeMapped
        from devices.fake.probe_memory import ProbeMemory
        from devices.fake.probe_system import ProbeSystem

        self.phone = phone
        self.pid = phone.android.new_pid()
        self._ended = False
        self.memory, self.apps, self._system = ProbeMemory(phone), ProbeApps(phone), ProbeSystem(phone)
        self._commands: Mapping[str, Callable[[Call], Fields]] = {
            "hello": self._hello, "describe": lambda call: described(), "overhead": self._overhead,
            "write-timed": self._write_timed,
            **self.memory.commands, **ProbeHammer(phone, self.memory).commands, **self._system.commands,
            **ProbeMapped(phone).commands, **self.apps.commands,
        }  # fmt: skip

    def request(self, line: str, *, deadline: Deadline) -> str:
        if self._ended:
            raise DeviceLost(f"{self.phone.serial}: the probe has ended")
        return self.phone.spend(line, lambda: self.answer(line))

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            self.memory.end()
            self.apps.end()
            self._system.end()

    def answer(self, line: str) -> str:
        """Carry out one command; return its line of JSON."""
        clock = self.phone.clock
        try:
            call = parse(line)
        except ProbeRefusal as refusal:
            return _json({"ok": False, "errno": "", "error": str(refusal)})
        begin_ns = clock.now_ns
        clock.spend(_COMMAND_NS)
        try:
            if call.name in self.phone.refuses:
                raise Refused(self.phone.refuses[call.name])
            reply: Fields = {"ok": True, **self._commands[call.name](call)}
        except ProbeRefusal as refusal:
            error = f"{call.name}: {refusal}"
            reply = {"ok": False, "errno": refusal.errno, "error": error, **refusal.fields}
        except Refused as refused:
            of_kernel = ProbeRefusal.of_kernel(refused, call.name)
            reply = {"ok": False, "errno": of_kernel.errno, "error": str(of_kernel)}
        self.apps.catch_up()
        return _json({**reply, "took_ns": clock.now_ns - begin_ns})

    def _hello(self, call: Call) -> Fields:
        now_ns, android = self.phone.clock.now_ns, self.phone.android
        return {
            "protocol": 1, "arch": "aarch64", "page_size": 4096, "pid": self.pid, "uid": 0, "locked": 1,
            "oom_score_adj": -1000, "monotonic_ns": now_ns,
            "realtime_ns": android.clock_s * NS_PER_S + now_ns - _BOOT_EPOCH_NS,
        }  # fmt: skip

    def _overhead(self, call: Call) -> Fields:
        samples = call.number("samples")
        if not 2 <= samples <= 1_000_000:
            raise ProbeRefusal("", f"samples={samples}: expected 2 to 1000000")
        self.phone.clock.spend(samples * 200)
        quantiles = {"timer_ns": 25, "resident_ns": 60, "sample_ns": 120}
        return {
            "samples": samples,
            **{name: {"min": ns - 5, "p50": ns, "p99": 2 * ns, "max": 9 * ns} for name, ns in quantiles.items()},
        }

    def _write_timed(self, call: Call) -> Fields:
        path, value = call.text("path"), call.text("value")
        self._check_harmless(path, value)
        if path.replace("/sys/class/block/", "/sys/block/") not in self.phone.files:
            raise ProbeRefusal("ENOENT", path)
        number = call.number("zram") if "zram" in call else None
        before = {} if number is None else _books(self.phone, number, "before")
        watched = self._watched(call.text("disks"))
        stats = [(disk.reads, disk.writes, disk.in_queue_ns) for disk in watched]
        for disk in watched:
            disk.deepest = 0
        busy = self.phone.clock.busy_ns
        errno, cost = self._write(path, value)
        reply = {"rc": -1 if errno else len(value), "errno": errno, **cost, **before}
        if number is not None:
            # By the scheduler: a worker of the loop device takes a half of what the writer takes.
            ran_ns = self.phone.clock.busy_ns - busy
            reply |= {"writer_run_ns": ran_ns, "kworkers_run_ns": ran_ns // 2, "cpus_run_ns": ran_ns + ran_ns // 2}
            reply |= _books(self.phone, number, "after")
        if watched:
            sample = call.number("sample") == 1
            reply["disks"] = {
                disk.name: _counted(disk, was, sample=sample) for disk, was in zip(watched, stats, strict=True)
            }
        return reply

    def _check_harmless(self, path: str, value: str) -> None:
        digits = re.match(r"[0-9]*", value)
        if path.endswith("/writeback_batch_size") and digits and int(digits[0] or 0) > MAX_BATCH_SIZE:
            raise ProbeRefusal(
                "", f"value={value}: refused, a batch of more than {MAX_BATCH_SIZE} may take the phone down"
            )

    def _write(self, path: str, value: str) -> tuple[str, Fields]:
        clock = self.phone.clock
        before, busy, switches = clock.now_ns, clock.busy_ns, clock.switches
        errno = ""
        clock.spend(5 * NS_PER_US)
        try:
            self.phone.write(path, value)
        except Refused as refused:
            errno = ProbeRefusal.of_kernel(refused, path).errno
        busy = clock.busy_ns - busy
        ticks = clock.busy_ns // _TICK_NS - (clock.busy_ns - busy) // _TICK_NS
        return errno, {
            "wall_ns": clock.now_ns - before, "user_ns": 0, "sys_ns": busy, "cpu_busy_ns": ticks * _TICK_NS,
            "nvcsw": clock.switches - switches, "nivcsw": 0,
        }  # fmt: skip

    def _watched(self, disks: str) -> list[FakeDisk]:
        names = [name for name in disks.split(",") if name]
        if len(names) > _MOST_WATCHED:
            raise ProbeRefusal("", f"disks: more than {_MOST_WATCHED}")
        for name in names:
            if len(name) >= 32:
                raise ProbeRefusal("", f"disks={name}: longer than any name of a disk")
        return [self.phone.disk_named(name) for name in names]


def _counted(disk: FakeDisk, before: tuple[int, int, int], *, sample: bool) -> Fields:
    reads, writes, in_queue_ns = before
    fields: Fields = {
        "reads": disk.reads - reads, "writes": disk.writes - writes, "writes_merged": 0,
        "written_bytes": (disk.writes - writes) * SECTORS_PER_4K * 512,
        "time_in_queue_ms": disk.in_queue_ns // NS_PER_MS - in_queue_ns // NS_PER_MS,
    }  # fmt: skip
    return {**fields, "deepest": disk.deepest, "samples": 100} if sample else fields


def _books(phone: FakePhone, number: int, when: str) -> Fields:
    """What zram's books say, under the names that ``write-timed`` gives them."""
    mm = phone.numbers(f"/sys/block/zram{number}/mm_stat")
    return {f"bd_{when}": phone.bd_stat(number), f"mm_{when}": dict(zip(_MM_STAT, mm, strict=False))}


def _json(fields: Fields) -> str:
    return json.dumps(fields, separators=(",", ":"))
