"""The screen for real apps: on, upright, unlocked; and as it was afterwards."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from base.errors import LabError, RestoreFailed
from devices.android.screen import Keyguard, parse_keyguard, ready_screen
from devices.fake.phone import FakePhone
from tests.android_fakes import heal, opened, phone_that_lives

STAY_ON, ROTATION = ("global", "stay_on_while_plugged_in"), ("system", "accelerometer_rotation")


@pytest.fixture(autouse=True)
def state(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))
    monkeypatch.setattr("devices.android.screen._DISMISS_S", 0.05)


def sleeping_phone() -> FakePhone:
    """Dark and locked with a swipe; one of the settings was never made, the other is on."""
    phone = phone_that_lives()
    phone.android.wakefulness, phone.android.keyguard = "Asleep", "swipe"
    return phone


@pytest.mark.parametrize(
    ("text", "keyguard"),
    [
        ("    isKeyguardShowing=false\n", Keyguard.gone),
        ("    isKeyguardShowing=true\n", Keyguard.showing),
        ("    mShowingLockscreen=true mShowingDream=false mDreamingLockscreen=true\n", Keyguard.showing),
        ("mShowingDream=false mDreamingLockscreen=true mDreamingSleepToken=null", Keyguard.showing),
        ("mShowingDream=false mDreamingLockscreen=false mDreamingSleepToken=null", Keyguard.gone),
        ("    mStatusBar=Window{1 u0 StatusBar} isStatusBarKeyguard=true\n", Keyguard.showing),
        ("  KeyguardServiceDelegate\n    showing=true\n    showingAndNotOccluded=true\n", Keyguard.showing),
        ("  KeyguardServiceDelegate\n    showing=false\n    showingAndNotOccluded=true\n", Keyguard.gone),
        ("  KeyguardStateMonitor\n    mIsShowing=true\n    mInputRestricted=true\n", Keyguard.showing),
        ("  KeyguardStateMonitor\n    mIsShowing=false\n    mInputRestricted=true\n", Keyguard.gone),
        ("  deviceHasKeyguard=false\n  KeyguardStateMonitor\n    mIsShowing=true\n", Keyguard.gone),
        ("  mInputRestricted=true\n", Keyguard.showing),
        ("    Display{0} KeyguardShowing=true AodShowing=false KeyguardGoingAway=false", Keyguard.showing),
        ("    mWallpaperController showing=true mLidState=LID_OPEN mAwake=true", Keyguard.unknown),
        ("Can't find service: window\n", Keyguard.unknown),
    ],
)
def test_the_keyguard_as_releases_print_it(text: str, keyguard: Keyguard) -> None:
    assert parse_keyguard(text) is keyguard


def test_the_screen_is_on_and_upright_and_then_as_it_was(tmp_path: Path) -> None:
    phone = sleeping_phone()
    with opened(phone, tmp_path) as device, device.changes() as changes:
        assert ready_screen(changes) is Keyguard.gone
        assert phone.android.wakefulness == "Awake"
        assert (phone.android.settings[STAY_ON], phone.android.settings[ROTATION]) == ("7", "0")
    assert phone.state() == sleeping_phone().state()
    assert STAY_ON not in phone.android.settings


def test_a_keyguard_with_a_pin_stays_and_is_told(tmp_path: Path) -> None:
    phone = sleeping_phone()
    phone.android.keyguard = "pin"
    with opened(phone, tmp_path) as device, device.changes() as changes:
        assert ready_screen(changes) is Keyguard.showing


def test_what_the_window_manager_does_not_say_is_unknown_and_told(tmp_path: Path) -> None:
    phone = sleeping_phone()
    phone.android.window = "mAwake=true\n"
    with opened(phone, tmp_path) as device, device.changes() as changes:
        assert ready_screen(changes) is Keyguard.unknown


def test_settings_outlive_a_reboot_and_so_does_their_way_back(tmp_path: Path) -> None:
    phone = sleeping_phone()
    with suppress(LabError), opened(phone, tmp_path) as device, device.changes() as changes:
        ready_screen(changes)
        phone.commands_left = 0
    phone.commands_left = None
    phone.reboot()
    assert phone.android.settings[STAY_ON] == "7"
    heal(phone, tmp_path)
    assert phone.android.settings == sleeping_phone().android.settings


def test_a_setting_that_does_not_go_back_is_an_error(tmp_path: Path) -> None:
    phone = sleeping_phone()
    says = "settings get system accelerometer_rotation: '0', expected equal '1'"
    with opened(phone, tmp_path) as device:
        with pytest.raises(RestoreFailed, match=says), device.changes() as changes:
            ready_screen(changes)
            real = phone.android._settings
            phone.android._settings = lambda argv: "" if argv[1] == "put" else real(argv)  # type: ignore[method-assign]
        assert device.broken_by


@pytest.mark.parametrize("lose_answer", [False, True], ids=["cut", "answer_lost"])
def test_a_cable_pulled_at_any_command_is_healed(tmp_path: Path, lose_answer: bool) -> None:
    def run(phone: FakePhone) -> None:
        with opened(phone, tmp_path) as device, device.changes() as changes:
            ready_screen(changes)

    whole = sleeping_phone()
    run(whole)
    for commands_left in range(len(whole.log)):
        phone = sleeping_phone()
        phone.commands_left, phone.lose_answer = commands_left, lose_answer
        with suppress(LabError):
            run(phone)
        heal(phone, tmp_path)
        assert phone.state() == sleeping_phone().state(), f"cut before command {commands_left}"
