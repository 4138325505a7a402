"""One measured writeback: pages are filled, marked idle, written back and counted, by the phone's clock and books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from base.errors import DeviceError
from base.units import MIB
from devices.probe.session import ProbeSession
from devices.zram import zram_error
from records.model import Metric
from workloads.mix import MIXES, stored_pages
from workloads.stage import Stage


class NothingMeasured(DeviceError):
    """The kernel's counters say that something else happened than what was asked for."""


def fill_and_write_back(
    stage: Stage, probe: ProbeSession, area: Mapping[str, Any], *, pages: str, seed: int, batch_size: int | None,
    disks: Sequence[str] = (), sample: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Fill the pages of ``area`` (as the probe's commands name it) and write them back, timed.

    Returns the reply of ``write-timed`` (probe/README.md) with the pages ``expected`` and ``written``; of ``disks`` it
    has the counters too, and with ``sample`` their depth. Raises NothingMeasured when bd_stat does not agree.
    """
    limit_s = stage.profile.deadlines.writeback
    filled = probe.call("fill", **area, mix=MIXES[pages], seed=seed, seconds=limit_s)
    # Over the probe's open connection: a shell of its own for each write would cost more than the write.
    if batch_size is not None:
        write_attribute(stage, probe, "writeback_batch_size", str(batch_size))
    write_attribute(stage, probe, "idle", "all")
    watch: dict[str, Any] = {"disks": ",".join(disks), "sample": sample} if disks else {}
    # The bare word is what every kernel since 5.0 takes; type=idle came with 6.16.
    reply = probe.call(
        "write-timed", path=stage.zram.attribute("writeback"), value="idle", zram=stage.zram.number, seconds=limit_s,
        **watch,
    )  # fmt: skip
    reply["expected"] = stored_pages(filled)
    reply["written"] = stage.bytes_4k(reply["bd_after"][2] - reply["bd_before"][2]) // stage.page_bytes
    _check(stage, reply, batch_size)
    return reply


def prepare_half(
    stage: Stage, probe: ProbeSession, data_bytes: int, *, pages: str, order: str, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A zram twice as large as the data, written back once, with a half of it free: where measured pages go.

    Returns that half, as the probe's commands name it, and the reply of the pass that allocated the blocks.
    """
    count = stage.pages(data_bytes)
    span = min(2 * count, stage.backing_pages)
    stage.as_block_device(span)
    area: dict[str, Any] = {"path": stage.zram.node, "lo": 0, "hi": span - 1}
    allocating = fill_and_write_back(stage, probe, area, pages=pages, seed=seed, batch_size=None)
    half = {**area, "pick": count, "pick_seed": seed} if order == "random" else {**area, "hi": count - 1}
    probe.call("free", **half)
    return half, allocating


def write_attribute(stage: Stage, probe: ProbeSession, attribute: str, value: str) -> None:
    """Write one of zram's attributes over the probe's connection. Raises the ZramError that the errno means."""
    reply = probe.call("write-timed", path=stage.zram.attribute(attribute), value=value)
    if reply["rc"] < 0:
        raise zram_error(f"echo {value} > {stage.zram.attribute(attribute)}", reply["errno"])


def mib_written(stage: Stage, run: Mapping[str, Any]) -> float:
    """MiB that one writeback wrote."""
    return float(run["written"]) * stage.page_bytes / MIB


def rate(stage: Stage, run: Mapping[str, Any]) -> float:
    """MiB/s of one writeback."""
    return mib_written(stage, run) / float(run["wall_ns"]) * 1e9


def metrics(stage: Stage, runs: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
    """The metrics of writebacks that are repeats of each other (docs/results.md)."""
    switches = [run["nvcsw"] + run["nivcsw"] for run in runs]
    return {
        "writeback.throughput": Metric("MiB/s", "higher", [rate(stage, run) for run in runs]),
        "writeback.wall": Metric("s", "lower", [run["wall_ns"] / 1e9 for run in runs]),
        "writeback.user_cpu": Metric("s", "lower", [run["user_ns"] / 1e9 for run in runs]),
        "writeback.sys_cpu": Metric("s", "lower", [run["sys_ns"] / 1e9 for run in runs]),
        "writeback.cpu_busy": Metric("s", "lower", [run["cpu_busy_ns"] / 1e9 for run in runs]),
        "writeback.context_switches": Metric("count", "lower", switches),
        "writeback.written": Metric("pages", "higher", [run["written"] * stage.page_bytes // 4096 for run in runs]),
    }


def written_check(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The cross-check of these writebacks with the kernel's books."""
    expected, seen = (sum(run[key] for run in runs) for key in ("expected", "written"))
    return {"pages written (bd_stat)": {"expected": expected, "seen": seen}}


def _check(stage: Stage, reply: Mapping[str, Any], batch_size: int | None) -> None:
    if reply["written"] == reply["expected"]:
        return
    denied = [line for line in stage.device.run("dmesg").splitlines() if "avc" in line and "loop" in line][-1:]
    raise NothingMeasured(
        f"{stage.device.serial}: writeback of {reply['expected']} pages at batch size {batch_size or 1} ended with "
        f"{reply['errno'] or 'success'} and bd_stat shows {reply['written']} pages written",
        hint=f"SELinux denied it: {denied[0]}" if denied else "kernel.log says more; ENOSPC: raise backing.size",
    )
