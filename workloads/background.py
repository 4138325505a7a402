"""Load beside a measurement, bounded in time and bytes, and a setting that may help against it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from base.units import MIB
from devices.device import Changes
from devices.journal import Expect, ExpectRule, Undo
from devices.probe.session import probe_argv
from devices.profiles.profile import Load
from devices.transport import Exec
from workloads.bench import Bench

FILE_BYTES = 64 * MIB
# Of one load; storage wears.
MOST_BYTES = 512 * MIB
# As fast as an app is installed or a film is copied; what the storage could do beyond that would only wear it.
_WRITE_RATE = 128 * MIB
_LIMIT_S = 120
# Enough readers to keep a queue at the disk, as apps that start do; one writer, as a download.
_THREADS = {Load.random_read: 4, Load.sequential_write: 1}


@dataclass(slots=True)
class LoadDone:
    """What a load did. ``ended_early`` says that it reached a bound while something was still measured."""

    bytes: int = 0
    cpu_s: float = 0.0
    ended_early: bool = False


@dataclass(frozen=True, slots=True)
class Background:
    """Loads on a phone. ``file`` lies on the disk that is measured."""

    bench: Bench
    file: str

    @contextmanager
    def running(self, load: Load | None, done: LoadDone) -> Iterator[None]:
        """Run the load for this scope, or none; add what it did to ``done``."""
        if load is None:
            yield
            return
        self._start(load)
        try:
            yield
        finally:
            reply = self.bench.probe.load_stop()
            done.bytes += reply.bytes
            done.cpu_s += reply.cpu_ns / 1e9
            done.ended_early |= reply.ended_early

    def _start(self, load: Load) -> None:
        threads = _THREADS.get(load, self.bench.stage.device.identity.cpus)
        if load is Load.cpu:
            self.bench.probe.load_start(str(load), threads=threads, limit_s=_LIMIT_S)
            return
        # The first one makes its file.
        self.bench.probe.load_start(
            str(load), threads=threads, limit_s=_LIMIT_S, file=self.file, size=FILE_BYTES, most_bytes=MOST_BYTES,
            rate=_WRITE_RATE,
        )  # fmt: skip


def load_file(changes: Changes, path: str) -> str:
    """Reserve a path for the file that I/O loads work on; the file is removed with the scope."""
    undo = Undo(
        "file of the load removed", (Exec(("rm", "-f", path)),), (Expect(path, match=ExpectRule.missing),), True
    )
    changes.will_undo(undo)
    return path


@contextmanager
def workers_first(bench: Bench) -> Iterator[int]:
    """Put the kernel's unbound workers, the loop's among them, before all other tasks; yield how many there are.

    Workers come and go: one that the kernel starts meanwhile keeps its place.
    """
    pids = bench.probe.kworkers().pids
    if not pids:
        yield 0
        return
    named = ",".join(map(str, pids))
    # Fields 18 and 19 of its stat, priority and nice value; a worker that has ended has no file.
    expect = tuple(Expect(f"/proc/{pid}/stat", " 0 -20 ", ExpectRule.lacks) for pid in pids)
    with bench.stage.device.changes() as changes:
        changes.will_undo(
            Undo("kernel workers' nice values", (Exec(probe_argv("renice", pids=named, minus=0)),), expect)
        )
        yield bench.probe.renice(pids, minus=20).changed
