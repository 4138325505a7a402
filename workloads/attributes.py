"""What zram's writeback attributes take, refuse and mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from base.kernel import DEFAULT_BATCH_SIZE, MAX_BATCH_SIZE, PAGE_4K
from base.units import KIB
from devices.profiles.sections import PageKind
from devices.transport import Read, Write
from devices.zram import ZramError, errno_of
from records import tests as t
from records.model import RunResult
from workloads.bench import Bench
from workloads.stage import Stage


@dataclass(frozen=True, slots=True)
class Written:
    """One write to an attribute: what it said and what the attribute reads afterwards."""

    value: str
    errno: str
    reads: str


def try_values(stage: Stage, attribute: str, values: Sequence[str], put_back: str) -> list[Written]:
    """Write each value and read it back, in one round trip; at the end write ``put_back``.

    Raises ZramError for a batch size above 4096, which is never written: the kernel allocates as many requests as it
    is told, and has panicked of it.
    """
    path = stage.zram.attribute(attribute)
    if attribute == "writeback_batch_size" and any(v.isdigit() and int(v) > MAX_BATCH_SIZE for v in values):
        raise ZramError(f"{path}: a batch size above {MAX_BATCH_SIZE} is never written")
    ops = [op for value in values for op in (Write(path, value), Read(path))]
    results = stage.device.execute(*ops, Write(path, put_back), keep_going=True)
    pairs = zip(values, results[0:-1:2], results[1:-1:2], strict=True)
    return [Written(v, "" if w.ok else errno_of(w.stderr) or w.stderr.strip(), r.text) for v, w, r in pairs]


def batch_size_result(
    bench: Bench, taken: Sequence[Written], refused: Sequence[Written], largest: Written
) -> RunResult:
    """Make the record of the values that ``writeback_batch_size`` takes and refuses; ``largest`` was 4096."""
    facts = {"taken": taken, "refused": refused, "4096_reads_back": largest.reads}
    return RunResult(t.BATCH_ATTRIBUTE.name, bench.title, params={}, metrics={}, facts=facts)


def limit_grammar_result(bench: Bench, limit: Sequence[Written], switch: Sequence[Written]) -> RunResult:
    """Make the record of the values that the writeback limit and its switch take and refuse."""
    facts = {"writeback_limit": limit, "writeback_limit_enable": switch}
    return RunResult(t.LIMIT_GRAMMAR.name, bench.title, params={}, metrics={}, facts=facts)


@dataclass(frozen=True, slots=True)
class LimitRun:
    """One writeback under a limit, all in units of 4 KiB."""

    batch_size: int | None
    limit_4k: int
    """as it was written"""
    written_4k: int
    left_4k: int
    errno: str


@dataclass(frozen=True, slots=True)
class LimitKept:
    """A writeback that met its limit, and the one that wrote the rest; ``total_4k`` is what both had to write."""

    limited: LimitRun
    rest: LimitRun
    total_4k: int


def write_back_under_limit(bench: Bench, *, pages: int, limit_4k: int, batch_size: int | None) -> LimitKept:
    """Write back more pages than the limit allows, then switch the limit off and write the rest."""
    stage = bench.stage
    stage.as_block_device(pages)
    stage.set_batch_size(batch_size)
    bench.probe.fill_device(stage.all_pages(pages), mix=PageKind.incompressible.mix, seed=bench.seed)
    stage.zram.write("idle", "all")
    stage.zram.write("writeback_limit", str(limit_4k))
    stage.zram.write("writeback_limit_enable", "1")
    limited = _write_back(bench, batch_size, limit_4k)
    stage.zram.write("writeback_limit_enable", "0")
    rest = _write_back(bench, batch_size, limit_4k)
    stage.zram.write("writeback_limit", "0")
    stage.set_batch_size(DEFAULT_BATCH_SIZE if batch_size else None)
    return LimitKept(limited, rest, pages * stage.page_bytes // PAGE_4K)


def partial_limit_result(bench: Bench, kept: LimitKept) -> RunResult:
    """Make the record of a limit that ends within a page: the whole pages in it may be written."""
    limited = kept.limited
    facts = {"limited": limited, "rest": kept.rest, "whole_pages_4k": _whole_pages_4k(bench.stage, limited.limit_4k)}
    return RunResult(
        t.PARTIAL_LIMIT.name, bench.title, params={"batch_size": limited.batch_size}, metrics={}, facts=facts
    )


def fault_of_partial_limit(stage: Stage, limited: LimitRun) -> str:
    """Say what this kernel makes of a limit that ends within a page; empty where it writes the whole pages in it."""
    most = _whole_pages_4k(stage, limited.limit_4k)
    if limited.written_4k == most:
        return ""
    return (
        f"this kernel: under a writeback_limit of {limited.limit_4k} (in 4 KiB; {most} are whole pages of "
        f"{stage.page_bytes // KIB} KiB) it wrote {limited.written_4k}, and the limit reads {limited.left_4k} then. "
        "Give it limits in whole pages, as a run itself does"
    )


def _whole_pages_4k(stage: Stage, limit_4k: int) -> int:
    return stage.limit_4k(limit_4k * PAGE_4K)


def limit_result(bench: Bench, kept: LimitKept) -> RunResult:
    """Make the record of a limit that was met."""
    limited, rest = kept.limited, kept.rest
    checks = {
        "written under the limit (4 KiB)": {"expected": limited.limit_4k, "seen": limited.written_4k},
        "written in all (4 KiB)": {"expected": kept.total_4k, "seen": limited.written_4k + rest.written_4k},
    }
    facts, params = {"limited": limited, "rest": rest}, {"batch_size": limited.batch_size}
    return RunResult(t.LIMIT.name, bench.title, params=params, metrics={}, checks=checks, facts=facts)


def _write_back(bench: Bench, batch_size: int | None, limit_4k: int) -> LimitRun:
    zram = bench.stage.zram
    reply = bench.probe.write_timed(zram.attribute("writeback"), "idle", zram=zram.number, seconds=300)
    left = int(zram.read("writeback_limit"))
    return LimitRun(batch_size, limit_4k, reply.written_4k, left, reply.errno)
