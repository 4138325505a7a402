"""``./lab farm``: looking at phones of a fake adb server, and what a person decides about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from base.errors import EnvironmentRefused, ProfileError, ReportError
from commands.farm import main as farm
from farm.checkup import Fitness, check_phone
from farm.shelf import ShelfPhone, read_shelf
from farm.standing import Register
from tests.fake_adb_server import AdbServer
from tests.fake_farm import write_farm
from tests.fake_run import TEMPLATE
from tests.ready_phone import ready_answers, ready_shell


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    return write_farm(tmp_path, ["A1", "B2", "C3"], name="farm")


@pytest.fixture
def server(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbServer]:
    with AdbServer({"A1": "device", "B2": "offline"}, ready_shell(ready_answers("A1"))) as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        yield server


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    capsys.readouterr()
    status = farm([*words, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_health_says_of_each_phone_whether_it_is_fit_and_why_not(
    server: AdbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows = asked(capsys, "health")
    assert status == 11
    assert [(row["serial"], row["fitness"]) for row in rows] == [("A1", "fit"), ("B2", "unfit"), ("C3", "unfit")], rows
    assert rows[0]["facts"]["kernel_release"] == "6.6.30-android15"
    assert rows[0]["facts"]["profile"] == "pixel-8"
    assert "phone B2 is offline" in rows[1]["reason"]
    assert "no phone C3 on adb" in rows[2]["reason"]


UNFIT: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "empty battery": ({"level": "5"}, {}, "battery at 5 %"),
    "hot": ({"tenths": "700"}, {}, "70 °C"),
    "read-only": ({"mode": "ro"}, {}, "mounted read-only"),
    "another kernel": ({}, {"kernel": "6.1"}, "tag kernel is 6.1, the phone has 6.6.30-android15"),
    "another build": ({}, {"build": "g/b/2"}, "tag build is g/b/2, the phone has g/b/1"),
    "no writeback": ({"zram": "/sys/block/zram0/disksize"}, {}, "this kernel has no zram writeback"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_phone_that_is_not_fit_says_what_is_wrong(server: AdbServer, name: str) -> None:
    changes, tags, expected = UNFIT[name]
    server.shell = ready_shell(ready_answers("A1", **changes))
    found = check_phone(ShelfPhone(serial="A1", tags=tags), "quick")
    assert found.fitness is Fitness.unfit
    assert expected in found.reason


def test_a_tag_that_the_phone_agrees_with_is_no_objection(server: AdbServer) -> None:
    assert check_phone(ShelfPhone(serial="A1", tags={"kernel": "6.6", "build": "g/b/1"}), "quick").fitness == "fit"


def test_the_virtual_phone_is_fit_without_a_look_because_its_run_boots_it(server: AdbServer) -> None:
    assert check_phone(ShelfPhone(serial="virtual"), "quick").facts["virtual"] is True
    assert not server.services


def test_answers_that_make_no_sense_cost_only_that_phone(server: AdbServer) -> None:
    server.shell = ready_shell({**ready_answers("A1"), "getconf PAGE_SIZE": "many"})
    assert check_phone(ShelfPhone(serial="A1"), "quick").fitness is Fitness.unfit


def test_a_phone_is_quarantined_and_released_by_name_with_a_reason_and_it_is_logged(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert farm(["quarantine", "B2", "--reason", "battery swollen"]) == 0
    _, rows = asked(capsys, "list")
    row = next(row for row in rows if row["serial"] == "B2")
    assert (row["state"], row["reason"], row["times"], row["claimed"]) == ("bad", "battery swollen", 1, False)
    assert farm(["release", "B2", "--reason", "new battery"]) == 0
    assert farm(["quarantine", "B2", "--reason", "again"]) == 0
    assert Register().of("B2").times == 2
    lines = (tmp_path / "state/farm/audit.jsonl").read_text().splitlines()
    told = [(each["action"], each["from"], each["to"], each["reason"]) for each in map(json.loads, lines)]
    assert told == [
        ("quarantine", "good", "bad", "battery swollen"),
        ("release", "bad", "good", "new battery"),
        ("quarantine", "good", "bad", "again"),
    ]


def test_what_cannot_be_done_is_told(shelf: Path) -> None:
    with pytest.raises(ProfileError, match="no phone 'B22'; did you mean B2"):
        farm(["quarantine", "B22", "--reason", "x"])
    with pytest.raises(ProfileError, match="--reason: say why"):
        farm(["quarantine", "B2"])
    with pytest.raises(EnvironmentRefused, match="B2 is good already"):
        farm(["release", "B2", "--reason", "x"])


def test_a_claimed_phone_shows_in_the_list_and_a_damaged_register_is_named(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register = Register()
    assert register.claim("A1") is not None
    _, rows = asked(capsys, "list")
    assert [row["claimed"] for row in rows] == [True, False, False]
    register.file.write_text("{")
    with pytest.raises(EnvironmentRefused, match=r"phones\.json: damaged"):
        farm(["list"])


def test_with_nothing_left_behind_reap_says_so(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, "reap") == (0, {"left": [], "busy": [], "freed": [], "kept": []})


def a_run(folder: Path, name: str, status: int = 0) -> Path:
    """A stored run like a fake phone's."""
    lines = (folder / TEMPLATE).read_text().splitlines()
    run = folder / name
    run.mkdir()
    end = json.dumps(json.loads(lines[-1]) | {"exit_status": status})
    (run / "results.jsonl").write_text("\n".join([*lines[:-1], end, ""]))
    return run


def test_a_baseline_is_a_copy_that_is_never_changed(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path, "run")
    status, (pinned,) = asked(capsys, "baseline", "set", "ok-1", str(run))
    assert status == 0
    copy = Path(pinned["folder"], pinned["runs"][0], "results.jsonl")
    assert copy.read_bytes() == (run / "results.jsonl").read_bytes()
    assert copy.is_relative_to(read_shelf(shelf).baselines)
    with pytest.raises(ReportError, match="is there already"):
        farm(["baseline", "set", "ok-1", str(run)])
    with pytest.raises(ReportError, match="ended with exit status 1; a baseline is a run that passed"):
        farm(["baseline", "set", "ok-2", str(a_run(tmp_path, "failed", 1))])
    _, rows = asked(capsys, "baseline", "list")
    assert [row["name"] for row in rows] == ["ok-1"]
