"""The fake probe's apps, its looks at memory while they are used, and its daemon that writes back meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from base.kernel import PAGE_4K, SECTORS_PER_4K
from base.units import NS_PER_MS, NS_PER_US
from devices.fake.content import BadMix, Numbers, Share, draw, findings, make_contents, parse_mix
from devices.fake.memory import FakeArea
from devices.fake.probe_daemon import ProbeDaemon
from devices.fake.probe_grammar import Call, ProbeRefusal
from devices.fake.records import MEMORY_SAMPLE

if TYPE_CHECKING:
    from devices.fake.phone import FakePhone

Fields = dict[str, Any]
_MOST_APPS, _MOST_SWITCHES, _SIGKILL = 64, 64, 9
_HOT, _WARM, _COLD = range(3)
_START_NS, _CONTROL_NS = 20 * NS_PER_MS, 256 * NS_PER_US
_MOST_SAMPLES = 1 << 20
# Of the counters that sample-stop tells, those that nothing on this phone moves.
_STILL = ("psi_some_us", "psi_full_us", "refault_file", "pgmajfault", "oom_kill")


@dataclass(eq=False)
class _App:
    """One app; it runs if it has a pid."""

    name: str
    seed: int
    pid: int = 0
    left_ns: int = 0
    compacted: bool = False
    area: FakeArea | None = None


@dataclass(frozen=True, slots=True)
class _Made:
    """What all apps are like; sizes in pages."""

    apps: list[_App]
    pages: int
    mix: list[Share]
    working: Numbers
    compact_ns: int


@dataclass
class _Sampler:
    number: int
    interval_ns: int
    disk: str
    backing: str
    begin_ns: int
    next_ns: int
    before: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[int, ...]] = field(default_factory=list)


class ProbeApps:
    """Apps, sampler and daemon of one probe."""

    def __init__(self, phone: FakePhone) -> None:
        self.phone = phone
        self._made: _Made | None = None
        self._front: _App | None = None
        self._deaths: list[list[int]] = []
        self._compactions = 0
        self._sampler: _Sampler | None = None
        self._daemon = ProbeDaemon(phone, self._area_of)
        self.commands: dict[str, Callable[[Call], Fields]] = {
            "apps-make": self._make, "apps-switch": self._switch, "apps-end": self._end,
            "sample-start": self._sample_start, "sample-stop": self._sample_stop, **self._daemon.commands,
        }  # fmt: skip

    def end(self) -> None:
        """The process ends, and its apps with it."""
        for app in self._apps():
            self._bury(app)
        self._made = self._front = self._sampler = None
        self._daemon.end()

    def catch_up(self) -> None:
        """What its threads did until now."""
        self._daemon.catch_up()
        sampler = self._sampler
        while sampler and sampler.next_ns <= self.phone.clock.now_ns:
            sampler.rows.append(self._look(sampler))
            sampler.next_ns += sampler.interval_ns

    def _apps(self) -> list[_App]:
        return self._made.apps if self._made else []

    def _area_of(self, pid: int) -> FakeArea | None:
        return next((app.area for app in self._apps() if app.pid == pid), None)

    def _make(self, call: Call) -> Fields:
        count, pages, working = call.number("count"), call.number("anonymous") // PAGE_4K, call.number("working_set")
        working //= PAGE_4K
        if self._made:
            raise ProbeRefusal("EEXIST", f"there are {len(self._made.apps)} apps already")
        if not 1 <= count <= _MOST_APPS:
            raise ProbeRefusal("", f"count={count}: expected 1 to {_MOST_APPS}")
        if not 1 <= working <= pages:
            raise ProbeRefusal("", "working_set: expected a page at least, and not more than anonymous")
        try:
            mix = parse_mix(call.text("mix"))
        except BadMix as bad:
            raise ProbeRefusal("", str(bad)) from bad
        if call.number("file_backed") >= PAGE_4K and not self.phone.has_folder(f"{call.text('folder')}/apps"):
            raise ProbeRefusal("ENOENT", f"create {call.text('folder')}/apps.1")
        touched = np.arange(pages)
        touched = draw(touched, working, call.number("seed")) if call.text("order") == "random" else touched[:working]
        apps = [_App(f"zwb.app{n + 1:02}", call.number("seed") + n + 1) for n in range(count)]
        self._made = _Made(apps, pages, mix, touched, call.number("compact_ms") * NS_PER_MS)
        return {"apps": count, "file_bytes": count * (call.number("file_backed") // PAGE_4K) * PAGE_4K}

    def _switch(self, call: Call) -> Fields:
        sequence, dwell_ms = self._sequence(call.text("sequence")), call.number("dwell_ms")
        if dwell_ms > 3600 * 1000:
            raise ProbeRefusal("", f"dwell_ms={dwell_ms}: more than an hour")
        switches = []
        for number in sequence:
            switches.append(self._switch_to(number, call.text("backing")))
            self._dwell(dwell_ms)
        deaths, self._deaths = self._deaths, []
        return {
            "switches": switches, "deaths": deaths, "alive": sum(app.pid != 0 for app in self._apps()),
            "compactions": self._compactions, "compaction": "process_madvise",
        }  # fmt: skip

    def _sequence(self, text: str) -> list[int]:
        sequence: list[int] = []
        for word in text.split(","):
            if not word.isdecimal():
                raise ProbeRefusal("", f"sequence={text:.80}: expected numbers of apps from 0, with commas")
            if int(word) >= len(self._apps()):
                raise ProbeRefusal("", f"sequence: app {int(word)}, but there are {len(self._apps())}")
            if len(sequence) == _MOST_SWITCHES:
                raise ProbeRefusal("", f"sequence: more than {_MOST_SWITCHES} switches")
            sequence.append(int(word))
        return sequence

    def _switch_to(self, number: int, backing: str) -> list[int]:
        assert self._made
        clock, app = self.phone.clock, self._made.apps[number]
        self.phone.before_switch()
        self._watch()
        t_ns, reads, cold = clock.now_ns, self._reads_4k(backing), not app.pid
        area = self._start(app, self._made) if app.area is None else app.area
        working = self._made.working
        swapped = int(area.swapped[working].sum())
        took = [ns for _, ns in self.phone.memory.read(area, working)]
        latency_ns = clock.now_ns - t_ns if cold else sum(took)
        corrupt = findings(area.filled[working], area.contents[working])["corrupt"]
        if self._front not in (None, app):
            assert self._front
            self._front.left_ns = clock.now_ns
        self._front, app.compacted = app, False
        self._daemon.front(app.pid)
        kind = _COLD if cold else _WARM if swapped else _HOT
        flash = self._reads_4k(backing) - reads
        return [number, t_ns, latency_ns, kind, swapped, flash, swapped, max(took), int(str(corrupt)), _CONTROL_NS]

    def _start(self, app: _App, made: _Made) -> FakeArea:
        app.area = self.phone.memory.make(make_contents(made.mix, app.seed, np.arange(made.pages)))
        app.pid = self.phone.android.new_pid()
        self.phone.android.running[app.name] = app.pid
        self.phone.clock.spend(_START_NS + made.pages * NS_PER_US)
        return app.area

    def _reads_4k(self, backing: str) -> int:
        disk = self.phone.disks.get(backing)
        return disk.reads if disk else 0

    def _dwell(self, dwell_ms: int) -> None:
        assert self._made
        clock = self.phone.clock
        until_ns = clock.now_ns + dwell_ms * NS_PER_MS
        away = sorted((app for app in self._apps() if app.pid and app is not self._front), key=lambda app: -app.left_ns)
        for app in away[1:]:
            if app.area and not app.compacted and clock.now_ns - app.left_ns >= self._made.compact_ns:
                self.phone.memory.swap_out(app.area)
                app.compacted = True
                self._compactions += 1
        self._daemon.pause()
        self.catch_up()
        clock.spend(max(0, until_ns - clock.now_ns), busy=False)
        self.catch_up()
        self._watch()

    def _watch(self) -> None:
        """Take note of apps that were killed: their process is not in the phone's list any more."""
        for number, app in enumerate(self._apps()):
            if app.pid and self.phone.android.running.get(app.name) != app.pid:
                self._deaths.append([number, self.phone.clock.now_ns, app.pid, _SIGKILL])
                self._bury(app)

    def _bury(self, app: _App) -> None:
        if app.area:
            self.phone.memory.drop(app.area)
        if app.pid and self.phone.android.running.get(app.name) == app.pid:
            del self.phone.android.running[app.name]
        app.pid, app.area = 0, None

    def _end(self, call: Call) -> Fields:
        running = [app for app in self._apps() if app.pid]
        for app in running:
            self._bury(app)
        self._made = self._front = None
        self._deaths, self._compactions = [], 0
        return {"ended": len(running)}

    def _sample_start(self, call: Call) -> Fields:
        interval_ms, seconds = call.number("interval_ms"), call.number("duration_s")
        if self._sampler:
            raise ProbeRefusal("EALREADY", "the sampler runs")
        if not 10 <= interval_ms <= 60000:
            raise ProbeRefusal("", f"interval_ms={interval_ms}: expected 10 to 60000")
        if not seconds or seconds * 1000 // interval_ms + 2 > _MOST_SAMPLES:
            raise ProbeRefusal("", f"duration_s={seconds}: more than {_MOST_SAMPLES} samples")
        number, now_ns = call.number("zram"), self.phone.clock.now_ns
        if self.phone.read(path := f"/sys/block/zram{number}/mm_stat") is None:
            raise ProbeRefusal("ENOENT", f"open {path}")
        sampler = _Sampler(
            number, interval_ms * NS_PER_MS, call.text("disk"), call.text("backing"), now_ns, next_ns=now_ns
        )  # fmt: skip
        sampler.before = self._totals(sampler)
        self._sampler = sampler
        return {"t_ns": now_ns}

    def _look(self, sampler: _Sampler) -> tuple[int, ...]:
        meminfo = dict(line.split()[:2] for line in (self.phone.read("/proc/meminfo") or "").splitlines())
        used = int(meminfo["SwapTotal:"]) - int(meminfo["SwapFree:"])
        mm = self.phone.numbers(f"/sys/block/zram{sampler.number}/mm_stat")
        backed = self.phone.bd_stat(sampler.number)[0]
        return (sampler.next_ns, int(meminfo["MemAvailable:"]), mm[2] // 1024, used, backed, 0, 0)

    def _totals(self, sampler: _Sampler) -> dict[str, Any]:
        disks = self.phone.disks
        disk, backing = disks.get(sampler.disk), disks.get(sampler.backing)
        memory = self.phone.memory
        return {
            "bd": self.phone.bd_stat(sampler.number),
            "disk_written_sectors": disk.writes * SECTORS_PER_4K if disk else 0,
            "backing_written_sectors": backing.writes * SECTORS_PER_4K if backing else 0,
            "backing_read_sectors": backing.reads * SECTORS_PER_4K if backing else 0,
            "pswpin": memory.swapped_in, "pswpout": memory.swapped_out,
            **dict(refault=memory.swapped_in, refault_anon=memory.swapped_in),
        }  # fmt: skip

    def _sample_stop(self, call: Call) -> Fields:
        self.catch_up()
        sampler = self._sampler
        if sampler is None:
            raise ProbeRefusal("", "the sampler does not run")
        self._sampler = None
        before, after = sampler.before, self._totals(sampler)
        wall_ns = self.phone.clock.now_ns - sampler.begin_ns
        fields = {
            "wall_ns": wall_ns, "cpu_ns": len(sampler.rows) * 50 * NS_PER_US, "samples": len(sampler.rows),
            "missed": 0, "bd_before": before.pop("bd"), "bd_after": after.pop("bd"),
            **{name: after[name] - before[name] for name in before}, **dict.fromkeys(_STILL, 0),
        }  # fmt: skip
        rows: npt.NDArray[np.void] = np.array(sampler.rows, MEMORY_SAMPLE)
        self.phone.write_out(call.text("out"), rows.tobytes(), fields)
        return fields
