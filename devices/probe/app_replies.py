"""What the probe answers about its synthetic apps; as ``devices.probe.replies``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from devices.probe.decode import AsArray, Between, Signed


@dataclass(frozen=True, slots=True)
class AppsMade:
    """Apps that can be started, and the size of the file that they share."""

    apps: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class AppSwitch:
    """One app that came to the front."""

    app: int
    t_ns: int
    latency_ns: int
    kind: Annotated[int, Between(0, 3)]
    majflt: int
    flash_4k: int
    swapped: int
    slowest_ns: int
    corrupt: int
    control_ns: int


@dataclass(frozen=True, slots=True)
class AppDeath:
    """One app that ended; ``signal`` is 0 when it ended by itself."""

    app: Signed
    t_ns: int
    pid: int
    signal: int


@dataclass(frozen=True, slots=True)
class AppsSwitched:
    """Switches in the order of the sequence, and the apps that ended since the last answer."""

    switches: tuple[Annotated[AppSwitch, AsArray()], ...]
    deaths: tuple[Annotated[AppDeath, AsArray()], ...]
    alive: int
    compactions: int
    compaction: str


@dataclass(frozen=True, slots=True)
class AppsEnded:
    """How many apps were running."""

    ended: int
