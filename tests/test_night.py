"""A night over phones that a program stands for: measured once each, tried again for the lab's faults only, one status.

Whatever ends a night, it is taken up again where it was.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from base.errors import EnvironmentRefused, ProfileError, ReportError, StorageFailed
from base.locks import try_lock
from commands.history import main as history
from commands.nightly import main as nightly
from farm.night_log import NIGHTS, PhoneEnd, nights_in, read_night
from farm.standing import Register, State
from tests.fake_farm import checks_of, ledger, write_farm
from tests.fake_run import FOLDER, PROGRAM

Run = Callable[..., int]


@pytest.fixture
def run(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Write a farm and measure it for a night."""
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(memory_path / "cache"))
    monkeypatch.setenv(FOLDER, str(memory_path))

    def measured(serials: Sequence[str], *options: str, more: str = "", name: str = "fakes", **phones: Any) -> int:
        file = write_farm(memory_path, serials, name=name, more=more, **phones)
        return again(memory_path, file, *options)

    return measured


def again(folder: Path, file: Path, *options: str) -> int:
    arguments = [str(file), "--results", str(folder / "results"), *options]
    return nightly(arguments, program=PROGRAM, check=checks_of(folder), pause_s=0.01)


def story(folder: Path, night: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((nights_in(folder / "results")[night] / "night.json").read_text())
    return found


def ends(folder: Path) -> dict[str, str]:
    return {phone["serial"]: phone["end"] for phone in story(folder)["phones"]}


def test_each_phone_is_looked_at_then_measured_once(
    run: Run, memory_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["P1", "P2", "P3"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "3 of 3 measured"
    assert Counter(each["phone"] for each in ledger(memory_path, "begin")) == {"P1": 1, "P2": 1, "P3": 1}
    for serial in ("P1", "P2", "P3"):
        of_phone = [each["what"] for each in ledger(memory_path) if each["phone"] == serial]
        assert of_phone == ["look", "begin", "end 0"]
    assert all(Path(phone["run"], "results.jsonl").is_file() for phone in story(memory_path)["phones"])


def test_what_the_lab_did_wrong_is_tried_again_and_is_no_failure(run: Run, memory_path: Path) -> None:
    assert run(["P1"], P1={"statuses": [10, 0]}) == 0
    (phone,) = story(memory_path)["phones"]
    assert (phone["end"], [each["kind"] for each in phone["attempts"]]) == ("passed", ["infra", "passed"])
    assert story(memory_path)["counts"]["infra"] == 1
    assert story(memory_path)["counts"]["failed"] == 0


STATUSES: dict[str, tuple[list[int], str, int, int]] = {
    "lost thrice": ([10], "lost", 3, 10),
    "refused thrice": ([11], "refused", 3, 11),
    "failed twice": ([1], "failed", 2, 1),
    "failed, then passed": ([1, 0], "flaky", 2, 0),
    "failed, then lost, then passed": ([1, 10, 0], "flaky", 3, 0),
    "not restored": ([13], "not_restored", 1, 13),
    "lost, then not restored": ([10, 13], "not_restored", 2, 13),
    "asked wrongly": ([4], "wrong", 1, 4),
    "internal error": ([3], "refused", 3, 11),
}


@pytest.mark.parametrize("name", STATUSES)
def test_how_often_a_phone_is_tried_and_what_it_comes_to(run: Run, memory_path: Path, name: str) -> None:
    statuses, end, tries, status = STATUSES[name]
    assert run(["P1"], P1={"statuses": statuses}) == status
    (phone,) = story(memory_path)["phones"]
    assert (phone["end"], len(phone["attempts"])) == (end, tries)


def test_a_phone_that_was_not_restored_is_bad_at_once_and_left_alone_the_next_night(
    run: Run, memory_path: Path
) -> None:
    run(["P1", "P2"], P1={"statuses": [13]})
    assert Register().of("P1").state is State.bad
    before = len(ledger(memory_path, "look"))
    assert run(["P1", "P2"]) == 11
    assert ends(memory_path) == {"P1": "quarantined", "P2": "passed"}
    assert [each["phone"] for each in ledger(memory_path, "look")[before:]] == ["P2"]
    assert "could not be put back" in story(memory_path)["needs_a_person"][0]["what"]


def test_a_phone_that_is_lost_in_three_nights_is_bad_in_the_third(run: Run, memory_path: Path) -> None:
    for state in (State.suspect, State.suspect, State.bad):
        run(["P1"], P1={"looks": [10]})
        assert Register().of("P1").state is state
    assert Register().of("P1").reason.startswith("lost 3 times in 3 nights")


def test_a_suspect_phone_that_passes_the_look_is_good_again(run: Run, memory_path: Path) -> None:
    run(["P1"], P1={"looks": [10]})
    assert run(["P1"]) == 0
    assert Register().of("P1").state is State.good


def test_an_equal_phone_that_was_not_picked_stands_in_for_one_that_the_lab_failed_with(
    run: Run, memory_path: Path
) -> None:
    lost, phones = {"looks": [10]}, ["P1", "P2", "P3", "P4"]
    assert run(phones, "--pick", "odd=no", P1=lost) == 10
    assert set(ends(memory_path)) == {"P1", "P3"}
    more = "retry: {infra: 1, equal_phone: true}"
    assert run(phones, "--pick", "odd=no", more=more, P1=lost) == 0
    assert ends(memory_path) == {"P1": "lost", "P3": "passed", "P2": "passed"}
    told = story(memory_path)
    assert (told["counts"]["picked"], told["counts"]["stand_ins"], told["counts"]["infra"]) == (2, 1, 2)
    (stand_in,) = (phone for phone in told["phones"] if phone["stands_in_for"])
    assert (stand_in["serial"], stand_in["notes"]) == ("P2", ["it stands in for P1, which was lost"])
    assert run(phones, "--pick", "odd=no", more=more, P1=lost, P2=lost, P4=lost) == 10
    assert ends(memory_path) == {"P1": "lost", "P3": "passed", "P2": "lost"}


def test_a_quota_that_is_met_makes_up_for_lost_phones(run: Run, memory_path: Path) -> None:
    lost = {"looks": [10]}
    assert run(["P1", "P2", "P3", "P4"], more="quota: 75 %", P1=lost) == 0
    assert run(["P1", "P2", "P3", "P4"], more="quota: 76 %", P1=lost) == 10


def test_a_night_that_has_no_time_measures_nothing_and_says_so(run: Run, memory_path: Path) -> None:
    soon = f"{datetime.now() + timedelta(minutes=3):%H:%M}"
    assert run(["P1"], "--until", soon) == 14
    assert ends(memory_path) == {"P1": "cut"}
    assert "min for plan quick" in story(memory_path)["phones"][0]["why"]
    assert not ledger(memory_path, "begin")


def test_a_run_that_says_it_went_well_and_left_nothing_did_not(run: Run, memory_path: Path) -> None:
    file = write_farm(memory_path, ["P1"], more="retry: {infra: 0}")
    arguments = [str(file), "--results", str(memory_path / "results")]
    assert nightly(arguments, program=["true"], check=checks_of(memory_path)) == 11
    assert "left no run" in story(memory_path)["phones"][0]["why"]


def test_a_results_folder_that_takes_nothing_ends_the_night_before_a_phone_is_touched(
    run: Run, memory_path: Path
) -> None:
    (memory_path / "results").write_text("a file, not a folder")
    with pytest.raises(StorageFailed, match="results"):
        run(["P1"])
    assert not ledger(memory_path)


def test_picked_phones_only(run: Run, memory_path: Path) -> None:
    run(["P1", "P2", "P3"], "--pick", "odd=yes")
    assert ends(memory_path) == {"P2": "passed"}


def test_a_night_that_was_cut_off_is_taken_up_without_being_asked(run: Run, memory_path: Path) -> None:
    run(["P1", "P2"])
    log = nights_in(memory_path / "results")[0] / "night.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    # As after a power cut: the last phone's end, and that of the night, never reached the disk.
    kept = [number for number, line in enumerate(lines) if '"type": "ended"' in line][-1]
    log.write_text("".join(lines[:kept]) + lines[kept][:20])
    assert again(memory_path, memory_path / "fakes.yaml") == 0
    assert len(nights_in(memory_path / "results")) == 1
    assert Counter(each["phone"] for each in ledger(memory_path, "begin")) == {"P1": 1, "P2": 1}
    assert ends(memory_path) == {"P1": "passed", "P2": "passed"}


def test_a_night_that_was_told_to_its_end_is_not_taken_up_unless_asked(run: Run, memory_path: Path) -> None:
    run(["P1"], P1={"looks": [10, 10, 10, 0]})
    (night,) = nights_in(memory_path / "results")
    assert again(memory_path, memory_path / "fakes.yaml", "--resume", night.name) == 10
    assert again(memory_path, memory_path / "fakes.yaml") == 0
    assert [path.name.rpartition("-")[2] for path in nights_in(memory_path / "results")] == ["fakes", "2"]


def test_what_cannot_be_resumed_is_told(run: Run, memory_path: Path) -> None:
    run(["P1"])
    (night,) = nights_in(memory_path / "results")
    with pytest.raises(ReportError, match="cannot be read"):
        again(memory_path, memory_path / "fakes.yaml", "--resume", "2020-01-01-fakes")
    other = write_farm(memory_path, ["P1"], name="others")
    with pytest.raises(ProfileError, match="that night is of fakes"):
        again(memory_path, other, "--resume", night.name)
    with pytest.raises(ProfileError, match="that night has its phones and its plan"):
        again(memory_path, memory_path / "fakes.yaml", "--resume", night.name, "--plan", "quick")
    (night / "night.jsonl").write_text("{}\n")
    with pytest.raises(ReportError, match="not the log of a night"):
        again(memory_path, memory_path / "fakes.yaml", "--resume", night.name)


def test_a_night_that_runs_is_not_resumed_beside_itself(run: Run, memory_path: Path) -> None:
    run(["P1"])
    (night,) = nights_in(memory_path / "results")
    held = try_lock(night / "night.lock")
    assert held is not None
    with pytest.raises(EnvironmentRefused, match="this night is running"):
        again(memory_path, memory_path / "fakes.yaml", "--resume", night.name)
    os.close(held)


def test_a_damaged_line_costs_only_itself(run: Run, memory_path: Path) -> None:
    run(["P1"])
    log = nights_in(memory_path / "results")[0] / "night.jsonl"
    first, *rest = log.read_text().splitlines(keepends=True)
    log.write_text("".join([first, "not json\n", *rest]))
    state = read_night(log.parent)
    assert state.phones["P1"].end is PhoneEnd.passed
    assert state.notes == [f"{log}:2: damaged: this line is left out"]
    assert NIGHTS in str(log)


def test_the_index_of_many_nights_finds_each_run_of_a_night_once(
    run: Run, memory_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def added(*options: str) -> int:
        capsys.readouterr()
        assert history(["index", "--results", str(memory_path / "results"), "--json", *options]) == 0
        return int(json.loads(capsys.readouterr().out)["added"])

    run(["P1", "P2"], P2={"statuses": [10, 0]})
    assert (added(), added("--rebuild"), added()) == (0, 3, 0)
    run(["P1"])
    assert (added(), added("--rebuild")) == (0, 4)
