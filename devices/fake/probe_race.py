"""The fake probe's ``race``: pages are touched while others are written back, as probe/race.c does it.

The fake knows of each page of the victim where it was; what the probe takes it for can be wrong, as it can be on a
phone, where the backing device's counters tell a little too early or too late.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from devices.fake.android import Refused
from devices.fake.content import draw
from devices.fake.memory import FakeArea
from devices.fake.probe_grammar import Call, ProbeRefusal
from devices.fake.storage import FakeDisk, Writes
from devices.fake.zram import FakeZram

if TYPE_CHECKING:
    from devices.fake.probe_memory import ProbeMemory

IN_FLIGHT, LATE, VICTIM = 2, 3, 4
LABELS = {"ram": 0, "written_back": 1, "in_flight": IN_FLIGHT, "late": LATE, "victim": VICTIM}
_WHOLE = 100


@dataclass
class RaceTruth:
    """How well the probe aims and sees. Tests set it; ``late_ns`` is what really came from storage.

    Each ``late_every``-th victim (0: none) is one whose write is done already. Of these ``missed`` are taken for pages
    in flight; ``imagined`` pages in flight are taken for late ones. Both are used up.
    """

    late_every: int = 5
    missed: int = 0
    imagined: int = 0
    late_ns: list[int] = field(default_factory=list)
    in_flight_ns: list[int] = field(default_factory=list)


@dataclass
class _Race:
    """One race. ``order`` are the victim's pages as zram writes them; ``writes`` False: none is written."""

    memory: ProbeMemory
    area: FakeArea
    victim: FakeArea
    zram: FakeZram
    truth: RaceTruth
    order: list[int]
    work: Writes
    writes: bool = True
    samples: list[Any] = field(default_factory=list)
    done_ns: dict[int, int] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    issued: int = 0
    next_victim: int = 0
    touched: int = 0
    refused: Refused | None = None

    def go_on(self, until_ns: int | None = None) -> None:
        """The writer issues what it can by then."""
        while self.writes and self.issued < len(self.order) and self.refused is None:
            page = self.order[self.issued]
            if page not in self.gone:
                if until_ns is not None and self.work.next_ns > until_ns:
                    return
                try:
                    self.done_ns[page] = self.zram.write_slot(self.work, int(self.victim.slot[page]))
                except Refused as refused:
                    self.refused = refused
                    return
                self.victim.label[page] = LABELS["written_back"]
            self.issued += 1

    @property
    def running(self) -> bool:
        """Whether there is something to race with; a writer that does not write lasts as long as the touches."""
        if not self.writes:
            return True
        now_ns = self.zram.clock.now_ns
        return self.refused is None and (self.issued < len(self.order) or self.work.done_by(now_ns) < len(self.done_ns))

    @property
    def flying(self) -> int:
        """How many writes are in flight now."""
        return len(self.done_ns) - self.work.done_by(self.zram.clock.now_ns)

    def touch_area(self, page: int) -> None:
        if self.area.swap[page]:
            ahead = self.flying
            sample = self.memory.sample(self.area, np.array([page]))[0]
            sample["ahead"] = ahead
            self.samples.append(sample)

    def touch_victim(self) -> None:
        """Aims at the middle of what is in flight; where nothing is written, at the next one."""
        if not self.writes:
            self._touch_next()
            return
        now_ns = self.zram.clock.now_ns
        done = self.work.done_by(now_ns)
        flying = self.flying
        at = done + flying // 2
        self.touched += 1
        page = None
        if self.truth.late_every and self.touched % self.truth.late_every == 0:
            page = self._written_before(at, now_ns)
        if page is None:
            if not flying or not self.next_victim <= at < len(self.order):
                return
            self.next_victim = at + 1
            page = self.order[at]
        late = self.done_ns.get(page, now_ns + 1) <= now_ns
        if not late and page in self.done_ns:
            self.zram.caught(int(self.victim.slot[page]))
        self.gone.add(page)
        sample = self.memory.sample(self.victim, np.array([page]))[0]
        sample["ahead"] = flying
        (self.truth.late_ns if late else self.truth.in_flight_ns).append(int(sample["ns"]))
        sample["label"] = LATE if self._seen_as_late(late) else IN_FLIGHT
        self.samples.append(sample)

    def _touch_next(self) -> None:
        if self.next_victim < len(self.order):
            sample = self.memory.sample(self.victim, np.array([self.order[self.next_victim]]))[0]
            sample["label"] = VICTIM
            self.samples.append(sample)
            self.next_victim += 1

    def corrupt(self) -> dict[str, int]:
        """Count by label the pages that did not hold what they should."""
        found = dict.fromkeys(LABELS, 0)
        names = {label: name for name, label in LABELS.items()}
        for sample in self.samples:
            area = self.area if sample["label"] < IN_FLIGHT else self.victim
            page = int(sample["page"])
            found[names[int(sample["label"])]] += bool(area.contents[page] != area.filled[page])
        return found

    def _written_before(self, at: int, now_ns: int) -> int | None:
        """The page whose write was done last, of those that nobody touched."""
        untouched = (page for page in reversed(self.order[:at]) if page not in self.gone)
        return next((page for page in untouched if self.done_ns.get(page, now_ns + 1) <= now_ns), None)

    def _seen_as_late(self, late: bool) -> bool:
        if late and self.truth.missed:
            self.truth.missed -= 1
            return False
        if not late and self.truth.imagined:
            self.truth.imagined -= 1
            return True
        return late


def race(memory: ProbeMemory, call: Call) -> dict[str, Any]:
    """Carry out the command."""
    phone, number, writer = memory.phone, call.number("zram"), call.text("writer", "write")
    if ("burn_percent" in call) != (writer == "burn") or call.number("burn_percent") > _WHOLE:
        raise ProbeRefusal("", "burn_percent: 0 to 100, with writer=burn and no other")
    one, disk = _prepare(memory, call)
    one.writes = writer == "write"
    before, begin_ns, busy_ns = phone.bd_stat(number), phone.clock.now_ns, phone.clock.busy_ns
    writes = disk.writes
    majflt = phone.memory.swapped_in
    order = draw(np.arange(len(one.area.filled)), len(one.area.filled), call.number("seed")).tolist()
    one.go_on(phone.clock.now_ns)
    for page in order:
        if not one.running:
            break
        one.touch_area(page)
        one.go_on(phone.clock.now_ns)
        if one.running:
            one.touch_victim()
            one.go_on(phone.clock.now_ns)
    one.go_on()
    one.work.end()
    wall_ns = phone.clock.now_ns - begin_ns
    phone.clock.busy_ns += (burnt_ns := wall_ns * call.number("burn_percent") // _WHOLE)
    seen = [int(sample["label"]) for sample in one.samples]
    fields: dict[str, Any] = {
        "samples": len(seen), **{name: seen.count(label) for name, label in LABELS.items()},
        "victims": len(one.order), "device_writes": disk.writes - writes,
        "majflt": phone.memory.swapped_in - majflt, "wall_ns": wall_ns, "user_ns": burnt_ns,
        "sys_ns": one.writes * (phone.clock.busy_ns - busy_ns), "calls": int(one.writes),
    }  # fmt: skip
    if one.refused:
        told = f"writeback after {len(one.done_ns)} of {len(one.order)} pages"
        raise ProbeRefusal.of_kernel(one.refused, told, fields)
    fields |= {"bd_before": before, "bd_after": phone.bd_stat(number), "corrupt": one.corrupt()}
    phone.write_out(call.text("out"), b"".join(sample.tobytes() for sample in one.samples), fields)
    return fields


def _prepare(memory: ProbeMemory, call: Call) -> tuple[_Race, FakeDisk]:
    from devices.fake.probe_memory import compose

    phone, number = memory.phone, call.number("zram")
    area, victim = memory.area(call.text("name")), memory.area(call.text("victim"))
    if area is victim:
        raise ProbeRefusal("", f"victim={call.text('victim')}: must be another area")
    pages = memory.writable_pages(victim, number)
    pages = pages[np.argsort(victim.slot[pages])]
    if not len(pages):
        raise ProbeRefusal("", f"victim={call.text('victim')}: no page that can be written back")
    single, order, at = call.text("grammar") == "page_index", [], 0
    while at < len(pages):
        count = compose(victim, pages[at:], single=single)[1]
        order += pages[at : at + count][::-1].tolist()
        at += count
    disk = phone.disk_named(call.text("disk"))
    zram = phone.zrams[number]
    return _Race(memory, area, victim, zram, phone.race, order, zram.begin()), disk
