"""Which pages a write to ``writeback`` takes: exactly those that it names or whose state it names, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from devices.capability import Capability
from devices.counters import BdStat
from devices.transport import Exec, Read, Write
from devices.zram import errno_of
from workloads.bench import Bench
from workloads.regression.findings import Findings
from workloads.regression.own import LIMIT_S, fill, has, own_zram, span, verify

# Four that are one word repeated, 28 compressible, 32 incompressible.
_PAGES, _SAME, _HUGE = 64, 4, 32
_SAME_MIX, _COMPRESSIBLE, _INCOMPRESSIBLE = "s100", "c100@3", "i100"
_ALL = range(_SAME, _PAGES)


@dataclass(frozen=True, slots=True)
class SelectionRow:
    """A writeback, and the pages that it must take, as ranges. ``mark`` is written to ``idle`` before.

    ``read`` and ``rewrite`` are pages that are read or written between the mark and the writeback.
    """

    value: str
    takes: tuple[range, ...]
    mark: str | None = "all"
    read: range | None = None
    rewrite: range | None = None
    needs: Capability = Capability.writeback


ROWS: Sequence[SelectionRow] = (
    SelectionRow("idle", (_ALL,)),
    SelectionRow("huge", (range(_HUGE, _PAGES),), mark=None),
    SelectionRow("idle", (), mark=None),
    SelectionRow("idle", (range(16, _PAGES),), read=range(_SAME, 16)),
    SelectionRow("idle", (range(_SAME, 48),), rewrite=range(48, _PAGES)),
    SelectionRow("huge_idle", (range(_HUGE, 40), range(48, _PAGES)), read=range(40, 48)),
    SelectionRow("page_index=5", (range(5, 6),), mark=None, needs=Capability.page_index),
    SelectionRow("page_index=63", (range(63, 64),), mark=None, needs=Capability.page_index),
    SelectionRow("page_index=2", (), mark=None, needs=Capability.page_index),
    SelectionRow("page_indexes=5-9", (range(5, 10),), mark=None, needs=Capability.page_indexes),
    SelectionRow("page_indexes=0-63", (_ALL,), mark=None, needs=Capability.page_indexes),
    SelectionRow(
        "page_index=5 page_indexes=60-63", (range(5, 6), range(60, 64)), mark=None, needs=Capability.page_indexes
    ),
    SelectionRow("type=huge", (range(_HUGE, _PAGES),), mark=None, needs=Capability.page_indexes),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """A write to ``writeback``, with the books of zram before and after it; counts in the phone's pages."""

    errno: str
    written: int
    blocks: int
    writes: int


def _write_back(bench: Bench, value: str, mark: str | None = None) -> Taken:
    """The value may hold blanks, which no command of the probe takes; nothing is timed here."""
    stage, zram = bench.stage, bench.stage.zram
    if mark is not None:
        zram.write("idle", mark)
    books = Read(zram.attribute("bd_stat"))
    before, write, after = stage.device.execute(
        books, Write(zram.attribute("writeback"), value), books, keep_going=True, seconds=LIMIT_S
    )
    was, now = BdStat.parse(before.check().text), BdStat.parse(after.check().text)
    errno = "" if write.ok else errno_of(write.stderr) or write.stderr.strip()
    written = stage.pages_4k(now.writes_4k - was.writes_4k)
    return Taken(errno, written, stage.pages_4k(now.count_4k), stage.pages_4k(now.writes_4k))


def selection(bench: Bench, found: Findings) -> None:
    """Write back by each row of the table and find by the reads which pages went."""
    with own_zram(bench, 2 * _PAGES * bench.stage.page_bytes) as own:
        rows = [row for row in ROWS if has(own, row.needs)]
        for row in rows:
            _prepare(own)
            _one(own, found, row)
        found.measured("rows of the table", len(rows), 6)
        if has(own, Capability.page_index):
            _one_then_the_rest(own, found)
        if has(own, Capability.page_indexes):
            _overlapping(own, found)


def _prepare(bench: Bench) -> None:
    bench.stage.as_block_device(_PAGES)
    for lo, hi, mix in ((0, _SAME, _SAME_MIX), (_SAME, _HUGE, _COMPRESSIBLE), (_HUGE, _PAGES, _INCOMPRESSIBLE)):
        fill(bench, span(bench, lo, hi - 1), mix, bench.seed)


def _mix_of(page: int) -> str:
    return _SAME_MIX if page < _SAME else _COMPRESSIBLE if page < _HUGE else _INCOMPRESSIBLE


def _one(bench: Bench, found: Findings, row: SelectionRow) -> None:
    if row.mark is not None:
        bench.stage.zram.write("idle", row.mark)
    if row.read:
        _verify(bench, found, row.read)
    if row.rewrite:
        fill(bench, span(bench, row.rewrite[0], row.rewrite[-1]), _mix_of(row.rewrite[0]), bench.seed)
    reply = _write_back(bench, row.value)
    where = f"{row.value} ({row.mark or 'nothing'} marked, read {row.read}, rewritten {row.rewrite})"
    found.same(f"errno of {where}", "", reply.errno)
    wanted = {page for pages in row.takes for page in pages}
    found.expect(f"pages taken by {where}", len(wanted), reply.written)
    edges = sorted({0, _SAME, _HUGE, _PAGES, *(at for pages in row.takes for at in (pages.start, pages.stop))})
    for lo, hi in pairwise(edges):
        expected = hi - lo if lo in wanted else 0
        found.expect("pages read from where they should be", expected, _verify(bench, found, range(lo, hi)))


def _verify(bench: Bench, found: Findings, pages: range) -> int:
    return verify(bench, found, span(bench, pages[0], pages[-1]), _mix_of(pages[0]), bench.seed)


def _one_then_the_rest(bench: Bench, found: Findings) -> None:
    """Write one page back, then the others: each is written once."""
    _prepare(bench)
    one = _write_back(bench, "page_index=40", "all")
    rest = _write_back(bench, "idle")
    found.same("errno of one page, then of the rest", ("", ""), (one.errno, rest.errno))
    found.expect("blocks after one page, then the rest", len(_ALL), rest.blocks)
    found.expect("writes of one page, then the rest", len(_ALL), rest.writes)


def _overlapping(bench: Bench, found: Findings) -> None:
    """Name pages twice in a call. They may be written twice, which is known; they are stored once."""
    _prepare(bench)
    reply = _write_back(bench, "page_indexes=10-19 page_indexes=10-19 page_index=12")
    found.same("errno of overlapping ranges", "", reply.errno)
    found.expect("blocks of overlapping ranges", 10, reply.blocks)
    times = reply.written
    if times != 10:
        found.kernel(f"pages that a call names twice are written and charged twice: {times} writes of 10 pages")


def ages(bench: Bench, found: Findings) -> None:
    """Mark pages by their age: those touched since are left alone, and an age beyond the uptime marks none."""
    with own_zram(bench, 2 * _PAGES * bench.stage.page_bytes) as own:
        _prepare(own)
        # A kernel that tells nobody how it was built is asked.
        if not own.stage.device.execute(Write(own.stage.zram.attribute("idle"), "3600"))[0].ok:
            found.kernel("idle takes no ages")
            return
        # Ages are whole seconds on some kernels, and a comparison is strict.
        own.stage.device.execute(Exec(("sleep", "4")))[0].check()
        _verify(own, found, range(_SAME, 16))
        reply = _write_back(own, "idle", "2")
        found.expect("pages older than 2 s", _PAGES - 16, reply.written)
        for what, seconds in (("an age beyond the uptime", 10**6), ("an age of an hour", 3600)):
            uptime_s = float(own.stage.device.read("/proc/uptime").split()[0])
            _prepare(own)
            taken = _write_back(own, "idle", str(seconds)).written
            found.facts[what] = {"uptime_s": uptime_s, "taken": taken}
            if taken and seconds > uptime_s:
                found.kernel(f"{what} marks every page idle")
            else:
                found.none(f"pages taken by {what}", taken)
