"""What the host lets a virtual phone have: how long its CPUs waited for one of the host's."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from base.errors import CommandFailed, DeviceLost
from base.units import NS_PER_S
from devices.virtual.qmp import Qmp

PROC = Path("/proc")
_STEAL_COLUMN = 8


@dataclass(frozen=True, slots=True)
class HostTime:
    """Counters at one moment, in ns: what each virtual CPU's thread ran and waited, and what was stolen of a host CPU.

    ``stolen_ns`` is the mean over the host's CPUs.
    """

    at_ns: int
    ran_ns: Mapping[int, int]
    waited_ns: Mapping[int, int]
    stolen_ns: int

    def wait_since(self, before: HostTime) -> float | None:
        """Return the share of the time since then in which the worst virtual CPU wanted a host CPU and had none.

        None where that cannot be told: no time has passed, or the threads are others.
        """
        took_ns = self.at_ns - before.at_ns
        waited = [
            after - before.waited_ns[thread] for thread, after in self.waited_ns.items() if thread in before.waited_ns
        ]
        if took_ns <= 0 or not waited:
            return None
        return min(1.0, (max(waited) + self.stolen_ns - before.stolen_ns) / took_ns)


@dataclass(frozen=True, slots=True)
class HostWatch:
    """The threads of one QEMU that are its virtual CPUs."""

    pid: int
    threads: Sequence[int]
    proc: Path = PROC

    def now(self) -> HostTime | None:
        """Read the counters; None where the host does not account for them, or QEMU has ended."""
        try:
            at_ns = time.monotonic_ns()
            found = {thread: self._schedstat(thread) for thread in self.threads}
            stolen_ns = self._stolen_ns()
        except (OSError, ValueError, IndexError):
            return None
        ran, waited = ({thread: numbers[n] for thread, numbers in found.items()} for n in (0, 1))
        return HostTime(at_ns, ran, waited, stolen_ns)

    def _schedstat(self, thread: int) -> list[int]:
        text = (self.proc / f"{self.pid}/task/{thread}/schedstat").read_text(encoding="ascii")
        ran_ns, waited_ns, _ = map(int, text.split())
        return [ran_ns, waited_ns]

    def _stolen_ns(self) -> int:
        lines = (self.proc / "stat").read_text(encoding="ascii").splitlines()
        cpus = sum(line.startswith("cpu") and line[3:4].isdigit() for line in lines)
        ticks = int(lines[0].split()[_STEAL_COLUMN])
        return ticks * NS_PER_S // os.sysconf("SC_CLK_TCK") // max(cpus, 1)


def host_watch(pid: int, qmp: Qmp) -> HostWatch | None:
    """Return a watch on this QEMU's virtual CPUs, whose threads it names itself; None where it does not answer."""
    try:
        cpus = qmp.execute("query-cpus-fast")
    except (DeviceLost, CommandFailed):
        return None
    return HostWatch(pid, [int(cpu["thread-id"]) for cpu in cpus])
