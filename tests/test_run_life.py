"""The life of a run on a fake phone: whatever breaks on this computer or on the way, the phone is put back first."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from base.deadline import Deadline
from base.errors import DeviceLost, EnvironmentRefused, LabError, StorageFailed
from devices.clocks import ClockWatch
from devices.fake.phone import FakePhone
from devices.health import Guard
from devices.phone import Phone, Target
from devices.profiles.reading import load
from devices.transcript import Transcript
from devices.transport import CommandResult, Op
from records import model
from records.reading import StoredRun
from records.reading import load as stored
from tests.android_fakes import heal, opened, phone_that_lives
from workloads.run import LabRun, Wanted, open_run


@dataclass
class NotedPhone(FakePhone):
    """Each trip is noted in a transcript, as adb's are."""

    transcript: Transcript = field(default_factory=lambda: Transcript(None))

    def execute(self, ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
        results = super().execute(ops, deadline=deadline, keep_going=keep_going)
        self.transcript.add(self.serial, results, 0.0)
        return results


def phone_to_measure_on() -> NotedPhone:
    alive = phone_that_lives()
    # Which disk /data lies on is told elsewhere; here it is none.
    phone = NotedPhone(files=alive.files | {"/proc/mounts": "tmpfs /data tmpfs rw 0 0\n"})
    phone.android.thermal, phone.android.settings = alive.android.thermal, alive.android.settings
    return phone


BEFORE = phone_to_measure_on().state()


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A state folder of its own; and the signals that a run shields are given back."""
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Silent:
    """A progress that shows nothing."""

    def say(self, text: str) -> None: ...
    def total(self, steps: int) -> None: ...
    def test(self, title: str) -> None: ...
    def step(self, what: str) -> None: ...
    def close(self) -> None: ...


@dataclass
class Scene:
    """A run on ``fake``, with its results below ``folder``."""

    folder: Path
    fake: NotedPhone = field(default_factory=phone_to_measure_on)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def open(self) -> LabRun:
        profile = load("generic")
        wanted = Wanted(Target("fake", "FAKE01", profile), "quick", 1, ["suites"], self.results)
        return open_run(wanted, Silent(), self._opening)

    @contextmanager
    def _opening(self, target: Target, *, run_id: str, say: Callable[[str], None]) -> Iterator[Phone]:
        assert target.profile is not None
        with opened(self.fake, self.folder) as device:
            guard, clock = Guard(device, target.profile.limits, say), ClockWatch(device, virtual=False, say=say)
            yield Phone(device, target.profile, self.fake.transcript, guard, clock)

    def stored(self) -> StoredRun:
        (folder,) = self.results.iterdir()
        return stored(folder)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def passed(name: str) -> model.TestOutcome:
    return model.TestOutcome(name, "a title", "passed")


def test_a_run_leaves_the_phone_as_it_was_and_records_the_status_that_it_returns(scene: Scene) -> None:
    run = scene.open()
    assert scene.fake.state() != BEFORE
    assert run.note(passed("t"), None) == ""
    assert run.finish(0) == 0
    assert scene.fake.state() == BEFORE
    found = scene.stored()
    assert (found.session.plan, found.end.exit_status if found.end else None, found.problems) == ("quick", 0, ())


def test_the_end_counts_each_turn_once_whichever_records_have_it(scene: Scene) -> None:
    """Slots of one block of faults share its turn, and a record each has it."""
    run = scene.open()
    turns = [model.Turn(0, 1.0, [], 0.02), model.Turn(1, 2.0, ["the CPU was slow"], 0.4)]
    for slot in ("ram", "written_back"):
        run.record(model.RunResult("fault_latency", "t", {"slot": slot}, {}, turns=turns))
    run.finish(0)
    end = scene.stored().end
    assert end is not None
    assert end.facts["noise"] == {"turns": 2, "disturbed": 1, "wait_median": 0.21, "wait_worst": 0.4}


def test_what_was_written_to_the_phone_s_disks_meanwhile_is_recorded(scene: Scene) -> None:
    run = scene.open()
    run.phone.guard.fresh_s = 0
    run.phone.guard.before_run()
    disk = "/sys/block/sda/stat"
    words = scene.fake.files[disk].split()
    words[6] = str(int(words[6]) + 4096)
    scene.fake.files[disk] = " ".join(words)
    run.phone.guard.after_test()
    run.finish(0)
    end = scene.stored().end
    assert end is not None
    assert end.facts["disk_written_bytes"] == 4096 * 512


def remove_results(run: LabRun) -> None:
    shutil.rmtree(run.folder.path)


def results_on_a_full_disk(run: LabRun) -> None:
    """Every file of the run is a device on which there is no room."""
    for name in ("results.jsonl", "transcript.log"):
        path = run.folder.path / name
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/full")


def transcript_is_a_folder(run: LabRun) -> None:
    (run.folder.path / "transcript.log").unlink()
    (run.folder.path / "transcript.log").mkdir()


@pytest.mark.parametrize(
    ("breaks", "status"), [(remove_results, 11), (results_on_a_full_disk, 11), (transcript_is_a_folder, 0)]
)
def test_no_disk_of_this_computer_keeps_the_phone_from_being_put_back(
    scene: Scene, breaks: Callable[[LabRun], None], status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    run = scene.open()
    breaks(run)
    stop = run.note(passed("t"), None)
    assert bool(stop) == bool(status)
    assert run.finish(0) == status
    assert scene.fake.state() == BEFORE
    said = capfd.readouterr().err
    assert "transcript.log ends at" in said
    assert ("results.jsonl: cannot write" in said) == bool(status)


def test_a_phone_that_is_lost_while_it_is_set_up_leaves_a_session_and_an_end_record(scene: Scene) -> None:
    whole = Scene(scene.folder / "whole")
    whole.folder.mkdir()
    run = whole.open()
    commands = len(whole.fake.log)
    run.finish(0)
    recorded = 0
    for left in range(0, commands, 3):
        cut = Scene(scene.folder / str(left))
        cut.folder.mkdir()
        cut.fake.commands_left = left
        try:
            run = cut.open()
        except LabError as error:
            assert error.exit_status == 10, f"cut before command {left}"
        else:
            assert run.finish(0) in (0, 10)
        if cut.results.exists():
            found = cut.stored()
            recorded += 1
            assert found.end is not None
            assert found.end.exit_status in (0, 10)
            assert found.session.provenance.kernel_release == "7.3.4-fake"
        heal(cut.fake, cut.folder)
        assert cut.fake.state() == BEFORE, f"cut before command {left}"
    assert recorded > 5


def test_a_phone_that_refuses_while_it_is_set_up_is_not_a_failed_test(scene: Scene) -> None:
    scene.fake.free_bytes = 1 << 20
    with pytest.raises(LabError, match="1 MiB free") as caught:
        scene.open()
    assert caught.value.exit_status == 11
    found = scene.stored()
    assert found.end is not None
    assert found.end.exit_status == 11
    assert scene.fake.state() == BEFORE


def failed(error: LabError, outcome: str = "error") -> tuple[model.TestOutcome, LabError]:
    return model.TestOutcome("t", "a title", outcome, str(error)), error


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([failed(DeviceLost("gone"))], 10),
        ([failed(EnvironmentRefused("battery"))], 11),
        ([failed(StorageFailed("full"))], 11),
        ([failed(LabError("the phone said no"), "failed")], 1),
        ([failed(EnvironmentRefused("battery")), failed(LabError("the phone said no"), "failed")], 1),
        ([failed(LabError("the phone said no"), "failed"), failed(DeviceLost("gone"))], 10),
    ],
)
def test_what_is_wrong_with_the_laboratory_is_no_failed_test(
    scene: Scene, outcomes: list[tuple[model.TestOutcome, LabError]], status: int
) -> None:
    run = scene.open()
    for outcome, error in outcomes:
        run.note(outcome, error)
    assert run.finish(1) == status
    end = scene.stored().end
    assert end is not None
    assert end.exit_status == status


def test_a_restore_that_fails_is_told_and_is_the_status_of_the_record_too(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    run = scene.open()
    del scene.fake.files["/sys/block/zram0/writeback_limit"]
    assert run.finish(0) == 13
    assert "is not as it was" in capfd.readouterr().err
    end = scene.stored().end
    assert end is not None
    assert end.exit_status == 13


def test_an_error_that_nobody_foresaw_puts_the_phone_back_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    # The one thing that no phone can be made to do from outside: an error of our own code in the middle of the set-up.
    monkeypatch.setattr("workloads.run.set_stage", lambda changes, profile: [][0])
    with pytest.raises(LabError, match="internal error while the phone was opened: IndexError") as caught:
        scene.open()
    assert caught.value.exit_status == 3
    assert scene.fake.state() == BEFORE
    end = scene.stored().end
    assert end is not None
    assert end.exit_status == 3
