"""The fake probe's ``hammer`` and what belongs to it: one after the other what a phone does at once."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from base.kernel import MAX_BATCH_SIZE, PAGE_4K
from base.units import NS_PER_S
from devices.fake.android import Refused
from devices.fake.content import BadMix, findings, make_contents, parse_mix
from devices.fake.memory import FakeArea
from devices.fake.probe_grammar import Call, ProbeRefusal
from devices.fake.zram import BACKED
from devices.zram import errno_of

if TYPE_CHECKING:
    from devices.fake.phone import FakePhone
    from devices.fake.probe_memory import ProbeMemory

Fields = dict[str, Any]
_OPERATIONS, _ROUNDS, _CLASH_PAGES = 400, 20, 8
_MOST_S, _STEP_BYTES, _MOST_STEPS, _MOST_LOOPS, _MOST_OTHERS = 600, 128, 6, 8, 8
_JOBS = {"readers": "reads", "writers": "writes", "freers": "frees", "clashers": "clashes", "pageouts": "pageouts_done"}


@dataclass
class _Step:
    phone: FakePhone
    text: str
    path: str
    value: str | None
    done: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def run(self, draw: random.Random, pages: int) -> str:
        """Carry it out; return the errno's name or ""."""
        page = draw.randrange(max(1, pages - 1))
        try:
            if self.path == "swapoff":
                self.phone.programs.run(("swapoff", self.value or ""))
            elif self.value is None:
                self.phone.read(self.path)
            else:
                value = self.value.replace("%", str(page)).replace("#", str(page + 1))
                self.phone.write(self.path, value)
        except Refused as refused:
            return errno_of(str(refused)) or "EINVAL"
        return ""

    def note(self, errno: str) -> None:
        self.done += not errno
        self.refused.update([errno] if errno else [])

    def told(self) -> Fields:
        return {"step": self.text, "done": self.done, "refused": dict(self.refused)}


class ProbeHammer:
    """Commands of many threads. Nothing happens at once here, so nothing can be torn."""

    def __init__(self, phone: FakePhone, memory: ProbeMemory) -> None:
        self.phone, self._memory = phone, memory
        self.commands = {
            "hammer": self._hammer, "poke": self._poke, "meanwhile": self._meanwhile, "blocks": self._blocks,
            "fs-shutdown": self._fs_shutdown,
        }  # fmt: skip

    def _step(self, text: str, number: int) -> _Step:
        name, colon, value = text.partition(":")
        if not name or len(text) >= _STEP_BYTES:
            raise ProbeRefusal(
                "", f"{text}: expected attribute:value or attribute, of less than {_STEP_BYTES} characters"
            )
        if name == "swapoff":
            return _Step(self.phone, text, name, value)
        path = name if name.startswith("/") else f"/sys/block/zram{number}/{name}"
        if path not in self.phone.files:
            raise ProbeRefusal("ENOENT", path)
        if name == "writeback_batch_size" and value.isdigit() and int(value) > MAX_BATCH_SIZE:
            raise ProbeRefusal(
                "", f"value={value}: refused, a batch of more than {MAX_BATCH_SIZE} may take the phone down"
            )
        return _Step(self.phone, text, path, value.replace("+", " ") if colon else None)

    def _loops(self, call: Call) -> list[list[_Step]]:
        loops = [loop.split(";") for loop in call.text("pokes").split(",") if loop]
        if len(loops) > _MOST_LOOPS:
            raise ProbeRefusal("", f"pokes: more than {_MOST_LOOPS} loops")
        if any(len(loop) > _MOST_STEPS for loop in loops):
            raise ProbeRefusal("", f"pokes: more than {_MOST_STEPS} steps in a loop")
        return [[self._step(text, call.number("zram")) for text in loop] for loop in loops]

    def _seconds(self, call: Call) -> int:
        seconds = call.number("duration_s")
        if not 1 <= seconds <= _MOST_S:
            raise ProbeRefusal("", f"duration_s={seconds}: expected 1 to {_MOST_S}")
        return seconds

    def _poke(self, call: Call) -> Fields:
        seconds, loops, draw = self._seconds(call), self._loops(call), random.Random(1)
        for _ in range(_ROUNDS):
            _round(loops, draw, call.number("pages"))
        self.phone.clock.spend(seconds * NS_PER_S, busy=False)
        return {"pokes": [step.told() for loop in loops for step in loop]}

    def _meanwhile(self, call: Call) -> Fields:
        number = call.number("zram")
        first = self._step(call.text("first"), number)
        texts = [text for text in call.text("others").split(",") if text]
        if len(texts) > _MOST_OTHERS:
            raise ProbeRefusal("", f"others: more than {_MOST_OTHERS}")
        others = [self._step(text, number) for text in texts]
        self.phone.disk_named(call.text("disk"))
        told = [self._timed(step) for step in (first, *others)]
        return {"under_way": 1, "first": told[0], "others": told[1:]}

    def _timed(self, step: _Step) -> Fields:
        began_ns = self.phone.clock.now_ns
        errno = step.run(random.Random(1), 0)
        return {"step": step.text, "began_ns": began_ns, "ended_ns": self.phone.clock.now_ns, "errno": errno}

    def _blocks(self, call: Call) -> Fields:
        path = self.phone.links.get(call.text("path"), call.text("path"))
        disk = self.phone.disk_at(path)
        if disk is None and path not in self.phone.files:
            raise ProbeRefusal("ENOENT", f"open {path}")
        blocks = (disk.size_bytes if disk else int(self.phone.files[path].split()[0])) // PAGE_4K
        used = sum(
            int(np.count_nonzero(zram.place == BACKED))
            for zram in self.phone.zrams.values()
            if zram.setting("backing_dev") == path
        )
        zeros = {"whole": used, "repeated": 0, "other": 0, "zero": blocks - used}
        return {"blocks": blocks, **zeros, "shortest_tail": PAGE_4K}

    def _fs_shutdown(self, call: Call) -> Fields:
        path = call.text("path")
        if not self.phone.has_folder(f"{path}/x"):
            raise ProbeRefusal("ENOENT", f"open {path}")
        raise ProbeRefusal("", f"{path}: refused, it is not on a loop device")

    def _hammer(self, call: Call) -> Fields:
        area = self._memory.area(call.text("name")) if call.form == "name" else None
        if area is None:
            self._check_path(call)
        before, seconds = self.phone.bd_stat(call.number("zram")), self._seconds(call)
        jobs = [done for key, done in _JOBS.items() for _ in range(call.number(key))]
        if not jobs:
            raise ProbeRefusal("", "no thread was asked for")
        loops, draw = self._loops(call), random.Random(1)
        done: Counter[str] = Counter()
        for at in range(_OPERATIONS):
            job = jobs[at % len(jobs)]
            done[job] += 1
            if area is None and job == "frees":
                self.phone.zrams[call.number("zram")].discard(np.array([draw.randrange(call.number("pages"))]))
            if at % (_OPERATIONS // _ROUNDS) == 0:
                _round(loops, draw, call.number("pages"))
        self.phone.clock.spend(seconds * NS_PER_S)
        counts = {name: done[name] for name in _JOBS.values()}
        found = self._read_again(call, area)
        return {
            **counts, "freed_pages": 0, "torn": 0, "failed": 0, "failed_errno": "", **found, "bd_before": before,
            "bd_after": self.phone.bd_stat(call.number("zram")),
            "pokes": [step.told() for loop in loops for step in loop],
        }  # fmt: skip

    def _check_path(self, call: Call) -> None:
        path, pages, piece = call.text("path"), call.number("pages"), call.number("piece", PAGE_4K)
        try:
            parse_mix(call.text("mix"))
        except BadMix as bad:
            raise ProbeRefusal("", str(bad)) from bad
        if not piece or PAGE_4K % piece:
            raise ProbeRefusal("", f"piece={piece}: expected a part of a page")
        zram = self.phone.memory.zram_of(path)
        if zram is None and path not in self.phone.files:
            raise ProbeRefusal("ENOENT", path)
        there = zram.size if zram else int(self.phone.files[path].split()[0]) // PAGE_4K
        if not _CLASH_PAGES < pages <= there:
            raise ProbeRefusal("", f"pages={pages}: expected more than {_CLASH_PAGES} and at most the pages of {path}")

    def _read_again(self, call: Call, area: FakeArea | None) -> Fields:
        """Read every page that holds something; the fake writes none anew, so each is as it was filled."""
        if area is not None:
            self.phone.memory.read(area, np.arange(len(area.filled)))
            return findings(area.filled, area.contents)
        zram = self.phone.memory.zram_of(call.text("path"))
        if zram is None:
            raise ProbeRefusal("", f"{call.text('path')}: the fake probe hammers zram devices only")
        pages = np.flatnonzero(zram.place[: call.number("pages")])
        for page in pages.tolist():
            self.phone.clock.now_ns += zram.load(page)
        made = make_contents(parse_mix(call.text("mix")), call.number("seed"), pages)
        return findings(made, zram.content[pages])


def _round(loops: list[list[_Step]], draw: random.Random, pages: int) -> None:
    for loop in loops:
        for step in loop:
            step.note(step.run(draw, pages))
