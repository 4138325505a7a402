"""A zram and a backing file of a check's own, and the steps that checks consist of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from base.deadline import Deadline, wait_until
from base.errors import DeviceTimeout
from devices.backing import loop_backing
from devices.capability import Capability
from devices.counters import BdStat, MmStat
from devices.device import Changes, Device
from devices.probe.commands import DevicePages
from devices.probe.hammering import Poke
from devices.probe.replies import WriteTimed
from devices.probe.session import PROBE_FOLDER
from devices.profiles.sections import BackingKind
from devices.transport import Exec
from devices.zram import hot_add, zram_numbers
from workloads.bench import Bench
from workloads.regression.findings import Findings
from workloads.stage import Stage

LIMIT_S = 120.0
"""longest that one step may take; a step that hangs in the kernel ends the run as a lost phone"""

_SETTLES_S = 3.0
ONLY_ONE = frozenset({"EAGAIN"})
"""what kernels from 6.12 to 6.19 say to a second writeback"""


def own_path(stage: Stage) -> str:
    """Return where the backing file of a check goes."""
    wanted = stage.profile.backing
    on_partition = wanted.kind is BackingKind.raw_partition
    return f"{PROBE_FOLDER}/regression" if on_partition else f"{wanted.path}_regression"


@contextmanager
def own_zram(bench: Bench, size_bytes: int, *, path: str | None = None, compressed: bool = False) -> Iterator[Bench]:
    """Yield the bench on a zram that nobody else has, where the kernel adds one, and a backing file of this size."""
    device = bench.stage.device
    with device.changes() as changes:
        backing = loop_backing(
            changes, path or own_path(bench.stage), size_bytes, block_size=bench.stage.profile.backing.block_size
        )
        yield bench.on(with_own_zram(changes, replace(bench.stage, backing=backing, compressed_writeback=compressed)))


def with_own_zram(changes: Changes, stage: Stage) -> Stage:
    """Return the stage with a zram added for this scope; without hot_add with the run's own."""
    if Capability.hot_add in stage.device.capabilities:
        return replace(stage, zram=hot_add(changes, zram_numbers(stage.device)))
    changes.will_undo(stage.zram.let_go())
    return stage


def has(bench: Bench, capability: Capability) -> bool:
    """Say whether the phone has it."""
    return capability in bench.stage.device.capabilities


def write_back(bench: Bench, what: str, *, mark: str | None = None, sample: bool = False) -> WriteTimed:
    """Mark pages idle if asked to, and write back by one write to the attribute."""
    zram = bench.stage.zram
    if mark is not None:
        zram.write("idle", mark)
    disks = [bench.stage.backing.name] if sample else []
    return bench.probe.write_timed(
        zram.attribute("writeback"), what, zram=zram.number, disks=disks, sample=sample, seconds=LIMIT_S
    )


def written(bench: Bench, found: Findings, reply: WriteTimed, pages: int, what: str = "pages written back") -> None:
    """Expect that a writeback succeeded and wrote so many pages."""
    found.same("errno of writeback", "", reply.errno)
    found.expect(what, pages, bench.stage.pages_4k(reply.written_4k))


def verify(bench: Bench, found: Findings, pages: DevicePages, mix: str, seed: int) -> int:
    """Read pages, expect each as it was written, and return how many were read from the backing device."""
    before = bench.stage.zram.bd_stat()
    seen = bench.probe.verify_device(pages, mix=mix, seed=seed, seconds=LIMIT_S)
    found.none("corrupt pages", seen.corrupt)
    found.facts["pages compared"] = found.facts.get("pages compared", 0) + seen.pages
    if seen.corrupt:
        found.wrong.append(f"first corrupt: {seen.first_corrupt} (zeroed {seen.zeroed}, another page {seen.misplaced})")
    return bench.stage.pages_4k(bench.stage.zram.bd_stat().reads_4k - before.reads_4k)


def fill(bench: Bench, pages: DevicePages, mix: str, seed: int) -> int:
    """Write pages and return how many of them zram can write back."""
    return bench.probe.fill_device(pages, mix=mix, seed=seed, seconds=LIMIT_S).stored


def span(bench: Bench, lo: int, hi: int, *, pick: int | None = None, seed: int | None = None) -> DevicePages:
    """Return pages of the check's zram, both ends among them."""
    return DevicePages(bench.stage.zram.node, lo, hi, pick, seed)


def in_use(bench: Bench) -> int:
    """Return how many blocks of the backing device zram counts as used, in the phone's pages."""
    return bench.stage.pages_4k(bench.stage.zram.bd_stat().count_4k)


def books(bench: Bench) -> tuple[BdStat, MmStat]:
    """Return what zram counts, read in one trip."""
    values = bench.stage.zram.read_many("bd_stat", "mm_stat")
    return BdStat.parse(values["bd_stat"] or ""), MmStat.parse(values["mm_stat"] or "")


def free_all(bench: Bench, found: Findings, pages: int) -> None:
    """Discard all pages and expect that nothing is left of them: no block, no object, no count."""
    bench.probe.free(span(bench, 0, pages - 1), seconds=LIMIT_S)
    found.none("blocks in use after all was freed", in_use(bench))

    def empty() -> bool:
        return books(bench)[1].mem_used_total == 0

    try:
        # The memory of objects is given back by a worker.
        wait_until("memory given back", empty, Deadline.after(_SETTLES_S))
    except DeviceTimeout:
        found.none("bytes of memory still used after all was freed", books(bench)[1].mem_used_total)
    mm = books(bench)[1]
    left = (mm.orig_data_size, mm.compr_data_size, mm.same_pages, mm.huge_pages or 0)
    found.same("mm_stat after all was freed (orig, compr, same, huge)", (0, 0, 0, 0), left)


def refused_otherwise(found: Findings, pokes: Sequence[Poke], *allowed: str) -> None:
    """Expect no refusal of a writeback but these and that another one runs."""
    for poke in pokes:
        if poke.step.startswith("writeback:"):
            others = {errno: count for errno, count in poke.refused.items() if errno not in {*allowed, *ONLY_ONE}}
            found.same(f"refusals of {poke.step}", {}, others)
    found.facts["pokes"] = {poke.step: {"done": poke.done, **poke.refused} for poke in pokes}


def one_or_two(bench: Bench) -> str:
    """Return the step that writes two pages back at random, or one where the kernel takes one at a time."""
    return "writeback:page_indexes=%-#" if has(bench, Capability.page_indexes) else "writeback:page_index=%"


def has_no(device: Device, file_system: str, program: str) -> str:
    """Say what a phone lacks to make and mount a file system; empty where it has both."""
    known = re.search(rf"\t{file_system}$", device.read("/proc/filesystems"), re.MULTILINE)
    made = device.execute(Exec(("which", program), accept=(0, 1)))[0]
    if not known:
        return f"{file_system}: not in this kernel"
    return "" if made.status == 0 else f"{program}: not on this phone"
