"""Nights that run beside each other, are killed, asked to end or run out of time: each phone is measured once.

Processes for real, phones not: tests/fake_run.py stands for a run.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest

from base.deadline import Deadline, wait_until
from base.errors import StorageFailed
from base.files import append_line
from commands.nightly import main as nightly
from farm.night import Night
from farm.night_log import NightLog, nights_in, read_night
from farm.shelf import read_shelf
from farm.standing import Register
from farm.window import Window
from records.reading import load
from tests.conftest import REPO
from tests.fake_farm import checks_of, ledger, write_farm
from tests.fake_run import FOLDER, PROGRAM

EIGHT = [f"P{number}" for number in range(1, 9)]
KILLS = 20
FORK = multiprocessing.get_context("fork")
ONCE = dict.fromkeys(EIGHT, 1)


@pytest.fixture(autouse=True)
def own_state(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(memory_path / "cache"))
    monkeypatch.setenv(FOLDER, str(memory_path))  # of a night in this process
    monkeypatch.setenv("PYTHONPATH", str(REPO))


@contextmanager
def started(folder: Path, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A nightly as a process of its own."""
    command = [sys.executable, "-m", "tests.fake_farm", str(file), "--results", str(folder / "results")]
    with (
        (folder / "log").open("ab") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {FOLDER: str(folder)},
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def measured(folder: Path) -> Counter[str]:
    return Counter(each["phone"] for each in ledger(folder, "end 0"))


@pytest.mark.parametrize("names", [("one", "two"), ("one", "one")], ids=["two farms", "one farm twice"])
def test_two_nightlies_over_the_same_phones_measure_each_once(memory_path: Path, names: tuple[str, str]) -> None:
    phones: dict[str, Any] = {serial: {"seconds": 0.3} for serial in EIGHT}
    files = [write_farm(memory_path, EIGHT, name=name, more="at_once: 4", **phones) for name in names]
    with started(memory_path, files[0]) as first, started(memory_path, files[1]) as second:
        statuses = first.wait(120), second.wait(120)
    assert statuses == (0, 0), (memory_path / "log").read_text()
    assert (measured(memory_path), ledger(memory_path, "clash")) == (ONCE, [])
    told = [read_night(night) for night in nights_in(memory_path / "results")]
    assert [sum(phone.end == "passed" for phone in each.phones.values()) for each in told] == [8, 8]
    assert sum(bool(phone.elsewhere) for each in told for phone in each.phones.values()) == 8


def test_a_night_that_is_killed_at_any_moment_measures_each_phone_once_and_loses_no_run(memory_path: Path) -> None:
    """A night is killed until it gets to its end, and then the next one, until there were enough kills."""
    chance, kills, nights = random.Random(13), 0, 0
    while kills < KILLS:
        folder, nights = memory_path / f"night-{nights}", nights + 1
        kills += killed_until_done(folder, chance)
        assert (measured(folder), ledger(folder, "clash")) == (ONCE, [])
        (night,) = nights_in(folder / "results")
        attempts = [each for phone in read_night(night).phones.values() for each in phone.attempts]
        known = {night / each.run for each in attempts if each.run}
        assert known == {path.parent for path in night.glob("runs/*/*/results.jsonl")}
        ends = {run: load(run) for run in known}
        whole = [run.session.provenance.serial for run in ends.values() if run.end and run.end.exit_status == 0]
        assert Counter(whole) == ONCE


def killed_until_done(folder: Path, chance: random.Random) -> int:
    """Kill a night when its log has some lines more, and start it again, until it is over; returns how often."""
    phones: dict[str, Any] = {serial: {"seconds": 0.05} for serial in EIGHT}
    file, kills = write_farm(folder, EIGHT, more="at_once: 3", **phones), 0
    while not any(read_night(night).done for night in nights_in(folder / "results")):
        process = FORK.Process(target=nightly_of, args=(folder, file))
        process.start()
        try:
            enough = lines(folder) + chance.randrange(1, 30)
            wait_until("lines", partial(is_due, process, folder, enough), Deadline.after(60))
        finally:
            process.kill()
            process.join()
        kills += process.exitcode == -signal.SIGKILL
    return kills


def nightly_of(folder: Path, file: Path) -> None:
    """A nightly in a process that was forked, which begins at once: what it needs is loaded."""
    os.environ[FOLDER] = str(folder)
    with (folder / "log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.setsid()
    arguments = [str(file), "--results", str(folder / "results")]
    sys.exit(nightly(arguments, program=PROGRAM, check=checks_of(folder), pause_s=0.01))


def is_due(process: ForkProcess, folder: Path, enough: int) -> bool:
    return not process.is_alive() or lines(folder) > enough


def lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("results/nights/*/night.jsonl"))


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_night_that_is_asked_to_end_waits_until_both_phones_are_put_back(memory_path: Path) -> None:
    slow = {"seconds": 60, "restore": 0.5}
    file = write_farm(memory_path, ["P1", "P2", "P3"], more="at_once: 2", P1=slow, P2=slow, P3=slow)
    with started(memory_path, file) as process:
        wait_until("two runs", lambda: len(ledger(memory_path, "begin")) == 2, Deadline.after(60))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 2, (memory_path / "log").read_text()
    runs = ledger(memory_path, "begin")
    assert len(ledger(memory_path, "end 2")) == len(runs) == 2
    assert all(is_gone(each["pid"]) for each in runs)
    (night,) = nights_in(memory_path / "results")
    state = read_night(night)
    assert (state.done or {})["status"] == 2
    assert [phone.end for phone in state.phones.values()] == ["cut"] * 3
    for serial in ("P1", "P2", "P3"):
        assert is_free(serial)


def test_a_phone_stays_claimed_until_the_run_of_a_killed_night_has_put_it_back(memory_path: Path) -> None:
    file = write_farm(memory_path, ["P1"], P1={"seconds": 60, "restore": 1.0})
    with started(memory_path, file) as process:
        wait_until("the run", lambda: bool(ledger(memory_path, "begin")), Deadline.after(60))
        process.kill()
        process.wait()
    assert ledger(memory_path, "end") == []
    assert Register().claim("P1") is None
    wait_until("the phone", lambda: bool(ledger(memory_path, "end 2")), Deadline.after(60))
    wait_until("its claim", lambda: is_free("P1"), Deadline.after(60))


def is_free(serial: str) -> bool:
    claim = Register().claim(serial)
    if claim is not None:
        os.close(claim)
    return claim is not None


def test_what_runs_when_the_window_is_over_is_stopped_and_put_back(memory_path: Path) -> None:
    shelf = read_shelf(write_farm(memory_path, ["P1", "P2"], more="at_once: 1", P1={"seconds": 60}, P2={"seconds": 60}))
    register, told = Register(), list[str]()
    for serial in ("P1", "P2"):
        with register.changing(serial, "measured") as standing:
            standing.took("quick", 0.1)
    facts = {"farm": "fakes", "plan": "quick", "phones": ["P1", "P2"]}
    log = NightLog.begin(memory_path / "results", facts, "night")
    now = datetime.now().astimezone()
    window = Window.of(None, None, now=now).kept((now + timedelta(seconds=4)).isoformat())
    Night(shelf, log, window, register, told.append, PROGRAM, checks_of(memory_path)).measure()
    assert {each["what"] for each in ledger(memory_path)} >= {"begin", "end 2"}
    assert [phone.end for phone in log.state.phones.values()] == ["cut", "cut"]
    assert log.state.stopping == "the window is over"
    assert datetime.now().astimezone() < now + timedelta(seconds=60)
    log.close()


def test_a_long_plan_is_not_begun_where_it_would_leave_no_time_for_a_phone_that_waits(memory_path: Path) -> None:
    shelf = read_shelf(write_farm(memory_path, ["P1", "P2"], more="at_once: 1"))
    register = Register()
    for serial in ("P1", "P2"):
        with register.changing(serial, "measured") as standing:
            standing.took("quick", 400.0)
            standing.took("nightly", 600.0)
    facts = {"farm": "fakes", "plan": "nightly", "phones": ["P1", "P2"]}
    log = NightLog.begin(memory_path / "results", facts, "night")
    now = datetime.now().astimezone()
    window = Window.of(None, None, now=now).kept((now + timedelta(seconds=1300)).isoformat())
    Night(shelf, log, window, register, lambda text: None, PROGRAM, checks_of(memory_path)).measure()
    log.close()
    first, second = (log.state.phones[serial] for serial in ("P1", "P2"))
    assert [phone.attempts[0].plan for phone in (first, second)] == ["quick", "nightly"]
    assert first.notes == ["plan quick instead of nightly, which leaves no time for phones that wait"]


def test_a_disk_that_is_full_ends_what_runs_and_the_night_goes_on_later(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_farm(memory_path, ["P1"], P1={"seconds": 60})
    arguments = [str(file), "--results", str(memory_path / "results")]

    def full(path: Path, line: bytes) -> None:
        if ledger(memory_path, "begin"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append_line(path, line)

    # What the night looks at while the run goes on: the clock, which tells by a line of the log.
    with monkeypatch.context() as patch:
        patch.setattr("farm.night_log.append_line", full)
        patch.setattr(Window, "stepped_s", lambda self: 100.0 if ledger(memory_path, "begin") else 0.0)
        with pytest.raises(StorageFailed, match="No space left on device"):
            nightly(arguments, program=PROGRAM, check=checks_of(memory_path))
    assert len(ledger(memory_path, "begin")) == len(ledger(memory_path, "end 2")) == 1
    write_farm(memory_path, ["P1"])
    assert nightly(arguments, program=PROGRAM, check=checks_of(memory_path)) == 0
    assert len(nights_in(memory_path / "results")) == 1


def test_a_clock_that_is_set_back_is_told_and_moves_no_window(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now().astimezone()
    window = Window.of(None, f"{now + timedelta(hours=2):%H:%M}", now=now)
    left_s = window.left_s

    class SetBack(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> SetBack:
            return cls.fromtimestamp(time.time() - 3600, tz)

    monkeypatch.setattr("farm.window.datetime", SetBack)
    assert window.stepped_s() == pytest.approx(-3600, abs=5)
    assert window.stepped_s() == 0
    assert window.left_s == pytest.approx(left_s, abs=5)
