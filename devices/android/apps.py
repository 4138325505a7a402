"""Real apps: which can be launched, starting them by ``am start -W``, sending them to the background, stopping them.

::

    AppProblem              something is wrong with one app; a run goes on with the others
    ├── NotInstalled
    ├── NotLaunchable       no launchable activity, or one that nobody else may start
    ├── CrashedAtStart      started, and no process is there
    ├── KeyguardInTheWay    the lock screen is in front
    ├── PermissionDialog    the app asks the user for a permission
    ├── AmSilent            am printed nothing that says what became of the start
    └── AmTimedOut
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from base.errors import DeviceError
from base.parsing import number_or_none
from devices.android.screen import KEYGUARD, Keyguard, parse_keyguard
from devices.device import Changes, Device
from devices.journal import Undo
from devices.transport import CommandResult, Exec

# am waits without an end of its own on some releases; toybox's timeout ends it with 124 (137 if it must kill).
_START_S = 20
_TIMED_OUT = (124, 137, 143)
_PROCESSES = Exec(("ps", "-A", "-o", "PID,NAME"))
_RESUMED = Exec(("sh", "-c", "dumpsys activity activities | grep -E 'ResumedActivity|KeyguardShowing='"), accept=(0, 1))
_COMPONENT = re.compile(r"(?<![\w.])([\w.]{1,255})/([\w.$]{1,255})")


class AppProblem(DeviceError):
    """One app cannot be used; ``package`` is its name."""

    def __init__(self, package: str, what: str, *, hint: str = "") -> None:
        super().__init__(f"{package}: {what}", hint=hint)
        self.package = package


class NotInstalled(AppProblem):
    """The package is not on the phone."""


class NotLaunchable(AppProblem):
    """No launchable activity, or am refused to start it."""


class CrashedAtStart(AppProblem):
    """It was started and has no process."""


class KeyguardInTheWay(AppProblem):
    """The lock screen is in front of the app."""


class PermissionDialog(AppProblem):
    """The app is behind a question to the user."""


class AmSilent(AppProblem):
    """am did not say what became of the start."""


class AmTimedOut(AppProblem):
    """The app did not draw its window in time."""


class LaunchState(StrEnum):
    """am's words: a new process, a new activity in an old process, an old activity, one made anew in its task."""

    cold = "COLD"
    warm = "WARM"
    hot = "HOT"
    relaunch = "RELAUNCH"
    unknown = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class App:
    """``component`` is what am starts: PACKAGE/ACTIVITY. ``note`` says why this one, where there are several."""

    package: str
    component: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """One start. Times in ms by the phone's own clock, None when am did not measure.

    ``total_ms`` ends when the window is drawn; ``wait_ms`` is what am itself waited. ``state`` is COLD if and only if
    the process is new. ``warnings`` are am's, and ours when am and the pids disagree.
    """

    package: str
    state: LaunchState
    total_ms: int | None
    wait_ms: int | None
    warnings: tuple[str, ...]
    pid: int
    pid_changed: bool


@dataclass(frozen=True, slots=True)
class AmAnswer:
    """The lines of ``am start -W`` that are known; every one of them may be missing."""

    status: str | None = None
    state: LaunchState | None = None
    activity: str | None = None
    total_ms: int | None = None
    wait_ms: int | None = None
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def silent(self) -> bool:
        return all(said is None for said in (self.status, self.state, self.total_ms, self.wait_ms))


def parse_am_start(text: str) -> AmAnswer:
    """Lines in any order, with others between them. A total of 0 or less is am's way to say "not measured"."""
    lines = [line.strip() for line in text.splitlines()]
    said: dict[str, str] = {}
    for line in lines:
        if found := re.match(r"(\w+):\s*(.*)", line):
            said.setdefault(found[1], found[2])
    # Before Android 10: ThisTime is the last activity's, TotalTime all that were passed through.
    total = _number(said, "TotalTime") or _number(said, "ThisTime")
    return AmAnswer(
        status=said.get("Status"),
        state=_state(said.get("LaunchState", "")),
        activity=said.get("Activity"),
        total_ms=total if total and total > 0 else None,
        wait_ms=_number(said, "WaitTime"),
        warnings=tuple(line.partition(":")[2].strip() for line in lines if line.startswith("Warning:")),
        errors=tuple(
            line for line in lines if re.match(r"Error\b|Exception occurred|java\.\S+(Exception|Error)", line)
        ),
    )


def _state(text: str) -> LaunchState | None:
    """``UNKNOWN (0)`` and a word of another release's are unknown; no word at all is None."""
    if not text:
        return None
    return next((state for state in LaunchState if text.split()[0] == state), LaunchState.unknown)


def _number(said: Mapping[str, str], key: str) -> int | None:
    words = said.get(key, "").split()
    # am itself prints -1 for what it could not tell.
    return number_or_none(words[0], least=-1) if words else None


def parse_processes(text: str, packages: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Pids of each package from ``ps -o PID,NAME``, the main process first; ``PACKAGE:name`` are its others."""
    rows = [(pid, words[1]) for words in map(str.split, text.splitlines()) if (pid := _pid(words)) is not None]
    return {
        package: tuple(pid for pid, name in rows if name == package)
        + tuple(pid for pid, name in rows if name.startswith(f"{package}:"))
        for package in packages
    }


def _pid(words: Sequence[str]) -> int | None:
    return number_or_none(words[0]) if len(words) > 1 else None


def find_apps(device: Device, packages: Sequence[str]) -> tuple[list[App], list[AppProblem]]:
    """Packages that a profile names: those that can be launched, and what is wrong with the others.

    One round trip, and one more where a package has several launcher activities.
    """
    ops = [op for package in packages for op in (Exec(("pm", "path", package), accept=(0, 1)), _resolve(package))]
    results = device.execute(*ops, keep_going=True)
    found = _launchers(device, dict(zip(packages, results[1::2], strict=True)))
    paths = dict(zip(packages, results[::2], strict=True))
    apps = [found[package] for package in packages]
    problems: list[AppProblem] = []
    for package, app in zip(packages, apps, strict=True):
        if isinstance(app, NotLaunchable):
            installed = "package:" in paths[package].stdout
            missing = NotInstalled(package, "not installed", hint="correct apps.packages in the profile")
            problems.append(app if installed else missing)
    return [app for app in apps if isinstance(app, App)], problems


def launchable_apps(device: Device, count: int) -> list[App]:
    """At most ``count`` apps that the user installed and that can be launched, by name."""
    listing = device.run("pm", "list", "packages", "-3")
    names = sorted(set(re.findall(r"^package:(\S+)", listing, re.MULTILINE)))
    apps: list[App] = []
    step = max(2 * count, 8)
    for start in range(0, len(names), step):
        if len(apps) >= count:
            break
        chunk = names[start : start + step]
        results = device.execute(*(_resolve(name) for name in chunk), keep_going=True, seconds=device.command_s * 2)
        found = _launchers(device, dict(zip(chunk, results, strict=True)))
        apps += [app for app in found.values() if isinstance(app, App)]
    return apps[:count]


def _resolve(package: str) -> Exec:
    return Exec(("cmd", "package", "resolve-activity", "--brief", package))


def _launchers(device: Device, resolved: Mapping[str, CommandResult]) -> dict[str, App | NotLaunchable]:
    """What starts each package. Where another package's chooser would come up, all of its launchers are asked for."""
    components = {package: (result.text.split() or [""])[-1] for package, result in resolved.items() if result.ok}
    several = [package for package, word in components.items() if "/" in word and not word.startswith(f"{package}/")]
    asked = (Exec(("cmd", "package", "query-activities", "--brief", package)) for package in several)
    listings = dict(zip(several, device.execute(*asked, keep_going=True), strict=True)) if several else {}
    found: dict[str, App | NotLaunchable] = {}
    for package in resolved:
        word = components.get(package, "")
        if package in listings:
            found[package] = _first_of(package, listings[package].stdout)
        elif word.startswith(f"{package}/"):
            found[package] = App(package, word)
        else:
            found[package] = NotLaunchable(package, "has no launchable activity", hint="leave it out of apps.packages")
    return found


def _first_of(package: str, listing: str) -> App | NotLaunchable:
    """The first launcher activity of several, as Android orders them; which one is the app's own nobody says."""
    own = list(dict.fromkeys(word for word in listing.split() if word.startswith(f"{package}/")))
    if not own:
        return NotLaunchable(
            package, "has several launcher activities, and the phone lists none of them", hint="leave it out"
        )
    return App(package, own[0], note=f"{own[0]} is started, the first of {len(own)} launcher activities")


@dataclass(slots=True)
class AppLauncher:
    """Starts apps in a scope; what it started is force-stopped when the scope is left."""

    changes: Changes
    _started: set[str] = field(default_factory=set)

    @property
    def _device(self) -> Device:
        return self.changes.device

    def start(self, app: App) -> Launch:
        """Bring the app to the front and wait until it has drawn; one round trip. Raises AppProblem.

        At an app's first start it is also looked at what is in front of it.
        """
        first = app.package not in self._started
        if first:
            # Not judged by what runs afterwards: a keyboard or a launcher is started again by others at once.
            stop = Exec(("am", "force-stop", app.package))
            self.changes.will_undo(Undo(f"app {app.package} stopped", (stop,)))
            self._started.add(app.package)
        am = Exec(("timeout", str(_START_S), "am", "start", "-W", "-n", app.component))
        looks = (_RESUMED, KEYGUARD) if first else ()
        before, started, after, *seen = self._device.execute(
            _PROCESSES, am, _PROCESSES, *looks, keep_going=True, seconds=_START_S + self._device.command_s
        )
        answer = parse_am_start(started.stdout + started.stderr)
        old = parse_processes(before.stdout, [app.package])[app.package]
        new = parse_processes(after.stdout, [app.package])[app.package]
        timed_out = started.status in _TIMED_OUT or answer.status == "timeout"
        doubtful = timed_out or answer.silent or (answer.state, answer.total_ms) == (LaunchState.unknown, None)
        if not seen and (doubtful or not new):
            seen = self._device.execute(_RESUMED, KEYGUARD, keep_going=True)
        self._check(app, answer, new, timed_out, "\n".join(result.stdout for result in seen))
        return _launch(app.package, answer, old, new)

    def _check(self, app: App, answer: AmAnswer, pids: Sequence[int], timed_out: bool, seen: str) -> None:
        """Raises the AppProblem that explains best what was seen."""
        package = app.package
        if answer.errors:
            said = " ".join(answer.errors)[:300]
            raise NotLaunchable(package, f"am refuses to start {app.component}: {said}", hint="leave it out")
        if parse_keyguard(seen) is Keyguard.showing:
            raise KeyguardInTheWay(package, "the keyguard is in front", hint="unlock the phone, set its lock to none")
        if _asks_for_permission(package, f"{answer.activity or ''}\n{seen}"):
            raise PermissionDialog(package, "asks for a permission", hint=f"answer it once, or pm grant {package} ...")
        if timed_out:
            raise AmTimedOut(package, f"no window within {_START_S} s, or am's own limit")
        if answer.silent:
            raise AmSilent(package, "am start -W printed neither status nor times", hint="try it by hand in adb shell")
        if not pids:
            raise CrashedAtStart(package, "started, and its process is gone", hint="logcat -b crash says why")

    def home(self) -> None:
        """The app at the front goes to the background."""
        self._device.run("input", "keyevent", "KEYCODE_HOME")

    def force_stop(self, package: str) -> None:
        self._device.run("am", "force-stop", package)

    def pids(self, packages: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Main process first; empty for an app that does not run. One round trip for all."""
        (listing,) = self._device.execute(_PROCESSES)
        return parse_processes(listing.check().stdout, packages)


def _asks_for_permission(package: str, seen: str) -> bool:
    """Whether another package's activity of permissions is in front: whose it is differs from vendor to vendor."""
    return any(owner != package and "Permission" in activity for owner, activity in _COMPONENT.findall(seen))


@contextmanager
def app_launcher(device: Device) -> Iterator[AppLauncher]:
    """A launcher for this scope."""
    with device.changes() as changes:
        yield AppLauncher(changes)


def _launch(package: str, answer: AmAnswer, old: Sequence[int], new: Sequence[int]) -> Launch:
    """am's word, with the pids as the proof of a cold start."""
    changed = new[0] not in old
    state, warnings = answer.state or LaunchState.unknown, list(answer.warnings)
    if answer.state is None and any("brought to the front" in text for text in warnings):
        state = LaunchState.hot
    if changed != (state is LaunchState.cold):
        if answer.state not in (None, LaunchState.unknown):
            warnings.append(f"am said {answer.state}, the process is {'new' if changed else 'an old one'}")
        if changed:
            state = LaunchState.cold
        elif state is LaunchState.cold:
            state = LaunchState.unknown
    return Launch(package, state, answer.total_ms, answer.wait_ms, tuple(warnings), new[0], changed)
