"""The screen, for real apps: on while plugged, not rotating, no keyguard in the way; and all of it put back."""

from __future__ import annotations

import re
import time
from enum import StrEnum

from base.deadline import Deadline
from devices.device import Changes
from devices.journal import Expect, Undo
from devices.transport import Exec, Op

# BatteryManager: 1 AC, 2 USB, 4 wireless.
_ANY_CHARGER = "7"
_WANTED = (
    ("global", "stay_on_while_plugged_in", _ANY_CHARGER),
    ("system", "accelerometer_rotation", "0"),
)
# Names under which releases print it: isKeyguardShowing (the policy of recent ones), KeyguardShowing (the activity
# manager's controller), mShowingLockscreen (7), mDreamingLockscreen (in front when no dream began, 7 and newer),
# isStatusBarKeyguard (8 to 10), and mIsShowing, which is what the keyguard told the window manager.
_SHOWING = re.compile(
    r"\b(?:(?:is|m)?KeyguardShowing|mShowingLockscreen|mDreamingLockscreen|isStatusBarKeyguard)=\s*(true|false)"
)
_TOLD = re.compile(r"\bmIsShowing=(true|false)|KeyguardServiceDelegate[ \t]*\r?\n[ \t]*showing=(true|false)")
# Blocked input alone says little: a phone that was never set up blocks it too.
_RESTRICTED = re.compile(r"\bmInputRestricted=(true|false)")
_NO_KEYGUARD = "deviceHasKeyguard=false"
KEYGUARD_LINES = (
    "KeyguardShowing=|mShowingLockscreen=|mDreamingLockscreen=|isStatusBarKeyguard=|mIsShowing=|mInputRestricted="
    "|KeyguardServiceDelegate|[[:space:]]showing=|deviceHasKeyguard="
)
KEYGUARD = Exec(("sh", "-c", f"dumpsys window | grep -E '{KEYGUARD_LINES}'"), accept=(0, 1))
# Asked where the window manager does not say it.
_CONTROLLER = Exec(("sh", "-c", "dumpsys activity activities | grep KeyguardShowing="), accept=(0, 1))
# It slides away.
_DISMISS_S, _PAUSE_S = 3.0, 0.2


class Keyguard(StrEnum):
    """Whether the lock screen is in front of the apps; some builds do not say."""

    gone = "gone"
    showing = "showing"
    unknown = "unknown"


def parse_keyguard(text: str) -> Keyguard:
    """From ``dumpsys window``, whole or its lines that name the keyguard; one line that says so is enough."""
    told = [found[1] or found[2] for found in _TOLD.finditer(text)]
    if _NO_KEYGUARD in text:
        # Nobody has told the window manager then, and it keeps what it assumes at boot: that one is showing.
        told = ["false"]
    said = [*_SHOWING.findall(text), *told] or _RESTRICTED.findall(text)
    if not said:
        return Keyguard.unknown
    return Keyguard.showing if "true" in said else Keyguard.gone


def ready_screen(changes: Changes) -> Keyguard:
    """Screen on, and kept on and upright, until the scope is left; what is still in front of the apps.

    A keyguard without a PIN goes away. One that stays is the caller's to report: nobody can start an app behind it.
    """
    device = changes.device
    wakefulness, *settings = device.execute(
        Exec(("sh", "-c", "dumpsys power | grep mWakefulness="), accept=(0, 1)),
        *(Exec(("settings", "get", space, key)) for space, key, _ in _WANTED),
        keep_going=True,
    )
    puts: list[Op] = []
    for (space, key, value), before in zip(_WANTED, settings, strict=True):
        changes.will_undo(_setting_undo(space, key, before.check().text.strip()))
        puts.append(Exec(("settings", "put", space, key, value)))
    if re.search(r"mWakefulness=(Asleep|Dozing)", wakefulness.stdout):
        changes.will_undo(Undo("screen off", (Exec(("input", "keyevent", "KEYCODE_SLEEP")),)))
    for result in device.execute(*puts):
        result.check()
    # Not every build has wm or lets it dismiss; what counts is what is seen afterwards.
    *_, seen = device.execute(
        Exec(("input", "keyevent", "KEYCODE_WAKEUP")), Exec(("wm", "dismiss-keyguard")), KEYGUARD, keep_going=True
    )
    deadline = Deadline.after(_DISMISS_S)
    while parse_keyguard(seen.stdout) is Keyguard.showing and not deadline.expired:
        time.sleep(_PAUSE_S)
        (seen,) = device.execute(KEYGUARD)
    keyguard = parse_keyguard(seen.stdout)
    return parse_keyguard(device.execute(_CONTROLLER)[0].stdout) if keyguard is Keyguard.unknown else keyguard


def _setting_undo(space: str, key: str, before: str) -> Undo:
    """Settings outlive a reboot, and so must their way back. ``null`` is what a setting that is not there reads."""
    verb = ("delete", space, key) if before == "null" else ("put", space, key, before)
    expect = Expect(argv=("settings", "get", space, key), value=before)
    return Undo(f"setting {space} {key}", (Exec(("settings", *verb)),), (expect,), survives_reboot=True)
