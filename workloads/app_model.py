"""The parts of switching between apps, whatever the apps are: switches, deaths, and the workload that plays them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from devices.profiles.profile import Trigger


class SwitchKind(IntEnum):
    """How an app came to the front.

    ``hot``: all of its working set was in memory. ``warm``: some of it was not. ``cold``: the app had to be started.
    ``missed``: it could not be started.
    """

    hot = 0
    warm = 1
    cold = 2
    missed = 3


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch, which began at ``t_ns`` of the phone's monotonic clock.

    ``flash_4k`` was read from the backing device meanwhile, in 4 KiB. ``slowest_ns`` is the slowest page of the working
    set. ``control_ns`` is the time of page faults beside the switch that need neither zram nor storage. Both are 0
    where pages are not timed one by one.
    """

    app: int
    t_ns: int
    latency_ns: int
    kind: SwitchKind
    majflt: int = 0
    flash_4k: int = 0
    swapped: int = 0
    slowest_ns: int = 0
    corrupt: int = 0
    control_ns: int = 0


def made(switches: Sequence[Switch]) -> list[Switch]:
    """Return the switches whose app came to the front."""
    return [switch for switch in switches if switch.kind is not SwitchKind.missed]


@dataclass(frozen=True, slots=True)
class Death:
    """An app that ended without being told to. ``killed`` is False for an app that crashed."""

    app: int
    t_ns: int
    pid: int
    killed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Played:
    """A round of switches, and the apps that died in it."""

    switches: Sequence[Switch]
    deaths: Sequence[Death]


@dataclass(frozen=True, slots=True)
class SwitchCondition:
    """When pages are written back meanwhile, and how many at a time (None: no writeback, or no such attribute)."""

    trigger: Trigger
    batch_size: int | None

    def __str__(self) -> str:
        return f"{self.trigger}-{self.batch_size}" if self.batch_size else str(self.trigger)


class Workload(Protocol):
    """Apps that come to the front one after the other; they run in the scope that made them."""

    @property
    def kind(self) -> str: ...

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the apps; a switch names an app by its place in this list."""
        ...

    def play(self, apps: Sequence[int], dwell_s: float) -> Played:
        """Bring these apps to the front in this order, and keep each there for so long."""
        ...

    def alive(self) -> int:
        """Return how many apps run now."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Return what a record should say about these apps, at the end."""
        ...

    def problems(self) -> Sequence[str]:
        """Return the apps that were left out, each with its reason."""
        ...
