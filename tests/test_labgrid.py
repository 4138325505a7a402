"""Engine labgrid, with a real coordinator and exporter on loopback: what labgrid alone would let happen, and does not.

labgrid's own program shows in each test what it would have done.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from base.deadline import Deadline, wait_until
from base.errors import EnvironmentRefused, ProfileError
from commands.farm import main as farm
from commands.nightly import main as nightly
from devices.lease import lease, lease_key
from farm.night_log import nights_in
from farm.owner import PlaceOwner
from farm.pool import open_pool
from farm.shelf import ShelfPhone, read_shelf
from farm.standing import Register, State
from tests.conftest import REPO, folder_in_memory
from tests.fake_farm import checks_of, ledger, write_farm
from tests.fake_run import FOLDER, PROGRAM
from tests.ready_phone import ready_answers

pytest.importorskip("labgrid.remote.client", reason="the package labgrid is not installed")

from farm.labgrid_pool import LabgridPool
from farm.place_keeper import PlaceKeeper
from tests.labgrid_lab import LabgridLab, is_listening, labgrid_lab

HERE = PlaceOwner.this_process()
DEAD = PlaceOwner(HERE.host, "00000000", HERE.pid, HERE.start)
THIEF = PlaceOwner("elsewhere", HERE.boot, 1, 1)


@pytest.fixture(scope="module")
def lab() -> Iterator[LabgridLab]:
    with pytest.MonkeyPatch.context() as patch, folder_in_memory() as folder:
        patch.setenv("ZRAM_LAB_STATE", str(folder / "state"))
        (folder / "state").mkdir(mode=0o700)
        with labgrid_lab(folder) as lab:
            yield lab


@pytest.fixture(autouse=True)
def own_state(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(memory_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    monkeypatch.setenv(FOLDER, str(memory_path))


@pytest.fixture
def keeper(lab: LabgridLab) -> Iterator[PlaceKeeper]:
    wait_until("the coordinator", lambda: is_listening(lab.port), Deadline.after(30))
    with PlaceKeeper(lab.address, 60.0) as keeper:
        lab.until_offered(keeper, "P1", "P2", "P3", "P4")
        yield keeper


@pytest.fixture
def pool(lab: LabgridLab, keeper: PlaceKeeper, memory_path: Path) -> Iterator[LabgridPool]:
    pool = LabgridPool(keeper, Register())
    pool.stocked(read_shelf(farm_of(lab, memory_path)), lambda text: None)
    yield pool


def farm_of(lab: LabgridLab, folder: Path, **how: Any) -> Path:
    """A farm's file with this coordinator, and how the phone P1 behaves."""
    phones = how.pop("phones", {})
    path = write_farm(folder, [], more=lab.farm(**how), **phones)
    path.write_text(path.read_text().replace("phones:\n", ""))
    return path


def holder(keeper: PlaceKeeper, name: str = "P1") -> str:
    place = keeper.place(name)
    return place.holder if place else ""


PHONE = ShelfPhone(serial="P1")


def test_phones_are_places_with_their_tags_and_one_that_has_none_gets_one(
    lab: LabgridLab, pool: LabgridPool, memory_path: Path
) -> None:
    shelf = pool.stocked(read_shelf(farm_of(lab, memory_path)), lambda text: None)
    assert {phone.serial: phone.tags["rack"] for phone in shelf.farm.phones} == {
        "P1": "a", "P2": "a", "P3": "a", "P4": "b",
    }  # fmt: skip
    assert {phone.server for phone in shelf.farm.phones} == {f"127.0.0.1:{lab.adb.port}"}


def test_a_name_of_its_own_for_each_process_keeps_one_from_releasing_what_another_holds(
    lab: LabgridLab, pool: LabgridPool, keeper: PlaceKeeper
) -> None:
    claim = pool.claim(PHONE)
    assert claim
    assert PlaceOwner.parse(holder(keeper)) == PlaceOwner.this_process()
    said = lab.client("-p", "P1", "release-from", "person/ada")
    assert (said.returncode, "has released place" in said.stdout) == (0, True)  # and did nothing
    assert not keeper.free("P1", str(DEAD))
    assert claim.lost() == ""
    assert pool.claim(PHONE) is None
    claim.release()
    assert holder(keeper) == ""


def test_a_phone_that_does_not_answer_is_refused_where_labgrid_grants_it(
    lab: LabgridLab, pool: LabgridPool, keeper: PlaceKeeper
) -> None:
    states = dict(lab.adb.states)
    lab.adb.states = states | {"P1": "offline"}
    try:
        lab.until_offered(keeper, "P1", there=False)
        assert lab.client("-p", "P1", "acquire").returncode == 0
        assert lab.client("-p", "P1", "release").returncode == 0
        with pytest.raises(EnvironmentRefused, match=r"place P1: the phone does not answer.*offline"):
            pool.claim(PHONE)
        assert holder(keeper) == ""
        assert Register().claim("P1") is not None
    finally:
        lab.adb.states = states


def test_an_exporter_that_is_gone_and_one_that_looks_at_nothing_are_refused(
    lab: LabgridLab, pool: LabgridPool, keeper: PlaceKeeper, memory_path: Path
) -> None:
    lab.end("exporter")
    try:
        wait_until("no exporter", lambda: not keeper.places()["P1"].resources, Deadline.after(30))
        with pytest.raises(EnvironmentRefused, match="place P1: no exporter offers its phone now"):
            pool.claim(PHONE)
        (memory_path / "own.yaml").write_text("P1: {LabAdbPhone: {serial: P1}}\n")
        lab.start(
            "own", sys.executable, "-m", "labgrid.remote.exporter", "-c", lab.address, str(memory_path / "own.yaml")
        )
        lab.until_offered(keeper, "P1")  # always there, for labgrid does not know what it is
        with pytest.raises(EnvironmentRefused, match=r"is of another version \(not ours, here 1\)"):
            pool.claim(PHONE)
        lab.end("own")
    finally:
        lab.start_exporter()


def test_what_a_dead_process_left_is_freed_and_what_is_in_use_is_not(
    lab: LabgridLab, pool: LabgridPool, keeper: PlaceKeeper
) -> None:
    assert lab.client("-p", "P1", "acquire", owner=str(DEAD)).returncode == 0
    assert lab.client("-p", "P2", "acquire").returncode == 0
    register = Register()
    held = register.claim("P1")
    assert held is not None
    assert [(each.place, each.kept) for each in pool.reap()] == [("P1", "the run that it left still has the phone")]
    os.close(held)
    boot = ready_answers("P1")["/proc/sys/kernel/random/boot_id"]
    with lease(lease_key(boot, "P1"), "by-hand"):
        (kept,) = pool.reap()
        assert "in use by" in kept.kept
        assert "by-hand" in kept.kept
        assert pool.claim(PHONE) is None
    assert holder(keeper) == str(DEAD)
    assert [(each.place, each.kept) for each in pool.reap()] == [("P1", "")]
    assert (holder(keeper), holder(keeper, "P2")) == ("", "person/ada")
    assert lab.client("-p", "P2", "release").returncode == 0


@contextmanager
def killed_at_the_end(folder: Path, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A nightly as a process of its own."""
    command = [sys.executable, "-m", "tests.fake_farm", str(file), "--results", str(folder / "results")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as night:
        try:
            yield night
        finally:
            night.kill()


def test_a_killed_night_leaves_a_place_that_is_freed_only_when_its_run_has_put_the_phone_back(
    lab: LabgridLab, keeper: PlaceKeeper, memory_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = farm_of(lab, memory_path, phones={"P1": {"seconds": 60, "restore": 2.0}})
    with killed_at_the_end(memory_path, file):
        wait_until("its run", lambda: bool(ledger(memory_path, "begin")), Deadline.after(60))
    assert PlaceOwner.parse(holder(keeper)) is not None

    def reaped() -> dict[str, Any]:
        capsys.readouterr()
        assert farm(["reap", "--json", "--farm", str(file)]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    assert reaped()["kept"] == [{"place": "P1", "why": "the run that it left still has the phone"}]
    wait_until("the phone", lambda: bool(ledger(memory_path, "end 2")), Deadline.after(60))
    wait_until("its place", lambda: reaped()["freed"] == ["P1"], Deadline.after(30))
    assert holder(keeper) == ""


@contextmanager
def in_a_run(folder: Path, act: Callable[[], None]) -> Iterator[None]:
    """Do something as soon as a run has begun."""

    def wait_and_act() -> None:
        wait_until("a run", lambda: bool(ledger(folder, "begin")), Deadline.after(60))
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


def night_over(folder: Path, file: Path) -> tuple[int, dict[str, Any]]:
    arguments = [str(file), "--results", str(folder / "results")]
    status = nightly(arguments, program=PROGRAM, check=checks_of(folder), pause_s=0.01)
    return status, story_of(folder)["phones"][0]


def story_of(folder: Path) -> dict[str, Any]:
    story: dict[str, Any] = json.loads((nights_in(folder / "results")[-1] / "night.json").read_text())
    return story


def test_a_coordinator_that_restarts_ends_no_run_and_has_the_holder_again(
    lab: LabgridLab, keeper: PlaceKeeper, memory_path: Path
) -> None:
    names: list[str] = []

    def is_held_by(name: str) -> bool:
        place = lab.place(keeper, "P1")
        return place is not None and place.holder == name

    def restart() -> None:
        names.append(holder(keeper))
        lab.end("coordinator")
        lab.start_coordinator()
        wait_until("the holder", lambda: is_held_by(names[0]), Deadline.after(30))
        names.append(holder(keeper))
        (memory_path / "go").touch()

    file = farm_of(lab, memory_path, phones={"P1": {"until": "go"}})
    with in_a_run(memory_path, restart):
        status, phone = night_over(memory_path, file)
    assert (status, phone["end"], len(phone["attempts"])) == (0, "passed", 1)
    assert names == [names[0]] * 2
    assert PlaceOwner.parse(names[0]) == PlaceOwner.this_process()
    assert holder(keeper) == ""


def test_a_run_whose_place_is_somebody_elses_by_now_is_ended_and_puts_its_phone_back(
    lab: LabgridLab, keeper: PlaceKeeper, memory_path: Path
) -> None:
    file = farm_of(lab, memory_path, more="retry: {infra: 0}", phones={"P1": {"seconds": 60}})
    with killed_at_the_end(memory_path, file) as night, PlaceKeeper(lab.address, 60.0, THIEF) as thief:
        wait_until("its run", lambda: bool(ledger(memory_path, "begin")), Deadline.after(60))
        night.send_signal(signal.SIGSTOP)  # else it has the place again before anybody else
        assert thief.free("P1", holder(keeper))
        assert thief.acquire("P1")
        night.send_signal(signal.SIGCONT)
        assert night.wait(60) == 10
        assert holder(keeper) == str(THIEF)
    phone = story_of(memory_path)["phones"][0]
    assert (phone["end"], f"place P1 is {THIEF}'s now" in phone["why"]) == ("lost", True)
    assert ledger(memory_path, "end 2")


def test_a_coordinator_that_stays_away_ends_the_run_after_the_grace(
    lab: LabgridLab, keeper: PlaceKeeper, memory_path: Path
) -> None:
    more = "retry: {infra: 0}"
    file = farm_of(lab, memory_path, grace="1s", more=more, phones={"P1": {"seconds": 60}})
    with in_a_run(memory_path, lambda: lab.end("coordinator")):
        status, phone = night_over(memory_path, file)
    lab.start_coordinator()
    assert (status, phone["end"]) == (10, "lost")
    assert "has not held place P1 for 1s" in phone["why"]
    assert ledger(memory_path, "end 2")


def test_what_one_computer_finds_of_a_phone_holds_on_the_others(
    lab: LabgridLab, keeper: PlaceKeeper, memory_path: Path
) -> None:
    file = farm_of(lab, memory_path)
    farm(["quarantine", "P1", "--reason", "battery swollen", "--farm", str(file)])
    assert keeper.places()["P1"].tags["health"] == "bad"
    other = Register(memory_path / "other")
    (memory_path / "other").mkdir()
    with open_pool(read_shelf(file), other):
        assert other.of("P1").state is State.bad
    farm(["release", "P1", "--reason", "new battery", "--farm", str(file)])
    with open_pool(read_shelf(file), other):
        assert other.of("P1").state is State.good


def test_no_coordinator_and_a_tag_that_no_place_has_are_told(
    lab: LabgridLab, keeper: PlaceKeeper, memory_path: Path
) -> None:
    def refused(text: str) -> str:
        file.write_text(text)
        with pytest.raises((ProfileError, EnvironmentRefused)) as raised, open_pool(read_shelf(file), Register()):
            pass
        return str(raised.value)

    file = farm_of(lab, memory_path)
    text = file.read_text()
    assert "pick: rak: unknown tag; did you mean rack" in refused(text.replace("serial: P1", "rak: a"))
    assert "no labgrid coordinator answers at 127.0.0.1:9" in refused(text.replace(lab.address, "127.0.0.1:9"))
