"""The Android of FakePhone: properties, services, settings, apps and sensors, with the programs that show them.

Outputs are in Android's formats. Apps have moods, because ``am`` has. A test sets what it needs, compares ``state()``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch

_PROPERTIES = {
    "ro.product.manufacturer": "Nobody",
    "ro.product.model": "FakePhone",
    "ro.product.device": "fake",
    "ro.build.fingerprint": "nobody/fake/fake:16/TEST/1:userdebug/test-keys",
    "ro.build.version.release": "16",
    "ro.serialno": "FAKE01",
    "sys.boot_completed": "1",
}
_RESOLVED = "priority=0 preferredOrder=0 match=0x108000 specificIndex=-1 isDefault=false"
_SHOWS_WINDOW = (
    "Status: ok\nLaunchState: {state}\nActivity: {activity}\nTotalTime: {total}\nWaitTime: {wait}\nComplete\n"
)


class Refused(Exception):
    """The fake kernel or program said no; the text is what stderr would show."""

    def __init__(self, text: str, *, status: int = 1, stdout: str = "") -> None:
        super().__init__(text)
        self.status, self.stdout = status, stdout


@dataclass
class FakeApp:
    """``mood`` is how it, or am with it, behaves at a start; ok is well."""

    activity: str = ".Main"
    mood: str = "ok"
    other_launchers: tuple[str, ...] = ()


@dataclass
class FakeAndroid:
    """State as plain data. ``files`` gives the phone's."""

    files: Callable[[], Mapping[str, str]]
    properties: dict[str, str] = field(default_factory=lambda: dict(_PROPERTIES))
    services: dict[str, str] = field(default_factory=dict)
    stubborn: set[str] = field(default_factory=set)
    settings: dict[tuple[str, str], str] = field(default_factory=dict)
    apps: dict[str, FakeApp] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    jobs: set[int] = field(default_factory=set)
    battery: dict[str, str] = field(default_factory=lambda: {"level": "100", "scale": "100", "temperature": "250"})
    cools_by: int = 0
    thermal: str = ""
    keyguard: str = "gone"
    window: str = ""
    wakefulness: str = "Awake"
    events: str = ""
    dmesg: list[str] = field(default_factory=list)
    _unfinished: list[str] = field(default_factory=list)
    clock_s: int = 1_790_000_000
    _pid: int = 4000

    def state(self) -> tuple[object, ...]:
        """What must be put back. A property cannot be removed on Android: empty is as good as not there."""
        properties = {name: value for name, value in self.properties.items() if value}
        return dict(self.services), dict(self.settings), properties, sorted(self.running), self.wakefulness

    def reboot(self) -> None:
        self.properties = {k: v for k, v in self.properties.items() if k in _PROPERTIES or k.startswith("persist.")}
        self.services = dict.fromkeys(self.services, "running")
        self.running.clear()

    def new_pid(self) -> int:
        self._pid += 1
        return self._pid

    def program(self, name: str) -> Callable[[tuple[str, ...]], str] | None:
        return {
            "getprop": self._getprop, "setprop": self._setprop, "start": self._start, "stop": self._stop,
            "settings": self._settings, "am": self._am, "pm": self._pm, "cmd": self._cmd, "input": self._input,
            "wm": self._wm, "ps": self._ps, "dumpsys": self._dumpsys, "logcat": self._logcat, "sh": self._sh,
            "dmesg": lambda argv: "".join(f"{line}\n" for line in self.dmesg),
            "date": lambda argv: f"{self.clock_s}\n", "timeout": lambda argv: self._run(argv[2:]),
        }.get(name)  # fmt: skip

    def kmsg(self, text: str) -> None:
        """As the kernel does it: a line without a newline is shown when the next one comes."""
        self._unfinished.append(f"[ 1000.000000] {text.rstrip()}")
        if text.endswith("\n"):
            self.dmesg += self._unfinished
            self._unfinished = []

    def _run(self, argv: tuple[str, ...]) -> str:
        program = self.program(argv[0])
        if program is None:
            raise Refused("inaccessible or not found", status=127)
        return program(argv)

    def _sh(self, argv: tuple[str, ...]) -> str:
        """What this project's scripts are: ``grep -Hs . GLOB ...``, ``ls -d GLOB``, ``PROGRAM | grep PATTERN``.

        A loop that waits has nothing to wait for.
        """
        words = shlex.split(argv[2])
        if "while" in words:
            return ""
        if words[0] == "grep":
            files = self.files()
            found = [path for glob in words[3:] for path in sorted(files) if fnmatch(path, glob)]
            return "".join(f"{path}:{line}\n" for path in found for line in files[path].splitlines())
        if words[0] == "ls":
            found = sorted(path for path in self.files() if fnmatch(path, words[2]))
            if not found:
                raise Refused("No such file or directory")
            return "".join(f"{path}\n" for path in found)
        bar = words.index("|")
        lines = self._run(tuple(words[:bar])).splitlines(keepends=True)
        pattern = words[-1].replace("[[:space:]]", r"\s")
        return "".join(line for line in lines if re.search(pattern, line, re.IGNORECASE))

    def _all_properties(self) -> dict[str, str]:
        return self.properties | {f"init.svc.{name}": state for name, state in self.services.items()}

    def _getprop(self, argv: tuple[str, ...]) -> str:
        known = self._all_properties()
        if len(argv) == 1:
            return "".join(f"[{name}]: [{value}]\n" for name, value in sorted(known.items()))
        return f"{known.get(argv[1], '')}\n"

    def _setprop(self, argv: tuple[str, ...]) -> str:
        self.properties[argv[1]] = argv[2]
        return ""

    def _start(self, argv: tuple[str, ...]) -> str:
        if argv[1] in self.services:
            self.services[argv[1]] = "running"
        return ""

    def _stop(self, argv: tuple[str, ...]) -> str:
        if argv[1] in self.services and argv[1] not in self.stubborn:
            self.services[argv[1]] = "stopped"
        return ""

    def _settings(self, argv: tuple[str, ...]) -> str:
        verb, key = argv[1], (argv[2], argv[3])
        if verb == "get":
            return f"{self.settings.get(key, 'null')}\n"
        if verb == "delete":
            return f"Deleted {int(self.settings.pop(key, None) is not None)} rows\n"
        self.settings[key] = argv[4]
        return ""

    def _input(self, argv: tuple[str, ...]) -> str:
        self.wakefulness = {"KEYCODE_WAKEUP": "Awake", "KEYCODE_SLEEP": "Asleep"}.get(argv[2], self.wakefulness)
        return ""

    def _wm(self, argv: tuple[str, ...]) -> str:
        if self.keyguard == "swipe":
            self.keyguard = "gone"
        return ""

    def _ps(self, argv: tuple[str, ...]) -> str:
        rows = [(1, "init"), (2, "[kthreadd]"), *((pid, name) for name, pid in self.running.items())]
        rows += [(300 + n, name) for n, (name, state) in enumerate(self.services.items()) if state == "running"]
        if argv[-1] == "NAME":
            return "NAME\n" + "".join(f"{name}\n" for _, name in rows)
        return "  PID NAME\n" + "".join(f"{pid:5} {name}\n" for pid, name in rows)

    def _pm(self, argv: tuple[str, ...]) -> str:
        if argv[1] == "path":
            if argv[2] not in self.apps:
                raise Refused("")
            return f"package:/data/app/{argv[2]}/base.apk\n"
        return "".join(f"package:{name}\n" for name in self.apps)

    def _cmd(self, argv: tuple[str, ...]) -> str:
        if argv[1:3] == ("jobscheduler", "get-job-state"):
            if int(argv[4]) not in self.jobs:
                raise Refused("", status=23, stdout=f"unknown(1000/jid{argv[4]})\n")
            return "waiting\n"
        app = self.apps.get(argv[-1])
        if app is None or not app.activity:
            return "No activity found\n"
        matches = [f"{argv[-1]}/{activity}" for activity in (app.activity, *app.other_launchers)]
        if argv[2] == "query-activities":
            listed = (f"  Activity #{n}:\n    {_RESOLVED}\n    {match}\n" for n, match in enumerate(matches))
            return f"{len(matches)} activities found:\n{''.join(listed)}"
        chooser = "android/com.android.internal.app.ResolverActivity"
        return f"{_RESOLVED}\n{matches[0] if len(matches) == 1 else chooser}\n"

    def _am(self, argv: tuple[str, ...]) -> str:
        if argv[1] == "force-stop":
            for name in [name for name in self.running if name.split(":")[0] == argv[2]]:
                del self.running[name]
            return ""
        package, _, activity = argv[-1].partition("/")
        app = self.apps.get(package)
        begin = f"Starting: Intent {{ cmp={argv[-1]} }}\n"
        if app is None or app.mood == "refused":
            said = f"Error type 3\nError: Activity class {{{argv[-1]}}} does not exist.\n"
            raise Refused("", stdout=begin + said)
        was_there = package in self.running
        if not was_there and app.mood not in ("crash", "dead_am"):
            self.running[package] = self.new_pid()
        return begin + self._answer(app, package, activity, was_there)

    def _answer(self, app: FakeApp, package: str, activity: str, was_there: bool) -> str:
        """What am prints, by the app's mood."""
        if app.mood in ("hang", "dead_am"):
            raise Refused("", status=124)
        answer = _SHOWS_WINDOW.format(
            state="HOT" if was_there else "COLD",
            activity=f"{package}/{activity}",
            total=95 if was_there else 812,
            wait=830,
        )
        match app.mood:
            case "silent":
                return ""
            case "timeout":
                return "Status: timeout\nLaunchState: UNKNOWN (0)\nWaitTime: 10012\nComplete\n"
            case "permission":
                dialog = "com.android.permissioncontroller/.permission.ui.GrantPermissionsActivity"
                return answer.replace(f"{package}/{activity}", dialog)
            case "miui_permission":
                dialog = "com.lbe.security.miui/com.android.packageinstaller.permission.ui.GrantPermissionsActivity"
                return answer.replace(f"{package}/{activity}", dialog)
            case "android9":
                return answer.replace("LaunchState: COLD\n", "ThisTime: 640\n").replace("LaunchState: HOT\n", "")
            case "liar":
                return answer.replace("HOT", "COLD")
            case "to_front" if was_there:
                warning = "Warning: Activity not started, its current task has been brought to the front\n"
                return warning + answer.replace("TotalTime: 95", "TotalTime: 0").replace("HOT", "UNKNOWN (0)")
        return answer

    def _dumpsys(self, argv: tuple[str, ...]) -> str:
        match argv[1]:
            case "battery":
                text = "".join(f"  {key}: {value}\n" for key, value in self.battery.items())
                if "temperature" in self.battery:
                    self.battery["temperature"] = str(int(self.battery["temperature"]) - self.cools_by)
                return f"Current Battery Service state:\n{text}"
            case "thermalservice":
                return self.thermal
            case "power":
                return f"POWER MANAGER (dumpsys power)\n  mWakefulness={self.wakefulness}\n"
            case "window":
                return self.window or f"    isKeyguardShowing={'false' if self.keyguard == 'gone' else 'true'}\n"
            case service:
                return f"Can't find service: {service}\n"

    def _logcat(self, argv: tuple[str, ...]) -> str:
        lines = self.events.splitlines(keepends=True)
        if "-t" in argv:
            return "".join(lines[-1:])
        return "".join(line for line in lines if any(f" {tag}" in line for tag in argv[argv.index("-s") + 1 :]))
