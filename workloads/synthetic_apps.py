"""Apps that are processes of the probe: they hold memory and time themselves when they come to the front."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from base.errors import DeviceError, EnvironmentRefused
from base.units import format_size
from devices.probe.app_replies import AppDeath, AppsSwitched, AppSwitch
from devices.probe.session import PROBE_FOLDER
from devices.profiles.profile import Apps
from workloads.app_model import Death, Played, Switch, SwitchKind
from workloads.bench import Bench
from workloads.stage import Stage

# Left for everybody else on the phone, of its RAM.
_MARGIN = 0.15
# One switch of an app that must be started while the phone swaps; the probe gives up before.
_SWITCH_S = 200.0
_PREPARE_S = 600.0
# The probe's limit for one command.
_MOST_AT_ONCE = 64
_SIGKILL = 9
# What the processes are called on the phone, with a number behind it.
PROCESS_NAME = "zwb.app"


@dataclass(slots=True)
class SyntheticApps:
    """The apps of ``synthetic_apps``."""

    bench: Bench
    count: int
    kind: str = "synthetic"
    _last: AppsSwitched | None = None

    @property
    def names(self) -> Sequence[str]:
        return [f"{PROCESS_NAME}{number + 1:02}" for number in range(self.count)]

    def play(self, apps: Sequence[int], dwell_s: float) -> Played:
        switches: list[Switch] = []
        deaths: list[Death] = []
        for start in range(0, len(apps), _MOST_AT_ONCE):
            part = apps[start : start + _MOST_AT_ONCE]
            played = self._play(part, dwell_s)
            switches += played.switches
            deaths += played.deaths
        return Played(switches, deaths)

    def _play(self, apps: Sequence[int], dwell_s: float) -> Played:
        seconds = len(apps) * (_SWITCH_S + dwell_s)
        self._last = reply = self.bench.probe.apps_switch(
            apps, dwell_ms=round(dwell_s * 1000), backing=backing_name(self.bench.stage), seconds=seconds
        )
        return Played([_switch(seen) for seen in reply.switches], [_death(seen) for seen in reply.deaths])

    def alive(self) -> int:
        return self._last.alive if self._last else 0

    def facts(self) -> Mapping[str, Any]:
        apps = self.bench.stage.profile.apps
        footprint = {key: getattr(apps, key) for key in ("anonymous", "file_backed", "working_set")}
        return {
            **{f"{key}_bytes": value for key, value in footprint.items()},
            "pages": str(apps.pages),
            "touch": str(apps.touch),
            "compactions": self._last.compactions if self._last else 0,
            "compaction": self._last.compaction if self._last else None,
        }

    def problems(self) -> Sequence[str]:
        return []


def _switch(seen: AppSwitch) -> Switch:
    return Switch(
        seen.app, seen.t_ns, seen.latency_ns, SwitchKind(seen.kind), seen.majflt, seen.flash_4k, seen.swapped,
        seen.slowest_ns, seen.corrupt, seen.control_ns,
    )  # fmt: skip


def _death(seen: AppDeath) -> Death:
    reason = f"signal {seen.signal}" if seen.signal else "ended by itself"
    return Death(seen.app, seen.t_ns, seen.pid, seen.signal == _SIGKILL, reason)


def backing_name(stage: Stage) -> str:
    """Return what /sys/class/block calls the backing device."""
    if stage.backing.kind == "loop":
        return stage.backing.node.rsplit("/", 1)[-1]
    return stage.device.run("readlink", "-f", stage.backing.node).rsplit("/", 1)[-1]


@contextmanager
def synthetic_apps(bench: Bench) -> Iterator[SyntheticApps]:
    """Yield apps of the profile's size, none of which runs yet; afterwards none runs any more.

    Raises EnvironmentRefused when they need more memory than the phone has.
    """
    stage, apps = bench.stage, bench.stage.profile.apps
    check_room(stage, apps)
    bench.probe.apps_make(
        apps.count, anonymous=_whole_pages(stage, apps.anonymous),
        file_backed=_whole_pages(stage, apps.file_backed), working_set=_whole_pages(stage, apps.working_set),
        mix=stage.profile.mix_of(apps.pages), seed=bench.seed, order=str(apps.touch), folder=PROBE_FOLDER,
        seconds=_PREPARE_S,
    )  # fmt: skip
    try:
        yield SyntheticApps(bench, apps.count)
    finally:
        _end(bench)


def _end(bench: Bench) -> None:
    """End all apps. When the phone or the probe is gone, they are too; then the first error counts."""
    try:
        bench.probe.apps_end(seconds=_PREPARE_S)
    except DeviceError:
        return


def _whole_pages(stage: Stage, size_bytes: int) -> int:
    return size_bytes // stage.page_bytes * stage.page_bytes


def check_room(stage: Stage, apps: Apps) -> None:
    """Raise EnvironmentRefused when all apps together do not fit into RAM and swap, with a margin for the phone."""
    ram, swap = stage.device.identity.ram_bytes, stage.profile.zram.disksize
    need, have = apps.count * apps.anonymous, int(ram * (1 - _MARGIN)) + swap
    if need > have:
        raise EnvironmentRefused(
            f"{stage.device.serial}: {apps.count} apps of {format_size(apps.anonymous)} need {need >> 20} MiB, the "
            f"phone has {ram >> 20} MiB of RAM and zram {swap >> 20} MiB; with {_MARGIN:.0%} of the RAM left to the "
            f"phone that is {have >> 20} MiB",
            hint="lower apps.count or apps.anonymous in the profile, or raise zram.disksize",
        )
