"""Writeback throughput over batch sizes.

A zram twice as large as the data set is filled and written back once, which allocates the backing file's blocks. Then
half of it is freed: a contiguous half (``sequential``) or randomly chosen pages (``random``). What is measured fills
and writes back just that half, again and again, so every point meets the same slots and the same free blocks: for
``random`` a sparse block bitmap, as on a phone that has been in use, for ``sequential`` the ideal case.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from devices.errors import DeviceError
from devices.probe import ProbeSession
from devices.transport import Read
from devices.zram import zram_error
from reports.model import Caveat, Metric, RunResult
from workloads.mix import MIXES, stored_pages
from workloads.progress import Progress, silent
from workloads.stage import Stage

_MIB = 1 << 20
_SECTOR = 512


class NothingMeasured(DeviceError):
    """The kernel's counters say that something else happened than what was asked for."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One test's share of the sweep. ``batch_sizes`` (None,) stands for a kernel without the attribute."""

    data_bytes: int
    pages: str
    order: str
    batch_sizes: Sequence[int | None]
    repeats: int
    warmups: int
    seed: int


@dataclass(slots=True)
class Point:
    """All measurements at one batch size."""

    batch_size: int | None
    runs: list[dict[str, Any]] = field(default_factory=list)
    warmups: list[dict[str, Any]] = field(default_factory=list)


def steps_of(sweep: Sweep) -> int:
    """How many times ``progress`` is called."""
    return 1 + (sweep.repeats + sweep.warmups) * len(sweep.batch_sizes)


def measure_sweep(
    stage: Stage, probe: ProbeSession, sweep: Sweep, *, test: str, title: str, progress: Progress = silent
) -> list[RunResult]:
    """One RunResult per batch size; the order of the points is shuffled within each repeat.

    Raises NothingMeasured when pages written, by bd_stat, are not exactly the pages that were to be written.
    """
    pages = stage.pages(sweep.data_bytes)
    span = min(2 * pages, stage.backing_pages)
    stage.as_block_device(span)
    area: dict[str, Any] = {"path": stage.zram.node, "lo": 0, "hi": span - 1}
    progress(f"allocating the backing file's blocks ({span * stage.page_bytes // _MIB} MiB)")
    preparation = _fill_and_write_back(stage, probe, area, sweep, None)
    chosen = _selection(area, pages, sweep)
    probe.call("free", **chosen)
    points = [Point(batch_size) for batch_size in sweep.batch_sizes]
    shuffler = random.Random(sweep.seed)
    before = _written_mib(stage)
    for repeat in range(sweep.warmups + sweep.repeats):
        for point in shuffler.sample(points, len(points)):
            progress(f"batch {point.batch_size or 1}, {sweep.order} {sweep.pages}, {sweep.data_bytes // _MIB} MiB")
            measured = _fill_and_write_back(stage, probe, chosen, sweep, point.batch_size)
            (point.warmups if repeat < sweep.warmups else point.runs).append(measured)
            probe.call("free", **chosen)
    after = _written_mib(stage)
    facts = {
        "allocating_pass_mib_s": round(_rate(stage, preparation), 2),
        # Of the whole sweep, its warm-ups included: more than the pages is write amplification.
        "disks_written_mib": {name: round(after[name] - before[name], 1) for name in after},
        "pages_written_mib": round(sum(_mib(stage, run) for p in points for run in (*p.warmups, *p.runs)), 1),
    }
    return [_result(stage, sweep, point, test, title, facts) for point in points]


def _selection(area: dict[str, Any], pages: int, sweep: Sweep) -> dict[str, Any]:
    if sweep.order == "random":
        return {**area, "pick": pages, "pick_seed": sweep.seed}
    return {**area, "hi": pages - 1}


def _fill_and_write_back(
    stage: Stage, probe: ProbeSession, area: dict[str, Any], sweep: Sweep, batch_size: int | None
) -> dict[str, Any]:
    """One fill and one timed writeback; the reply of ``write-timed`` with the pages expected and written."""
    limit_s = stage.profile.deadlines.writeback
    filled = probe.call("fill", **area, mix=MIXES[sweep.pages], seed=sweep.seed, seconds=limit_s)
    # Over the probe's open connection: a shell of its own for each write would cost more than the write.
    if batch_size is not None:
        _write(stage, probe, "writeback_batch_size", str(batch_size))
    _write(stage, probe, "idle", "all")
    # The bare word is what every kernel since 5.0 takes; type=idle came with 6.16.
    reply = probe.call(
        "write-timed", path=stage.zram.attribute("writeback"), value="idle", zram=stage.zram.number, seconds=limit_s
    )
    reply["expected"] = stored_pages(filled)
    reply["written"] = stage.bytes_4k(reply["bd_after"][2] - reply["bd_before"][2]) // stage.page_bytes
    _check(stage, reply, batch_size)
    return reply


def _write(stage: Stage, probe: ProbeSession, attribute: str, value: str) -> None:
    reply = probe.call("write-timed", path=stage.zram.attribute(attribute), value=value)
    if reply["rc"] < 0:
        raise zram_error(f"echo {value} > {stage.zram.attribute(attribute)}", reply["errno"])


def _disks(stage: Stage) -> list[str]:
    """The backing device and, if the phone has it, the UFS disk below."""
    disk = ["sda"] if stage.device.identity.ufs.get("vendor") else []
    return [stage.backing.node.rsplit("/", 1)[-1], *disk]


def _written_mib(stage: Stage) -> dict[str, float]:
    """What each disk says it has written since boot, in MiB (column 7 of its stat, sectors of 512 bytes)."""
    reads = [Read(f"/sys/block/{name}/stat") for name in _disks(stage)]
    results = zip(_disks(stage), stage.device.execute(*reads), strict=True)
    return {name: int(result.check().text.split()[6]) * _SECTOR / _MIB for name, result in results}


def _check(stage: Stage, reply: dict[str, Any], batch_size: int | None) -> None:
    if reply["written"] == reply["expected"]:
        return
    denied = [line for line in stage.device.run("dmesg").splitlines() if "avc" in line and "loop" in line][-1:]
    raise NothingMeasured(
        f"{stage.device.serial}: writeback of {reply['expected']} pages at batch size {batch_size or 1} ended with "
        f"{reply['errno'] or 'success'} and bd_stat shows {reply['written']} pages written",
        hint=f"SELinux denied it: {denied[0]}" if denied else "kernel.log says more; ENOSPC: raise backing.size",
    )


def _result(stage: Stage, sweep: Sweep, point: Point, test: str, title: str, facts: dict[str, Any]) -> RunResult:
    caveats = []
    if point.batch_size is None:
        caveats.append(Caveat.no_batch_size)
    if stage.backing.direct_io is False:
        caveats.append(Caveat.buffered_io)
    if sweep.repeats < 5:
        caveats.append(Caveat.few_repeats)
    return RunResult(
        test=test,
        title=title,
        params={
            "batch_size": point.batch_size, "data_bytes": sweep.data_bytes, "pages": sweep.pages, "order": sweep.order,
        },
        metrics=_metrics(stage, point.runs),
        warmups=_metrics(stage, point.warmups) if point.warmups else {},
        checks={
            "pages written (bd_stat)": {
                "expected": sum(run["expected"] for run in point.runs),
                "seen": sum(run["written"] for run in point.runs),
            }
        },
        caveats=caveats,
        facts=facts,
    )  # fmt: skip


def _wall(run: dict[str, Any]) -> float:
    return float(run["wall_ns"]) / 1e9


def _rate(stage: Stage, run: dict[str, Any]) -> float:
    """MiB/s of one writeback."""
    return _mib(stage, run) / _wall(run)


def _mib(stage: Stage, run: dict[str, Any]) -> float:
    return float(run["written"]) * stage.page_bytes / _MIB


def _metrics(stage: Stage, runs: Sequence[dict[str, Any]]) -> dict[str, Metric]:
    wall = [_wall(run) for run in runs]
    switches = [run["nvcsw"] + run["nivcsw"] for run in runs]
    return {
        "writeback.throughput": Metric("MiB/s", "higher", [_rate(stage, run) for run in runs]),
        "writeback.wall": Metric("s", "lower", wall),
        "writeback.user_cpu": Metric("s", "lower", [run["user_ns"] / 1e9 for run in runs]),
        "writeback.sys_cpu": Metric("s", "lower", [run["sys_ns"] / 1e9 for run in runs]),
        "writeback.cpu_busy": Metric("s", "lower", [run["cpu_busy_ns"] / 1e9 for run in runs]),
        "writeback.context_switches": Metric("count", "lower", switches),
        "writeback.written": Metric("pages", "higher", [run["written"] * stage.page_bytes // 4096 for run in runs]),
    }
