"""Measures one writeback: fills pages, marks them idle, writes them back and counts, all on the phone's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from base.errors import DeviceError
from base.kernel import PAGE_4K
from base.units import MIB
from devices.kernel_log import selinux_denial, since_marker
from devices.probe.commands import DevicePages
from devices.probe.replies import WriteTimed
from devices.profiles.sections import PageKind
from devices.zram import zram_error
from records import metrics as m
from records.model import Caveat, Metric
from workloads.bench import Bench
from workloads.stage import Stage

# Below this many an interval is wide or missing.
_FEW_REPEATS = 5


class NothingMeasured(DeviceError):
    """The kernel counted something else than what was asked for."""


@dataclass(frozen=True, slots=True)
class TimedWriteback:
    """One writeback: what the probe measured, the pages to be written, and the pages written by bd_stat.

    ``through_loop``: a loop device lies between zram and the disk.
    """

    timed: WriteTimed
    expected: int
    written: int
    page_bytes: int
    through_loop: bool = True

    @property
    def mib(self) -> float:
        """Return the MiB that were written."""
        return float(self.written) * self.page_bytes / MIB

    @property
    def mib_s(self) -> float:
        """Return the write rate in MiB/s."""
        return self.mib / float(self.timed.wall_ns) * 1e9


def fill_and_write_back(
    bench: Bench, area: DevicePages, *, pages: PageKind, batch_size: int | None, disks: Sequence[str] = (),
    sample: bool = False,
) -> TimedWriteback:  # fmt: skip
    """Fill the pages of ``area`` and write them back, timed.

    The result has the counters of ``disks`` too, and with ``sample`` their depth. Raises NothingMeasured when bd_stat
    counts other pages than were filled.
    """
    stage, probe = bench.stage, bench.probe
    limit_s = stage.profile.deadlines.writeback
    filled = probe.fill_device(area, mix=stage.profile.mix_of(pages), seed=bench.seed, seconds=limit_s)
    # Over the probe's open connection: a shell of its own for each write would cost more than the write.
    if batch_size is not None:
        write_attribute(bench, "writeback_batch_size", str(batch_size))
    write_attribute(bench, "idle", "all")
    # The bare word is what every kernel since 5.0 takes; type=idle came with 6.16.
    timed = probe.write_timed(
        stage.zram.attribute("writeback"), "idle", zram=stage.zram.number, disks=disks, sample=sample, seconds=limit_s
    )
    written, through_loop = stage.pages_4k(timed.written_4k), stage.backing.kind == "loop"
    run = TimedWriteback(timed, filled.stored, written, stage.page_bytes, through_loop)
    _check(stage, run, batch_size)
    return run


def write_attribute(bench: Bench, attribute: str, value: str) -> None:
    """Write one of zram's attributes over the probe's connection. Raises the ZramError that the errno means."""
    path = bench.stage.zram.attribute(attribute)
    reply = bench.probe.write_attribute(path, value)
    if reply.rc < 0:
        raise zram_error(f"echo {value} > {path}", reply.errno)


def metrics(runs: Sequence[TimedWriteback]) -> dict[str, Metric]:
    """Return the metrics of writebacks that are repeats of each other (docs/results.md)."""
    timed = [run.timed for run in runs]
    found = (
        m.THROUGHPUT.of([run.mib_s for run in runs])
        | m.WALL.of([one.wall_ns / 1e9 for one in timed])
        | m.USER_CPU.of([one.user_ns / 1e9 for one in timed])
        | m.SYS_CPU.of([one.sys_ns / 1e9 for one in timed])
        | m.CPU_BUSY.of([one.cpu_busy_ns / 1e9 for one in timed])
        | m.CONTEXT_SWITCHES.of([one.nvcsw + one.nivcsw for one in timed])
        | m.WRITTEN.of([run.written * run.page_bytes // PAGE_4K for run in runs])
    )
    cpu_s = [(one.user_ns + one.sys_ns) / 1e9 for one in timed]
    if all(cpu_s):
        found |= m.PER_CPU_SECOND.of([run.mib / spent for run, spent in zip(runs, cpu_s, strict=True)])
    for row, ran_ns in (
        (m.CPU_WRITER, [one.writer_run_ns for one in timed]),
        (m.CPU_LOOP, [run.timed.kworkers_run_ns if run.through_loop else None for run in runs]),
        (m.CPU_ALL, [one.cpus_run_ns for one in timed]),
    ):
        found |= _per_page(row, ran_ns, runs)
    return found


def _per_page(row: m.Quantity, ran_ns: Sequence[int | None], runs: Sequence[TimedWriteback]) -> dict[str, Metric]:
    """Return CPU times per page of 4 KiB in us; nothing where the kernel does not account for them."""
    pages_4k = [run.timed.written_4k for run in runs]
    told = [spent for spent in ran_ns if spent is not None]
    if len(told) < len(runs) or not all(pages_4k):
        return {}
    return row.of([spent / 1000 / pages for spent, pages in zip(told, pages_4k, strict=True)])


def written_check(runs: Sequence[TimedWriteback]) -> dict[str, dict[str, float]]:
    """Return the cross-check of these writebacks with what zram counted."""
    expected, seen = sum(run.expected for run in runs), sum(run.written for run in runs)
    return {"pages written (bd_stat)": {"expected": expected, "seen": seen}}


def writeback_caveats(batch_size: int | None, repeats: int, *, buffered: bool) -> list[Caveat]:
    """Return the doubts about writebacks that were repeated so many times at one batch size."""
    doubts = {
        Caveat.no_batch_size: batch_size is None,
        Caveat.buffered_io: buffered,
        Caveat.few_repeats: repeats < _FEW_REPEATS,
    }
    return [caveat for caveat, applies in doubts.items() if applies]


def _check(stage: Stage, run: TimedWriteback, batch_size: int | None) -> None:
    if run.written == run.expected:
        return
    denied = selinux_denial(since_marker(stage.device.run("dmesg")), stage.backing.file)
    raise NothingMeasured(
        f"{stage.device.serial}: writeback of {run.expected} pages at batch size {batch_size or 1} ended with "
        f"{run.timed.errno or 'success'} and bd_stat shows {run.written} pages written",
        hint=f"SELinux denied it: {denied}" if denied else "kernel.log says more; ENOSPC: raise backing.size",
    )
