"""Real Android apps. The activity manager starts them, and whatever kills apps on this phone kills them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from base.errors import EnvironmentRefused
from base.kernel import SECTORS_PER_4K
from devices.android.apps import (
    App,
    AppLauncher,
    AppProblem,
    Launch,
    LaunchState,
    app_launcher,
    find_apps,
    launchable_apps,
)
from devices.android.events import Kill, phone_time_s, read_kills
from devices.android.screen import Keyguard, ready_screen
from devices.transport import Read
from workloads.app_model import Death, Played, Switch, SwitchKind
from workloads.bench import Bench
from workloads.synthetic_apps import backing_name

_READ_SECTORS = 2
# Of /proc/PID/stat, counted from the state on.
_MAJFLT = 9
_KINDS = {LaunchState.cold: SwitchKind.cold, LaunchState.hot: SwitchKind.hot}


@dataclass(slots=True)
class PackageApps:
    """The apps of ``package_apps``. Latency is am's TotalTime: until the window is drawn, by the phone's clock."""

    bench: Bench
    launcher: AppLauncher
    apps: Sequence[App]
    clock_ns: int
    """what the phone's monotonic clock says at 0 s of its epoch"""
    since_s: float
    keyguard: Keyguard = Keyguard.gone
    not_found: Sequence[AppProblem] = ()
    kind: str = "packages"
    _pids: dict[int, int] = field(default_factory=dict)
    _told: set[int] = field(default_factory=set)
    _problems: dict[str, str] = field(default_factory=dict)
    _left_out: set[int] = field(default_factory=set)
    _warnings: list[str] = field(default_factory=list)
    _waited: int = 0

    @property
    def names(self) -> Sequence[str]:
        return [app.package for app in self.apps]

    def play(self, apps: Sequence[int], dwell_s: float) -> Played:
        return Played([self._switch(app, dwell_s) for app in apps], self._deaths())

    def _switch(self, number: int, dwell_s: float) -> Switch:
        t_ns = self.bench.probe.hello().monotonic_ns
        missed = Switch(number, t_ns, 0, SwitchKind.missed)
        if number in self._left_out:
            return missed
        app = self.apps[number]
        old = self._pids.get(number)
        before_4k, before_faults = self._counters(old)
        try:
            launch = self.launcher.start(app)
        except AppProblem as problem:
            self._leave_out(number, problem)
            return missed
        after_4k, faults = self._counters(launch.pid)
        self._pids[number] = launch.pid
        self._warnings += [f"{app.package}: {text}" for text in launch.warnings]
        self.bench.probe.daemon_front(launch.pid)
        self.bench.probe.daemon_pause()
        time.sleep(dwell_s)
        self.launcher.home()
        faults -= before_faults if launch.pid == old else 0
        return self._timed(missed, launch, majflt=max(0, faults), flash_4k=after_4k - before_4k)

    def _timed(self, switch: Switch, launch: Launch, *, majflt: int, flash_4k: int) -> Switch:
        """Give a switch am's own time. Where am measured none, give it am's waiting time, and count that."""
        total_ms = launch.total_ms
        if total_ms is None:
            total_ms = launch.wait_ms
            self._waited += 1
        if total_ms is None:
            self._problems.setdefault(launch.package, f"{launch.package}: am measured no time")
            return switch
        kind = SwitchKind.cold if launch.pid_changed else _KINDS.get(launch.state, SwitchKind.warm)
        return Switch(switch.app, switch.t_ns, total_ms * 1_000_000, kind, majflt, flash_4k)

    def _leave_out(self, number: int, problem: AppProblem) -> None:
        """Never start the app again: what hindered it once hinders it again, and costs a time limit each time."""
        self._left_out.add(number)
        self._problems[problem.package] = str(problem)
        self._pids.pop(number, None)
        self.launcher.force_stop(problem.package)

    def _counters(self, pid: int | None) -> tuple[int, int]:
        """Return what was read from the backing device, in 4 KiB, and the process's major faults."""
        ops = [Read(f"/sys/class/block/{backing_name(self.bench.stage)}/stat"), Read(f"/proc/{pid or 'self'}/stat")]
        disk, process = self.bench.stage.device.execute(*ops, keep_going=True)
        # The name of a process may hold blanks and parentheses; what follows the last one does not.
        after_name = process.text.rpartition(")")[2].split() if process.ok and pid else []
        faults = int(after_name[_MAJFLT]) if after_name else 0
        return int(disk.check().text.split()[_READ_SECTORS]) // SECTORS_PER_4K, faults

    def _deaths(self) -> list[Death]:
        """Return the apps whose process is gone, each with the reason that the phone's logs give."""
        running = self.launcher.pids(self.names)
        gone = {app: pid for app, pid in self._pids.items() if pid not in running[self.apps[app].package]}
        log = read_kills(self.bench.stage.device, since_s=self.since_s)
        killed = {kill.pid: kill for kill in log.kills if kill.pid not in self._told}
        deaths = [self._death(app, pid, killed.get(pid), log.events) for app, pid in gone.items()]
        self._told |= set(gone.values())
        for app in gone:
            del self._pids[app]
        return deaths

    def _death(self, app: int, pid: int, kill: Kill | None, events: bool) -> Death:
        if kill is not None:
            t_ns = int(kill.t_epoch_s * 1e9) + self.clock_ns
            return Death(app, t_ns, pid, True, f"{kill.by}: {kill.reason}")
        now_ns = self.bench.probe.hello().monotonic_ns
        # Without an event log nobody can tell a kill from a crash; the former is what pressure makes likely.
        return Death(app, now_ns, pid, not events, "no log says why")

    def alive(self) -> int:
        return len(self._pids)

    def facts(self) -> Mapping[str, Any]:
        notes = [f"{app.package}: {app.note}" for app in self.apps if app.note]
        warnings = sorted({*self._warnings, *notes})
        return {"warnings": warnings, "timed_by_wait": self._waited, "keyguard": str(self.keyguard)}

    def problems(self) -> Sequence[str]:
        return [*map(str, self.not_found), *self._problems.values()]


@contextmanager
def package_apps(bench: Bench) -> Iterator[PackageApps]:
    """Yield the profile's apps with the screen on; afterwards they are stopped and the screen is as it was.

    Raises EnvironmentRefused when none can be started or the keyguard stays in front of all.
    """
    wanted, device = bench.stage.profile.apps, bench.stage.device
    problems: Sequence[AppProblem] = ()
    if wanted.packages == "auto":
        apps = launchable_apps(device, wanted.count)
    else:
        apps, problems = find_apps(device, wanted.packages[: wanted.count])
    if not apps:
        raise EnvironmentRefused(
            f"{device.serial}: no app to switch to: {'; '.join(map(str, problems)) or 'none is installed by the user'}",
            hint="install some, name them in apps.packages, or set apps.kind to synthetic",
        )
    hello = bench.probe.hello()
    with device.changes() as changes, app_launcher(device) as launcher:
        keyguard = ready_screen(changes)
        if keyguard is Keyguard.showing:
            raise EnvironmentRefused(
                f"{device.serial}: the keyguard stays in front of the apps",
                hint="unlock the phone, or set its screen lock to none for the run",
            )
        clock_ns = hello.monotonic_ns - hello.realtime_ns
        yield PackageApps(bench, launcher, apps, clock_ns, phone_time_s(device), keyguard, problems)
