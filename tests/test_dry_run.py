"""``./lab run --dry-run``: what would be changed is told, and nothing is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from base.errors import LabError, ProfileError
from devices.clocks import ClockWatch
from devices.device import MARKER
from devices.fake.phone import FakePhone
from devices.health import Guard
from devices.phone import Phone, Target, see_a_zram
from devices.planned import PlannedTransport, only_looks
from devices.profiles.profile import Profile
from devices.profiles.reading import load
from devices.profiles.sections import Backing, SELinuxMode, ZramDevice
from devices.transcript import Transcript
from devices.transport import Transport
from farm.launcher import Launcher
from records import model
from tests.android_fakes import heal, opened, phone_that_lives
from tests.test_in_use import Enforcing
from tests.test_run_life import Silent
from workloads.dry_run import PlannedTest, describe, expected_time, open_dry_run
from workloads.run import LabRun, Wanted, open_run

# What may reach a phone that is only looked at, as a person judges it who reads the commands of a run.
LOOKS = re.compile(
    r"cat |ls |getprop\b|uname -|getconf |readlink -f |getenforce$|test -[ew] |zcat |stat |sha256sum |ps -A|grep -E "
    r"|cmd jobscheduler get-job-state |dumpsys (battery|thermalservice)$"
    r"|sh -c '(ls -d /sys/block/zram\*/\*|head -c 4096 /dev/block/zram\d+ \| tail -c 10 \| grep -c SWAPSPACE2"
    r"|grep -Hs \. [/\w* .-]+)'$"
)
PLAIN = load("generic")
ZRAM = PLAIN.zram


def hot_add() -> Profile:
    return PLAIN.model_copy(update={"zram": ZRAM.model_copy(update={"device": ZramDevice.hot_add})})


def mapped() -> Profile:
    return PLAIN.model_copy(update={"backing": Backing(kind="mapped", path="/data/unencrypted/zram_writeback")})


def permissive() -> Profile:
    return PLAIN.model_copy(update={"selinux": SELinuxMode.permissive})


def plain_phone() -> FakePhone:
    phone = phone_that_lives()
    phone.files["/proc/mounts"] = "tmpfs /data tmpfs rw 0 0\n"
    return phone


def phone_with_much_to_change() -> FakePhone:
    """mmd runs, SELinux enforces, and a swap of the phone's own has the first place."""
    plain = plain_phone()
    phone = Enforcing(files=plain.files)
    phone.android.thermal, phone.android.services = plain.android.thermal, {"mmd": "running"}
    phone.read("/sys/class/zram-control/hot_add")
    phone.write("/sys/block/zram1/disksize", "1048576")
    phone.swaps["/dev/block/zram1"] = (1024, 32767)
    return phone


@dataclass
class Scene:
    """Runs on ``fake`` with this profile, dry and real."""

    folder: Path
    fake: FakePhone
    profile: Profile
    ended: ExitStack = field(default_factory=ExitStack)

    @property
    def wanted(self) -> Wanted:
        return Wanted(Target("fake", "FAKE01", self.profile), "quick", 1, ["suites"], self.folder / "results")

    def dry(self) -> LabRun:
        return open_dry_run(self.wanted, Silent(), self.ended.callback, self._opening(PlannedTransport))

    def real(self) -> LabRun:
        return open_run(self.wanted, Silent(), self._opening(lambda phone: phone))

    def _opening(self, through: Callable[[FakePhone], Transport]):  # type: ignore[no-untyped-def]
        @contextmanager
        def opening(target: Target, *, run_id: str, say: Callable[[str], None]) -> Iterator[Phone]:
            with opened(through(self.fake), self.folder) as device:
                see_a_zram(device)
                guard, clock = Guard(device, self.profile.limits, say), ClockWatch(device, virtual=False, say=say)
                guard.before_run()
                yield Phone(device, self.profile, Transcript(None), guard, clock)

        return opening

    def journals(self) -> Sequence[Path]:
        return list((self.folder / "state/journals").iterdir())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    return tmp_path


def planned(run: LabRun) -> Sequence[str]:
    transport = run.device.transport
    assert isinstance(transport, PlannedTransport)
    return [undo.what for undo in transport.undos]


CASES = {
    "takeover": (plain_phone, PLAIN),
    "hot_add": (plain_phone, hot_add()),
    # Its /data lies on a mapped device.
    "mapped": (phone_that_lives, mapped()),
    "much": (phone_with_much_to_change, permissive()),
    "much, hot_add": (phone_with_much_to_change, hot_add()),
}


@pytest.mark.parametrize(("make", "profile"), CASES.values(), ids=CASES)
def test_what_is_printed_is_what_a_run_then_changes_and_nothing_is_changed(
    world: Path, make: Callable[[], FakePhone], profile: Profile
) -> None:
    scene = Scene(world, make(), profile)
    before, files = scene.fake.state(), dict(scene.fake.files)
    with scene.ended:
        run = scene.dry()
        told, printed = planned(run), describe(run, [PlannedTest("test_x", "a", 3)])
        assert scene.journals() == []
        assert run.finish(0) == 0
    assert (scene.fake.state(), scene.fake.files) == (before, files)
    assert [line for line in scene.fake.log if not LOOKS.match(line)] == []
    assert not any("hot_add" in line and line.startswith("cat") for line in scene.fake.log)
    assert scene.journals() == []
    assert not (world / "results").exists()

    real = scene.real()
    changed = [entry.undo.what for entry in real.device.journal.entries]
    assert real.finish(0) == 0
    assert told == changed
    flat = re.sub(r"\s+", "", printed)
    where = [flat.find(re.sub(r"\s+", "", what.split()[0])) for what in changed]
    assert -1 not in where, printed


def test_the_cases_change_what_they_are_there_for(world: Path) -> None:
    scene = Scene(world, phone_with_much_to_change(), permissive())
    with scene.ended:
        whats = " | ".join(planned(scene.dry()))
    for what in ("service mmd", "property mm.zram", "SELinux", "backing file", "zram1 swap", "zram0 as it was"):
        assert what in whats, whats


DEPTH_WRITES = PLAIN.writes_of(["inflight_depth"])


def test_one_screen_says_phone_plan_changes_bytes_tests_and_time(world: Path) -> None:
    scene = Scene(world, phone_with_much_to_change(), permissive())
    with scene.ended:
        text = describe(
            scene.dry(),
            [
                PlannedTest(
                    "test_swept",
                    "4MiB",
                    40,
                    changes=[("tracing: its own", "trace instance removed")],
                    measures="inflight_depth",
                ),
                PlannedTest("test_swept", "12MiB", 50),
                PlannedTest("test_attribute", "", 1, lacks="writeback_batch_size: not on this phone"),
            ],
        )
    lines = text.splitlines()
    assert len(lines) < 60, text
    assert max(map(len, lines)) <= 140
    for said in (
        "nothing was changed", "FAKE01", "kernel 7.3.4-fake", "generic, quick", f"at most {DEPTH_WRITES >> 20} MiB;",
        f"limits.written_per_run {PLAIN.limits.written_per_run >> 20} MiB", "setenforce 1", "start mmd", MARKER,
        "swapon -p 32766",
        "test_swept: 4MiB, 12MiB", "not on this phone", "about 3 min: 90 steps at 2 s each, which is assumed",
        "trace instance removed",
    ):  # fmt: skip
        assert said in text, said


def test_a_phone_that_a_run_refuses_is_refused_in_the_same_words(world: Path) -> None:
    said = []
    for begin in (Scene.dry, Scene.real):
        scene = Scene(world, plain_phone(), PLAIN)
        scene.fake.free_bytes = 1 << 20
        with scene.ended, pytest.raises(LabError, match="1 MiB free") as caught:
            begin(scene)
        said.append((str(caught.value), caught.value.hint, caught.value.exit_status))
    assert said[0] == said[1]
    assert said[0][2] == 11


def test_what_an_earlier_run_left_is_told_and_left_for_restore(world: Path) -> None:
    scene = Scene(world, plain_phone(), PLAIN)
    before = scene.fake.state()
    run = scene.real()
    scene.fake.commands_left = 0
    assert run.finish(0) == 10
    scene.fake.commands_left = None
    left, journal = scene.fake.state(), [path.read_bytes() for path in scene.journals()]
    with scene.ended, pytest.raises(LabError, match="would first put back: /dev/block/zram0 as it was, back"):
        scene.dry()
    assert (scene.fake.state(), [path.read_bytes() for path in scene.journals()]) == (left, journal)
    heal(scene.fake, world)
    assert scene.fake.state() == before


def test_a_phone_without_zram_is_not_given_one_for_the_look(world: Path) -> None:
    scene = Scene(world, plain_phone(), hot_add())
    scene.fake.write("/sys/class/zram-control/hot_remove", "0")
    before = scene.fake.state()
    with scene.ended, pytest.raises(LabError, match="there is no zram device"):
        scene.dry()
    assert scene.fake.state() == before


def test_the_time_is_that_of_the_newest_run_of_the_same_phone_and_plan(world: Path) -> None:
    scene = Scene(world, plain_phone(), PLAIN)
    for seconds in (1000.0, 300.0):
        run = scene.real()
        run.note(model.TestOutcome("test_swept[4MiB]", "swept", "passed", "", seconds), None)
        assert run.finish(0) == 0
        facts, newest = run.provenance, run.folder.path
        newest.rename(newest.with_name(f"{newest.name}-{1000 - seconds:04.0f}"))
    results, tests = scene.wanted.results, [PlannedTest("test_swept", "4MiB", 5)]
    said = expected_time(facts, "quick", tests, results)
    assert said.startswith("about 5 min, as in ")
    assert "same phone and plan" in said
    assert "1 tests that it did not have" in expected_time(
        facts, "quick", [*tests, PlannedTest("test_new", "", 30)], results
    )
    for other, plan in ((facts, "nightly"), (replace(facts, serial="ELSE"), "quick")):
        assert "assumed" in expected_time(other, plan, tests, results)


def test_kernels_are_not_compared_without_a_measurement(tmp_path: Path) -> None:
    launch = Launcher(["suites", "--dry-run"], [], [{"kernel": "6.12"}, {"kernel": "7.3"}], 1, tmp_path, None)
    with pytest.raises(ProfileError, match="--dry-run: measures nothing"):
        launch.run()


@pytest.mark.parametrize(
    ("argv", "looks"),
    [
        (("cat", "/proc/swaps"), True),
        (("sh", "-c", "head -c 4096 /dev/block/zram0 | tail -c 10 | grep -c SWAPSPACE2"), True),
        (("dumpsys", "battery"), True),
        (("dumpsys", "battery", "set", "level", "1"), False),
        (("dmesg", "-c"), False),
        (("settings", "put", "system", "x", "1"), False),
        (("cmd", "jobscheduler", "cancel", "android"), False),
        (("sh", "-c", "cat /proc/swaps; reboot"), False),
        (("sh", "-c", "cat /proc/swaps\nreboot"), False),
        (("sh", "-c", "cat x > y"), False),
        (("sh", "-c", "cat $(reboot)"), False),
        (("sh", "-c", "ls | xargs rm"), False),
        (("sh", "-c", ""), False),
        (("toybox", "cat", "x"), False),
        (("blockdev", "--setro", "/dev/block/sda"), False),
    ],
)
def test_only_what_is_known_to_look_reaches_the_phone(argv: tuple[str, ...], looks: bool) -> None:
    assert only_looks(argv) is looks
