"""What switching between apps is made of, whatever the apps are: switches, deaths, and who plays them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from devices.profiles.profile import Trigger


class SwitchKind(IntEnum):
    """All of the working set was in memory; some was not; the app had to be started; it could not be."""

    hot = 0
    warm = 1
    cold = 2
    missed = 3


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch. ``t_ns`` by the phone's monotonic clock; ``flash_4k``: pages of 4 KiB read from the backing device.

    ``slowest_ns``: the slowest page of the working set. ``control_ns``: page faults beside the switch that need neither
    zram nor storage. Both are 0 where pages are not timed one by one.
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
    """Those that were not missed: their app came to the front."""
    return [switch for switch in switches if switch.kind is not SwitchKind.missed]


@dataclass(frozen=True, slots=True)
class Death:
    """An app that ended without being told to. ``killed`` is False for one that ended by itself: it crashed."""

    app: int
    t_ns: int
    pid: int
    killed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Played:
    """A round of switches and who died in it."""

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
        """What the apps are called; a switch names them by their place here."""
        ...

    def play(self, apps: Sequence[int], dwell_s: float) -> Played:
        """These apps in this order, each at the front for so long."""
        ...

    def alive(self) -> int:
        """How many run now."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """What else is to be known about how it was done, at the end."""
        ...

    def problems(self) -> Sequence[str]:
        """Apps that were left out, each with its reason."""
        ...
