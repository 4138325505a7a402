"""Tells of each turn whether something else disturbed it.

A virtual phone is disturbed when its CPUs wait for one of the host's, a real one when other programs take its CPUs or
when its clocks are held down. On both a control beside the turn, the same CPU work and the same reads each time, says
how fast the phone was.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from base.units import NS_PER_S
from devices.probe.control import Clock, Control
from devices.virtual.host_time import HostTime
from records.model import Turn

# Bounds; docs/decisions.md has what was seen on quiet phones.
MOST_WAIT = 0.20
IDLE_WAIT = 0.12
MOST_OTHERS = 0.20
SLOW_CONTROL = 1.5
_FEWEST_CONTROLS = 5
# The share of scaling_max_freq in cpuinfo_max_freq below which a clock counts as held down.
_HELD_DOWN = 0.99


class Disturbance(StrEnum):
    """Why a turn enters no figure."""

    waited = "the virtual CPUs waited for the host"
    slow_cpu = "the CPU was slow"
    others = "other programs took CPU time"
    clock_low = "a CPU's clock was held down"


class Looks(Protocol):
    """What can be asked for a control: a probe's session, or the probe in a process of its own."""

    def control(self, *, file: str | None = None) -> Control:
        """Time the control and read the counters."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What was read at one moment: of the phone, and of a virtual phone's host."""

    control: Control | None
    host: HostTime | None
    at_ns: int


@dataclass(slots=True)
class NoiseWatch:
    """Watches the turns of a run. ``host`` reads the counters of a virtual phone's host; None for a real phone.

    ``cpus`` is how many the phone has.
    """

    cpus: int = 1
    host: Callable[[], HostTime | None] | None = None
    _controls: list[int] = field(default_factory=list)

    def look(self, probe: Looks, file: str | None) -> Look:
        """Look at phone and host, before a turn or after it; ``file`` is what the control reads from."""
        if self.host is None:
            return Look(probe.control(file=file), None, time.monotonic_ns())
        # The host's counters nearer to the turn than the control.
        control = probe.control(file=file)
        return Look(control, self.host(), time.monotonic_ns())

    def look_after(self, probe: Looks) -> Look:
        """Look again when a turn is over: only at what its disturbances are told by."""
        if self.host is None:
            return Look(probe.control(), None, time.monotonic_ns())
        return Look(None, self.host(), time.monotonic_ns())

    def turn(self, number: int, before: Look, after: Look) -> Turn:
        """Return the turn between two looks, in round ``number``, with what disturbed it."""
        control = before.control
        wait = self._wait(before, after)
        reasons = list(self._reasons(wait, before, after))
        if control is not None:
            self._controls.append(control.cpu_ns)
        return Turn(
            number,
            (control.monotonic_ns if control else before.at_ns) / NS_PER_S,
            [str(reason) for reason in reasons],
            None if wait is None else round(wait, 4),
            control.cpu_ns if control else None,
            control.read_ns if control else None,
        )

    def _wait(self, before: Look, after: Look) -> float | None:
        if before.host and after.host:
            return after.host.wait_since(before.host)
        if before.control and after.control:
            return _others_share(before.control, after.control, self.cpus)
        return None

    def _reasons(self, wait: float | None, before: Look, after: Look) -> Iterable[Disturbance]:
        is_virtual = self.host is not None
        if wait is not None and wait > (MOST_WAIT if is_virtual else MOST_OTHERS):
            yield Disturbance.waited if is_virtual else Disturbance.others
        elif wait is not None and wait > IDLE_WAIT and before.control and self._is_slow(before.control.cpu_ns):
            yield Disturbance.slow_cpu
        if any(held_down(look.control.clocks) for look in (before, after) if look.control):
            yield Disturbance.clock_low

    def _is_slow(self, cpu_ns: int) -> bool:
        known = self._controls
        return len(known) >= _FEWEST_CONTROLS and cpu_ns > SLOW_CONTROL * statistics.median(known)


def held_down(clocks: Sequence[Clock]) -> bool:
    """Say whether a group of CPUs may not run as fast as it can."""
    return any(
        clock.scaling_max_freq < _HELD_DOWN * clock.cpuinfo_max_freq
        for clock in clocks
        if clock.scaling_max_freq and clock.cpuinfo_max_freq
    )


def _others_share(before: Control, after: Control, cpus: int) -> float | None:
    """Return the share of all CPUs' time that neither the probe nor the kernel's workers took."""
    took_ns = (after.monotonic_ns - before.monotonic_ns) * cpus
    if took_ns <= 0:
        return None
    ours = after.own_ns - before.own_ns
    if before.kworkers_ns is not None and after.kworkers_ns is not None:
        ours += max(0, after.kworkers_ns - before.kworkers_ns)
    return min(1.0, max(0, after.busy_ns - before.busy_ns - ours) / took_ns)


def noise_facts(turns: Iterable[Turn]) -> Mapping[str, Any]:
    """Return what the end of a run says of all its turns."""
    found = list(turns)
    waits = sorted(turn.wait for turn in found if turn.wait is not None)
    return {
        "turns": len(found),
        "disturbed": sum(bool(turn.disturbed) for turn in found),
        "wait_median": round(statistics.median(waits), 4) if waits else None,
        "wait_worst": waits[-1] if waits else None,
    }
