"""What the probe's command ``control`` answers: how fast the phone is just now, and who uses its CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from devices.probe.decode import AsArray


@dataclass(frozen=True, slots=True)
class Clock:
    """What one group of CPUs runs at now, at most for now, and at most ever, in kHz; 0 where it is not told."""

    scaling_cur_freq: int
    scaling_max_freq: int
    cpuinfo_max_freq: int


@dataclass(frozen=True, slots=True)
class Control:
    """What fixed work took, and counters of who used the phone's CPUs since boot; None is not told.

    ``busy_ns`` and ``steal_ns`` are of all CPUs, ``own_ns`` of the probe, ``kworkers_ns`` of the kernel's unbound
    workers, ``psi_cpu_us`` the time in which some task waited for a CPU.
    """

    cpu_ns: int
    monotonic_ns: int
    busy_ns: int
    steal_ns: int
    own_ns: int
    clocks: tuple[Annotated[Clock, AsArray()], ...]
    read_ns: int | None = None
    kworkers_ns: int | None = None
    psi_cpu_us: int | None = None
