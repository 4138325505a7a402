"""Replies of the probe with plausible figures, for tests of what is made of them."""

from __future__ import annotations

from devices.counters import BdStat, MmStat
from devices.probe.replies import DaemonStopped, DiskCounters, SamplerStopped, WriteTimed
from workloads.timed_writeback import TimedWriteback

PAGE = 4096


def timed_writeback(written: int, wall_ms: int) -> TimedWriteback:
    """A writeback of so many pages of 4 KiB, compressed to a third, to the disk sda."""
    held = MmStat(written * PAGE, written * PAGE // 3, written * PAGE // 3, 0, 0, 0, 0)
    disk = DiskCounters(reads=0, writes=1, writes_merged=0, written_bytes=written * PAGE, time_in_queue_ms=1)
    timed = WriteTimed(
        bd_before=BdStat(0, 0, 0), bd_after=BdStat(written, 0, written), rc=4, errno="", wall_ns=wall_ms * 10**6,
        user_ns=0, sys_ns=1000, cpu_busy_ns=1000, nvcsw=1, nivcsw=0, mm_before=held, mm_after=held, disks={"sda": disk},
    )  # fmt: skip
    return TimedWriteback(timed, written, written, PAGE)


def sampler_stopped() -> SamplerStopped:
    """256 pages of 4 KiB written back and 30 read again."""
    return SamplerStopped(
        bd_before=BdStat(0, 10, 100), bd_after=BdStat(5, 40, 356), wall_ns=1000, cpu_ns=5, samples=5, missed=0,
        disk_written_sectors=4096, backing_written_sectors=2048, backing_read_sectors=240, psi_some_us=1,
        psi_full_us=0, pswpin=7, pswpout=8, refault=7, refault_anon=3, refault_file=4, pgmajfault=9, oom_kill=0,
    )  # fmt: skip


def daemon_stopped() -> DaemonStopped:
    """One writeback, of 256 pages of 4 KiB."""
    return DaemonStopped(rounds=1, recorded=1, written_4k=256, limited=0, failed=0, spent=False)
