"""The fake probe's pages: areas in memory, pages of block devices, and where zram has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from base.kernel import PAGE_4K
from base.units import NS_PER_US
from devices.fake.android import Refused
from devices.fake.content import (
    CONTENT,
    BadMix,
    Contents,
    Numbers,
    count_kinds,
    draw,
    findings,
    has_object,
    make_contents,
    parse_mix,
)
from devices.fake.memory import FakeArea
from devices.fake.probe_grammar import Call, ProbeRefusal
from devices.fake.records import SAMPLE
from devices.fake.zram import FakeZram

if TYPE_CHECKING:
    from devices.fake.phone import FakePhone

Fields = dict[str, Any]
IN_RAM, WRITTEN_BACK = 0, 1
NOT_SWAPPED = np.uint64(2**64 - 1)
_MOST_AREAS, _SPARE_KIB, _NAME_BYTES, _CALL_BYTES, _ITEM_BYTES = 64, 64 * 1024, 32, 4095, 40
_TRIES, _PAUSE_NS = 20, 10_000 * NS_PER_US


@dataclass(frozen=True, slots=True)
class _Device:
    """Pages that are written and read by number: a zram's slots, or those of another device or of a file."""

    path: str
    zram: FakeZram | None
    stored: Contents

    @property
    def pages(self) -> int:
        return self.zram.size if self.zram else len(self.stored)

    def write(self, pages: Numbers, contents: Contents) -> None:
        if self.zram:
            self.zram.store(pages, contents)
        else:
            self.stored[pages] = contents

    def read(self, pages: Numbers) -> Contents:
        if self.zram is None:
            return self.stored[pages]
        for page in pages.tolist():
            self.zram.clock.now_ns += self.zram.load(page)
        return self.zram.content[pages]


class ProbeMemory:
    """All commands on pages but ``race`` and ``reads``."""

    def __init__(self, phone: FakePhone) -> None:
        from devices.fake.probe_race import race
        from devices.fake.probe_reads import reads

        self.phone = phone
        self.areas: dict[str, FakeArea] = {}
        self.commands = {
            "fill": self._fill, "verify": self._verify, "corrupt": self._corrupt, "free": self._free,
            "drop": self._drop, "pageout": self._pageout, "slots": self._slots, "writeback": self._writeback,
            "touch": self._touch, "race": lambda call: race(self, call),
            "reads": lambda call: reads(self, call),
        }  # fmt: skip

    def end(self) -> None:
        """The process ends: its memory is free again."""
        for area in self.areas.values():
            self.phone.memory.drop(area)
        self.areas = {}

    def area(self, name: str) -> FakeArea:
        """Return the area of a name."""
        if name not in self.areas:
            raise ProbeRefusal("", f"name={name}: there is no such area")
        return self.areas[name]

    def _fill(self, call: Call) -> Fields:
        mix, seed, begin_ns = _mix(call), call.number("seed"), self.phone.clock.now_ns
        if call.form == "name":
            self._check_new(call.text("name"), call.number("bytes"))
            made = make_contents(mix, seed, np.arange(call.number("bytes") // PAGE_4K))
            self.areas[call.text("name")] = self.phone.memory.make(made)
        else:
            device = self._device(call, exclusive=True)
            pages = self._selected(call, device)
            made = make_contents(mix, seed, pages)
            device.write(pages, made)
        self.phone.clock.spend(len(made) * NS_PER_US)
        return {**count_kinds(made), "wall_ns": self.phone.clock.now_ns - begin_ns}

    def _check_new(self, name: str, size: int) -> None:
        meminfo = dict(line.split()[:2] for line in (self.phone.read("/proc/meminfo") or "").splitlines())
        left_kib = int(meminfo.get("MemAvailable:", 0)) + int(meminfo.get("SwapFree:", 0))
        if len(self.areas) == _MOST_AREAS:
            raise ProbeRefusal("", f"there are {_MOST_AREAS} areas already")
        if len(name) >= _NAME_BYTES:
            raise ProbeRefusal("", f"name={name}: longer than {_NAME_BYTES - 1} characters")
        if name in self.areas:
            raise ProbeRefusal("EEXIST", f"name={name}")
        if not size or size % PAGE_4K or size // PAGE_4K > 2**32 - 1:
            raise ProbeRefusal("", f"bytes={size}: expected a multiple of the page size, {PAGE_4K}")
        if size // 1024 + _SPARE_KIB > left_kib:
            raise ProbeRefusal(
                "ENOMEM",
                f"bytes={size}: MemAvailable and SwapFree are {left_kib} KiB, of which {_SPARE_KIB} are spared",
            )

    def _device(self, call: Call, *, exclusive: bool) -> _Device:
        path = self.phone.links.get(call.text("path"), call.text("path"))
        zram = self.phone.memory.zram_of(path)
        disk = self.phone.disk_at(path)
        if zram is None and disk is None and path not in self.phone.files:
            raise ProbeRefusal("ENOENT", path)
        if exclusive and (path in self.phone.swaps or f"{path} " in self.phone.files["/proc/mounts"]):
            raise ProbeRefusal("EBUSY", f"open {path}")
        if zram is None and path not in self.phone.stored:
            size = disk.size_bytes if disk else int(self.phone.files[path].split()[0])
            self.phone.stored[path] = np.zeros(size // PAGE_4K, CONTENT)
        return _Device(path, zram, self.phone.stored.get(path, np.zeros(0, CONTENT)))

    def _selected(self, call: Call, device: _Device) -> Numbers:
        lo, hi = call.number("lo"), call.number("hi")
        count = hi - lo + 1
        pick = call.number("pick", count)
        if lo > hi or hi >= device.pages or hi > 2**32 - 1:
            raise ProbeRefusal("", f"lo={lo} hi={hi}: expected lo <= hi < {device.pages}, the pages of the device")
        if not 0 < pick <= count:
            raise ProbeRefusal("", f"pick={pick}: expected 1 to {count}")
        if ("pick" in call) != ("pick_seed" in call):
            raise ProbeRefusal("", "pick and pick_seed go together")
        pages = np.arange(lo, hi + 1)
        return draw(pages, pick, call.number("pick_seed")) if "pick" in call else pages

    def _verify(self, call: Call) -> Fields:
        begin_ns = self.phone.clock.now_ns
        if call.form == "name":
            area = self.area(call.text("name"))
            self.phone.memory.read(area, np.arange(len(area.filled)))
            area.label[:] = IN_RAM
            found = findings(area.filled, area.contents)
        else:
            mix, device = _mix(call), self._device(call, exclusive=False)
            pages = np.sort(self._selected(call, device))
            found = findings(make_contents(mix, call.number("seed"), pages), device.read(pages))
        return {**found, "wall_ns": self.phone.clock.now_ns - begin_ns}

    def _corrupt(self, call: Call) -> Fields:
        page = call.number("page")
        if call.form == "name":
            name, area = call.text("name"), self.area(call.text("name"))
            _check_page(page, name, len(area.filled))
            self.phone.memory.read(area, np.array([page]))
            area.contents["damaged"][page] ^= 1
            area.label[page] = IN_RAM
            return {}
        device = self._device(call, exclusive=True)
        _check_page(page, device.path, device.pages)
        content = device.read(np.array([page])).copy()
        content["damaged"] ^= 1
        device.write(np.array([page]), content)
        return {}

    def _free(self, call: Call) -> Fields:
        device = self._device(call, exclusive=True)
        pages = self._selected(call, device)
        if device.zram is None:
            raise ProbeRefusal("ENOTTY", f"BLKDISCARD page {pages[0]} of {device.path}")
        device.zram.discard(pages)
        return {"pages": len(pages)}

    def _drop(self, call: Call) -> Fields:
        self.phone.memory.drop(self.area(call.text("name")))
        del self.areas[call.text("name")]
        return {}

    def _pageout(self, call: Call) -> Fields:
        area, begin_ns = self.area(call.text("name")), self.phone.clock.now_ns
        most, tries = call.number("tries", _TRIES), 0
        while tries < most and not area.swapped.all():
            tries += 1
            self.phone.clock.spend(_PAUSE_NS, busy=False)
            self.phone.memory.swap_out(area)
        swapped = int(area.swapped.sum())
        wall_ns = self.phone.clock.now_ns - begin_ns
        return {"pages": len(area.filled), "swapped": swapped, "tries": tries, "wall_ns": wall_ns}

    def _slots(self, call: Call) -> Fields:
        area = self.area(call.text("name"))
        slots = area.slot[area.swapped]
        types = sorted({list(self.phone.swaps).index(name) for name in area.swap if name})
        lo, hi = (int(slots.min()), int(slots.max())) if len(slots) else (None, None)
        fields = {"pages": len(area.filled), "swapped": len(slots), "swap_types": types, "lo": lo, "hi": hi}
        if "out" in call:
            told = np.where(area.swapped, area.slot.astype(np.uint64), NOT_SWAPPED)
            self.phone.write_out(call.text("out"), told.astype("<u8").tobytes(), fields)
        return fields

    def writable_pages(self, area: FakeArea, number: int) -> Numbers:
        """Return the pages of an area that lie in a RAM slot of this zram and can be written back."""
        name = next((name for name in self.phone.swaps if name.endswith(f"/zram{number}")), None)
        if name is None:
            raise ProbeRefusal("", f"zram{number} is no active swap device")
        here = np.array([there == name for there in area.swap])
        return np.flatnonzero(here & (area.label != WRITTEN_BACK) & has_object(area.filled))

    def _writeback(self, call: Call) -> Fields:
        area, number, clock = self.area(call.text("name")), call.number("zram"), self.phone.clock
        pages = self.writable_pages(area, number)
        pick = call.number("pick", len(pages))
        if "pick" in call and "pick_seed" not in call:
            raise ProbeRefusal("", "pick: needs pick_seed")
        if not 0 < pick <= len(pages):
            raise ProbeRefusal("", f"pick={pick}: {len(pages)} pages of {call.text('name')} can be written back")
        pages = draw(pages, pick, call.number("pick_seed"))
        if call.text("order", "random") == "sequential":
            pages = pages[np.argsort(area.slot[pages])]
        before, begin_ns, busy_ns = self.phone.bd_stat(number), clock.now_ns, clock.busy_ns
        grammar = call.text("grammar", "auto")
        done, calls, grammar, refused = self._write_calls(area, number, pages, grammar)
        after = self.phone.bd_stat(number)
        fields = {
            "requested": pick, "accepted": done, "written": after[2] - before[2], "calls": calls, "grammar": grammar,
            "wall_ns": clock.now_ns - begin_ns, "user_ns": 0, "sys_ns": clock.busy_ns - busy_ns, "bd_before": before,
            "bd_after": after,
        }  # fmt: skip
        if refused:
            path = f"/sys/block/zram{number}/writeback"
            raise ProbeRefusal.of_kernel(refused, f"{path} after {done} of {pick} pages", fields)
        return fields

    def _write_calls(
        self, area: FakeArea, number: int, pages: Numbers, grammar: str
    ) -> tuple[int, int, str, Refused | None]:
        """Give the pages to zram. Return how many it took, in how many calls, how they were named, and its refusal."""
        done = calls = 0
        while done < len(pages):
            text, count = compose(area, pages[done:], single=grammar == "page_index")
            try:
                self.phone.zrams[number].write("writeback", text)
            except Refused as refused:
                if str(refused) == "Invalid argument" and grammar == "auto":
                    grammar = "page_index"
                    continue
                return done, calls, _told(grammar), refused
            grammar = "page_indexes" if grammar == "auto" and count > 1 else grammar
            area.label[pages[done : done + count]] = WRITTEN_BACK
            done, calls = done + count, calls + 1
        return done, calls, _told(grammar), None

    def _touch(self, call: Call) -> Fields:
        area, clock = self.area(call.text("name")), self.phone.clock
        total = len(area.filled)
        count = call.number("pages", total)
        if not 0 < count <= total:
            raise ProbeRefusal("", f"pages={count}: {call.text('name')} has {total}")
        pages = np.arange(total)
        pages = draw(pages, count, call.number("seed")) if call.text("order") == "random" else pages[:count]
        number = call.number("zram") if "zram" in call else None
        before = self.phone.bd_stat(number) if number is not None else []
        begin_ns, busy_ns, swapped = clock.now_ns, clock.busy_ns, area.swapped[pages]
        samples = self.sample(area, pages)
        fields: Fields = {
            "samples": count, "not_swapped": int((~swapped).sum()), "majflt": int(swapped.sum()), "minflt": 0,
            "wall_ns": clock.now_ns - begin_ns, "user_ns": 0, "sys_ns": clock.busy_ns - busy_ns,
        }  # fmt: skip
        if number is not None:
            fields |= {"bd_before": before, "bd_after": self.phone.bd_stat(number)}
        self.phone.write_out(call.text("out"), samples.tobytes(), fields)
        return fields

    def sample(self, area: FakeArea, pages: Numbers) -> npt.NDArray[np.void]:
        """Read pages in this order; return a record of each. Labels are taken back."""
        samples = np.zeros(len(pages), SAMPLE)
        samples["page"] = pages
        samples["label"] = np.where(area.swapped[pages], area.label[pages], IN_RAM)
        timed = np.array(self.phone.memory.read(area, pages), np.uint64).reshape(-1, 2)
        samples["t_ns"], samples["ns"] = timed[:, 0], timed[:, 1]
        area.label[pages] = IN_RAM
        return samples


def compose(area: FakeArea, pages: Numbers, *, single: bool) -> tuple[str, int]:
    """Return the text of one call and how many pages it names; neighbouring slots go as a range."""
    slots = area.slot[pages].tolist()
    if single:
        return f"page_index={slots[0]}", 1
    text, at = "", 0
    while at < len(slots) and len(text) + _ITEM_BYTES < _CALL_BYTES:
        run = 1
        while at + run < len(slots) and slots[at + run] == slots[at] + run:
            run += 1
        blank = " " if text else ""
        text += f"{blank}page_index={slots[at]}" if run == 1 else (
            f"{blank}page_indexes={slots[at]}-{slots[at] + run - 1}"
        )  # fmt: skip
        at += run
    return text, at


def _told(grammar: str) -> str:
    return "page_indexes" if grammar == "page_indexes" else "page_index"


def _mix(call: Call) -> Any:
    try:
        return parse_mix(call.text("mix"))
    except BadMix as bad:
        raise ProbeRefusal("", str(bad)) from bad


def _check_page(page: int, name: str, pages: int) -> None:
    if page >= pages:
        raise ProbeRefusal("", f"page={page}: {name} has {pages} pages")
