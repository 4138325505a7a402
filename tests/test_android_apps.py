"""Starting real apps: what am says in all its moods, and that nothing of it is left running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from base.errors import LabError
from devices.android.apps import (
    AmSilent,
    AmTimedOut,
    App,
    AppLauncher,
    AppProblem,
    CrashedAtStart,
    KeyguardInTheWay,
    LaunchState,
    NotInstalled,
    NotLaunchable,
    PermissionDialog,
    app_launcher,
    find_apps,
    launchable_apps,
    parse_am_start,
    parse_processes,
)
from devices.device import Device
from devices.fake.android import FakeApp
from devices.fake.phone import FakePhone
from tests.android_fakes import heal, opened, phone_that_lives, sample

MAPS = App("org.example.maps", "org.example.maps/.Main")


@pytest.fixture(autouse=True)
def state(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))


@pytest.fixture
def phone() -> FakePhone:
    phone = phone_that_lives()
    phone.android.apps["org.example.maps"] = FakeApp()
    return phone


@pytest.fixture
def device(phone: FakePhone, tmp_path: Path) -> Iterator[Device]:
    with opened(phone, tmp_path) as device:
        yield device


@pytest.fixture
def launcher(device: Device) -> Iterator[AppLauncher]:
    with app_launcher(device) as launcher:
        yield launcher


def mood(phone: FakePhone, mood: str) -> None:
    phone.android.apps["org.example.maps"].mood = mood


@pytest.mark.parametrize(
    ("name", "state", "total_ms", "wait_ms", "warnings"),
    [
        ("cold", LaunchState.cold, 812, 830, 0),
        ("hot", LaunchState.hot, 95, 101, 1),
        ("to-front", LaunchState.unknown, None, 4, 1),
        ("timeout", LaunchState.unknown, None, 10012, 0),
        ("android9", None, 1204, 1230, 0),
        ("vendor", LaunchState.warm, 412, 830, 0),
    ],
)
def test_what_am_prints(
    name: str, state: LaunchState | None, total_ms: int | None, wait_ms: int, warnings: int
) -> None:
    answer = parse_am_start(sample(f"am-start-{name}"))
    assert (answer.state, answer.total_ms, answer.wait_ms, len(answer.warnings)) == (state, total_ms, wait_ms, warnings)
    assert not answer.errors
    assert not answer.silent
    assert (answer.status == "timeout") == (name == "timeout")


@pytest.mark.parametrize(("name", "says"), [("no-class", "does not exist"), ("denied", "not exported from uid 10231")])
def test_am_refuses(name: str, says: str) -> None:
    assert says in " ".join(parse_am_start(sample(f"am-start-{name}")).errors)


def test_an_answer_without_a_word_is_silence() -> None:
    assert parse_am_start("").silent
    assert parse_am_start("Starting: Intent { cmp=org.example.maps/.Main }\n").silent


def test_processes_of_a_package_and_of_none_that_only_begins_alike() -> None:
    listing = "  PID NAME\n 11 org.example.maps:push\n 12 org.example.maps\n 13 org.example.mapsplus\n"
    assert parse_processes(listing, ["org.example.maps", "org.example.off"]) == {
        "org.example.maps": (12, 11),
        "org.example.off": (),
    }


def test_cold_then_hot_with_one_round_trip_each(phone: FakePhone, launcher: AppLauncher) -> None:
    cold = launcher.start(MAPS)
    launcher.home()
    before = phone.wire.trips
    hot = launcher.start(MAPS)
    assert phone.wire.trips - before == 1
    assert (cold.state, cold.total_ms, cold.wait_ms, cold.pid_changed) == (LaunchState.cold, 812, 830, True)
    assert (hot.state, hot.total_ms, hot.pid_changed, hot.pid) == (LaunchState.hot, 95, False, cold.pid)


def test_cold_is_believed_only_with_a_new_pid(phone: FakePhone, launcher: AppLauncher) -> None:
    mood(phone, "liar")
    assert launcher.start(MAPS).state is LaunchState.cold
    again = launcher.start(MAPS)
    assert again.state is LaunchState.unknown
    assert again.warnings == ("am said COLD, the process is an old one",)


def test_android_9_says_no_state_and_the_pids_tell(phone: FakePhone, launcher: AppLauncher) -> None:
    mood(phone, "android9")
    first, second = launcher.start(MAPS), launcher.start(MAPS)
    assert (first.state, first.total_ms) == (LaunchState.cold, 812)
    assert (second.state, second.total_ms, second.warnings) == (LaunchState.unknown, 95, ())


def test_a_task_brought_to_the_front_has_no_time(phone: FakePhone, launcher: AppLauncher) -> None:
    mood(phone, "to_front")
    launcher.start(MAPS)
    again = launcher.start(MAPS)
    assert (again.state, again.total_ms, again.wait_ms) == (LaunchState.unknown, None, 830)
    assert "brought to the front" in again.warnings[0]


@pytest.mark.parametrize(
    ("bad", "problem", "says"),
    [
        ("refused", NotLaunchable, "does not exist"),
        ("crash", CrashedAtStart, "its process is gone"),
        ("silent", AmSilent, "printed neither status nor times"),
        ("timeout", AmTimedOut, "no window within 20 s"),
        ("hang", AmTimedOut, "no window within 20 s"),
        ("dead_am", AmTimedOut, "no window within 20 s"),
        ("permission", PermissionDialog, "asks for a permission"),
        ("miui_permission", PermissionDialog, "asks for a permission"),
    ],
)
def test_one_bad_app_is_named_and_the_next_one_starts(
    phone: FakePhone, launcher: AppLauncher, bad: str, problem: type[AppProblem], says: str
) -> None:
    phone.android.apps["org.example.bad"] = FakeApp(mood=bad)
    with pytest.raises(problem, match=says) as caught:
        launcher.start(App("org.example.bad", "org.example.bad/.Main"))
    assert caught.value.package == "org.example.bad"
    assert launcher.start(MAPS).state is LaunchState.cold


def test_an_apps_own_page_about_permissions_is_the_app(phone: FakePhone, launcher: AppLauncher) -> None:
    phone.android.apps["org.example.maps"].activity = ".PermissionsIntroActivity"
    assert launcher.start(App("org.example.maps", "org.example.maps/.PermissionsIntroActivity")).pid_changed


def test_a_keyguard_is_named_and_not_the_app(phone: FakePhone, launcher: AppLauncher) -> None:
    phone.android.keyguard = "pin"
    mood(phone, "timeout")
    with pytest.raises(KeyguardInTheWay, match="keyguard is in front"):
        launcher.start(MAPS)


def test_a_keyguard_that_comes_later_is_named_too(phone: FakePhone, launcher: AppLauncher) -> None:
    launcher.start(MAPS)
    phone.android.keyguard = "pin"
    mood(phone, "hang")
    with pytest.raises(KeyguardInTheWay):
        launcher.start(MAPS)


def test_everything_that_was_started_is_stopped_at_the_end(phone: FakePhone, device: Device) -> None:
    phone.android.apps["org.example.slow"] = FakeApp(mood="timeout")
    with app_launcher(device) as launcher:
        launcher.start(MAPS)
        with suppress(AppProblem):
            launcher.start(App("org.example.slow", "org.example.slow/.Main"))
        phone.android.running["org.example.maps:push"] = 77
        pids = launcher.pids(["org.example.maps", "org.example.slow"])
        assert (len(pids["org.example.maps"]), len(pids["org.example.slow"])) == (2, 1)
    assert not phone.android.running
    assert not device.journal.entries


def test_an_app_can_be_stopped_before_the_end(phone: FakePhone, launcher: AppLauncher) -> None:
    launcher.start(MAPS)
    launcher.force_stop(MAPS.package)
    assert not phone.android.running
    assert launcher.start(MAPS).state is LaunchState.cold


@pytest.mark.parametrize("lose_answer", [False, True], ids=["cut", "answer_lost"])
def test_no_app_outlives_a_pulled_cable(tmp_path: Path, lose_answer: bool) -> None:
    def run(phone: FakePhone) -> None:
        phone.android.apps = {name: FakeApp() for name in ("org.example.maps", "org.example.mail")}
        with opened(phone, tmp_path) as device, app_launcher(device) as launcher:
            for app in launchable_apps(device, 2):
                launcher.start(app)
                launcher.home()

    whole = phone_that_lives()
    run(whole)
    for commands_left in range(len(whole.log)):
        phone = phone_that_lives()
        phone.commands_left, phone.lose_answer = commands_left, lose_answer
        with suppress(LabError):
            run(phone)
        heal(phone, tmp_path)
        assert phone.state() == phone_that_lives().state(), f"cut before command {commands_left}"


def test_launchable_apps_are_bounded_and_those_without_an_activity_left_out(phone: FakePhone, device: Device) -> None:
    phone.android.apps |= {f"org.example.a{n:02}": FakeApp(activity="" if n % 2 else ".Main") for n in range(40)}
    before = phone.wire.trips
    apps = launchable_apps(device, 6)
    assert [app.package for app in apps] == [f"org.example.a{n:02}" for n in range(0, 12, 2)]
    assert apps[0].component == "org.example.a00/.Main"
    assert phone.wire.trips - before == 2
    assert len(launchable_apps(device, 60)) == 21


def test_named_apps_that_cannot_be_used_are_named_and_the_others_found(phone: FakePhone, device: Device) -> None:
    phone.android.apps["org.example.service"] = FakeApp(activity="")
    apps, problems = find_apps(device, ["org.example.none", "org.example.maps", "org.example.service"])
    assert apps == [MAPS]
    assert [(type(problem), problem.package) for problem in problems] == [
        (NotInstalled, "org.example.none"),
        (NotLaunchable, "org.example.service"),
    ]


def test_of_several_launcher_activities_the_first_is_started_and_that_is_told(phone: FakePhone, device: Device) -> None:
    phone.android.apps["org.example.two"] = FakeApp(other_launchers=(".Camera", ".Notes"))
    before = phone.wire.trips
    apps, problems = find_apps(device, ["org.example.two", "org.example.maps"])
    assert (phone.wire.trips - before, problems) == (2, [])
    assert apps[1] == MAPS
    assert apps[0].component == "org.example.two/.Main"
    assert apps[0].note == "org.example.two/.Main is started, the first of 3 launcher activities"
    assert apps[0] in launchable_apps(device, 5)


def test_launchers_that_are_not_listed_are_not_said_to_be_none(phone: FakePhone, device: Device) -> None:
    phone.android.apps["org.example.two"] = FakeApp()
    phone.android.apps["org.example.two"].other_launchers = (".Camera",)
    real = phone.android._cmd
    phone.android._cmd = lambda argv: "" if argv[2] == "query-activities" else real(argv)  # type: ignore[method-assign]
    _, (problem,) = find_apps(device, ["org.example.two"])
    assert "has several launcher activities" in str(problem)
