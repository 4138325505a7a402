"""The fake probe's ``reads``: small files are read while pages are written back, as probe/reads.c does it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from base.units import NS_PER_US
from devices.fake.android import Refused
from devices.fake.content import Numbers
from devices.fake.memory import FakeArea
from devices.fake.probe_grammar import Call, ProbeRefusal
from devices.fake.records import SAMPLE

if TYPE_CHECKING:
    from devices.fake.probe_memory import ProbeMemory

# What a read takes that waits for nobody.
READ_NS = 8 * NS_PER_US
_MOST_FILES, _MOST_READS, _LONGEST_PAUSE_US = 8, 1_000_000, 10_000_000
_LONGEST_TEXT = 15
_ALONE, _DURING = 0, 1


@dataclass
class _Reader:
    """The thread that reads one file; ``samples`` are times, durations, the file's number, labels and 0."""

    which: int
    most: int
    pause_us: int
    drawn: random.Random
    next_ns: int = 0
    samples: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    def pause(self, now_ns: int) -> None:
        self.next_ns = now_ns + self.drawn.randint(0, self.pause_us) * NS_PER_US

    def read(self, waits_ns: int, label: int) -> None:
        took_ns = waits_ns + READ_NS
        self.samples.append((self.next_ns, took_ns, self.which, label, 0))
        self.pause(self.next_ns + took_ns)

    def during(self, begin_ns: int, end_ns: int, *, held_up: bool) -> None:
        """Read while one writeback runs."""
        self.next_ns = max(self.next_ns, begin_ns)
        self.pause_us = (end_ns - begin_ns) // NS_PER_US
        while len(self.samples) < self.most and self.next_ns < end_ns:
            self.read(held_up * (end_ns - self.next_ns), _DURING)


def reads(memory: ProbeMemory, call: Call) -> dict[str, Any]:
    """Carry out the command."""
    phone, clock, number = memory.phone, memory.phone.clock, call.number("zram")
    area, files = _checked(memory, call)
    pages = memory.writable_pages(area, number)
    pages = pages[np.argsort(area.slot[pages])]
    before, zram = phone.bd_stat(number), phone.zrams[number]
    readers = [
        _Reader(which, call.number("reads"), call.number("pause_us"), random.Random(call.number("seed") + which))
        for which in range(files)
    ]
    for reader in readers:
        reader.pause(clock.now_ns)
    done = calls = in_calls_ns = 0
    if call.text("writer") == "none":
        for reader in readers:
            while len(reader.samples) < reader.most:
                reader.read(0, _ALONE)
        clock.now_ns = max(reader.next_ns for reader in readers)
        pages = pages[:0]
    while done < len(pages):
        begin_ns = clock.now_ns
        done += _write(memory, call, area, pages[done : done + call.number("call_pages")])
        calls, in_calls_ns = calls + 1, in_calls_ns + clock.now_ns - begin_ns
        for reader in readers:
            reader.during(begin_ns, clock.now_ns, held_up=zram.holds_up)
    samples = [sample for reader in readers for sample in reader.samples]
    fields: dict[str, Any] = {
        "samples": len(samples), "during": sum(sample[3] for sample in samples), "pages": done,
        "calls": calls, "in_calls_ns": in_calls_ns, "bd_before": before, "bd_after": phone.bd_stat(number),
    }  # fmt: skip
    phone.write_out(call.text("out"), np.array(samples, SAMPLE).tobytes(), fields)
    return fields


def _checked(memory: ProbeMemory, call: Call) -> tuple[FakeArea, int]:
    """The area, and how many files are read."""
    most, pause_us, files = call.number("reads"), call.number("pause_us"), call.text("files").split(",")
    if not 0 < most <= _MOST_READS or pause_us > _LONGEST_PAUSE_US or not call.number("call_pages"):
        expected = f"reads=1 to {_MOST_READS}, pause_us= to {_LONGEST_PAUSE_US}, and call_pages= from 1"
        raise ProbeRefusal("", f"expected {expected}")
    area = memory.area(call.text("name"))
    for count, item in enumerate(files):
        if count == _MOST_FILES:
            raise ProbeRefusal("", f"files: more than {_MOST_FILES}")
        path, written, text = item.partition("=")
        if written and not 0 < len(text) <= _LONGEST_TEXT:
            raise ProbeRefusal("", f"files: {path}=, and 1 to {_LONGEST_TEXT} bytes to be written")
        if path not in memory.phone.files:
            raise ProbeRefusal("ENOENT", f"open {path}")
    return area, len(files)


def _write(memory: ProbeMemory, call: Call, area: FakeArea, pages: Numbers) -> int:
    """Write so many of these pages back as one call takes; return how many."""
    from devices.fake.probe_memory import WRITTEN_BACK, compose

    text, count = compose(area, pages, single=call.text("grammar") == "page_index")
    try:
        memory.phone.zrams[call.number("zram")].write("writeback", text)
    except Refused as refused:
        raise ProbeRefusal.of_kernel(refused, f"writeback of {count} pages") from refused
    area.label[pages[:count]] = WRITTEN_BACK
    return count
