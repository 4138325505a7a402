"""The fake probe's daemon: it has zram write back at the moments when Android's own daemons do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from base.units import NS_PER_MS, NS_PER_S
from devices.fake.android import Refused
from devices.fake.memory import FakeArea
from devices.fake.probe_grammar import Call, ProbeRefusal
from devices.fake.records import ROUND
from devices.zram import errno_of

if TYPE_CHECKING:
    from devices.fake.phone import FakePhone

Fields = dict[str, Any]
_NO_LIMIT = 2**64 - 1
_NUMBERS = {"EIO": 5, "EINVAL": 22, "ENOSPC": 28, "ENODEV": 19}
_MARKS = {"idle": "by age", "background": "slots of the process", "periodic": "all, one round before"}


@dataclass
class _Running:
    number: int
    trigger: str
    limit_4k: int
    left_4k: int
    age_s: int
    delay_ns: int
    every_ns: int
    last_ns: int
    front: int = 0
    paused: bool = False
    left: dict[int, int] = field(default_factory=dict)
    rounds: list[tuple[int, int, int, int]] = field(default_factory=list)
    failure: str = ""
    failed: int = 0
    limited: int = 0


class ProbeDaemon:
    """At most one runs. ``area_of`` gives the memory of a process."""

    def __init__(self, phone: FakePhone, area_of: Callable[[int], FakeArea | None]) -> None:
        self.phone, self._area_of = phone, area_of
        self._one: _Running | None = None
        self.commands: dict[str, Callable[[Call], Fields]] = {
            "daemon-start": self._start, "daemon-stop": self._stop, "daemon-front": self._front,
            "daemon-pause": self._pause,
        }  # fmt: skip

    def end(self) -> None:
        self._one = None

    def front(self, pid: int) -> None:
        """A process came to the front; the one that was there has left it."""
        if one := self._one:
            one.left.pop(pid, None)
            if one.front and one.front != pid:
                one.left[one.front] = self.phone.clock.now_ns + one.delay_ns
            one.front = pid

    def pause(self) -> None:
        """The user does nothing for a moment."""
        if self._one:
            self._one.paused = True

    def catch_up(self) -> None:
        """Do what is due."""
        one, now_ns = self._one, self.phone.clock.now_ns
        if one is None:
            return
        if one.trigger == "background":
            for pid in [pid for pid, due_ns in one.left.items() if due_ns <= now_ns]:
                self._write_back_process(one, pid)
            return
        due = now_ns >= one.last_ns + one.every_ns
        if due and (one.trigger == "periodic" or one.paused):
            self._round(one, lambda: self._write_back_idle(one))
            one.last_ns = self.phone.clock.now_ns
        one.paused = False

    def _write_back_process(self, one: _Running, pid: int) -> None:
        area = self._area_of(pid)
        slots = np.sort(area.slot[area.swapped]).tolist() if area else []
        if not slots and area:
            return
        del one.left[pid]
        if slots:
            text = " ".join(f"page_index={slot}" for slot in slots)
            self._round(one, lambda: self.phone.write(f"{self._folder(one)}writeback", text))

    def _write_back_idle(self, one: _Running) -> None:
        zram = self._folder(one)
        if one.trigger == "idle":
            self.phone.write(f"{zram}idle", str(one.age_s))
        self.phone.write(f"{zram}writeback", "idle")
        if one.trigger == "periodic":
            self.phone.write(f"{zram}idle", "all")

    def _round(self, one: _Running, work: Callable[[], None]) -> None:
        limit = min(one.limit_4k, one.left_4k)
        if not limit:
            return
        zram, begin_ns, errno = self._folder(one), self.phone.clock.now_ns, ""
        self.phone.write(f"{zram}writeback_limit", str(limit))
        self.phone.write(f"{zram}writeback_limit_enable", "1")
        before = self.phone.bd_stat(one.number)[2]
        try:
            work()
        except Refused as refused:
            errno = errno_of(str(refused)) or "EINVAL"
            spent = errno == "EIO" and self.phone.read(f"{zram}writeback_limit") == "0"
            one.limited += spent
            one.failed += not spent
            one.failure = one.failure if spent else f"writeback of zram{one.number}: {refused}"
        pages = self.phone.bd_stat(one.number)[2] - before
        one.left_4k -= min(pages, one.left_4k)
        one.rounds.append((begin_ns, self.phone.clock.now_ns, pages, _NUMBERS.get(errno, 0)))

    def _folder(self, one: _Running) -> str:
        return f"/sys/block/zram{one.number}/"

    def _start(self, call: Call) -> Fields:
        trigger, age_s = call.text("trigger"), call.number("age_s", 1)
        if self._one:
            raise ProbeRefusal("EALREADY", "the daemon runs")
        if not 1 <= age_s < 2**32:
            raise ProbeRefusal("", "age_s, delay_ms, period_ms: out of range")
        if not call.number("limit_4k"):
            raise ProbeRefusal("", f"limit_4k={call.number('limit_4k')}: less than a page")
        number = call.number("zram")
        self.phone.bd_stat(number)
        self.phone.write(f"/sys/block/zram{number}/idle", str(age_s) if trigger == "idle" else "all")
        every_ns = call.number("period_ms", 1000) * NS_PER_MS if trigger == "periodic" else age_s * NS_PER_S
        self._one = _Running(
            number, trigger, call.number("limit_4k"), call.number("total_4k", _NO_LIMIT), age_s,
            call.number("delay_ms") * NS_PER_MS, every_ns, self.phone.clock.now_ns,
        )  # fmt: skip
        return {"marks": _MARKS[trigger]}

    def _stop(self, call: Call) -> Fields:
        one = self._one
        if one is None:
            raise ProbeRefusal("", "the daemon does not run")
        self._one = None
        zram = self._folder(one)
        self.phone.write(f"{zram}writeback_limit_enable", "0")
        self.phone.write(f"{zram}writeback_limit", "0")
        fields: Fields = {
            "rounds": len(one.rounds), "recorded": len(one.rounds), "written_4k": sum(r[2] for r in one.rounds),
            "limited": one.limited, "failed": one.failed, "spent": int(not one.left_4k),
            **({"failure": one.failure} if one.failed else {}),
        }  # fmt: skip
        rounds: npt.NDArray[np.void] = np.array(one.rounds, ROUND)
        self.phone.write_out(call.text("out"), rounds.tobytes(), fields)
        return fields

    def _front(self, call: Call) -> Fields:
        if not 0 < call.number("pid") < 2**31:
            raise ProbeRefusal("", f"pid={call.number('pid')}: not one")
        self.front(call.number("pid"))
        return {}

    def _pause(self, call: Call) -> Fields:
        self.pause()
        return {}
