"""What a night leaves for people and for other programs: the lab's faults are told apart from what was measured."""

from __future__ import annotations

import json
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from commands.farm import main as farm
from commands.nightly import main as nightly
from farm.closing import FORMS, trend_lines
from farm.hook import call_hook
from farm.night_log import PhoneEnd, nights_in
from farm.shelf import read_shelf
from tests.fake_farm import checks_of, write_farm
from tests.fake_run import FOLDER, PROGRAM

MIXED: dict[str, Any] = {
    "P2": {"statuses": [1]}, "P3": {"statuses": [10]}, "P4": {"statuses": [13]}, "P5": {"looks": [11]},
    "P6": {"statuses": [1, 0]},
}  # fmt: skip
Told = tuple[int, Path]


@pytest.fixture
def run(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Told]:
    """Measure a farm for a night; returns the exit status and the night's folder."""
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(memory_path / "cache"))
    monkeypatch.setenv(FOLDER, str(memory_path))

    def measured(serials: Sequence[str], *options: str, more: str = "", **phones: Any) -> Told:
        file = write_farm(memory_path, serials, more=more, **phones)
        arguments = [str(file), "--results", str(memory_path / "results"), *options]
        status = nightly(arguments, program=PROGRAM, check=checks_of(memory_path), pause_s=0.01)
        return status, nights_in(memory_path / "results")[-1]

    return measured


@pytest.fixture
def mixed(run: Callable[..., Told]) -> Path:
    """A night with everything that can happen to a phone."""
    status, folder = run(["P1", "P2", "P3", "P4", "P5", "P6"], **MIXED)
    assert status == 13
    return folder


def test_the_first_line_says_it_all_and_what_needs_a_person_comes_next(mixed: Path) -> None:
    lines = (mixed / "fleet.txt").read_text().splitlines()
    assert lines[0] == "3 of 6 measured, 1 not restored, 1 failed, 1 flaky, 1 lost, 1 refused"
    assert lines.index("Needs a person") < next(n for n, line in enumerate(lines) if line.startswith("phone "))
    assert any("./lab restore --device P4" in line for line in lines)


def test_junit_tells_the_labs_faults_from_failures(mixed: Path) -> None:
    root = ET.parse(mixed / "night.xml").getroot()
    suites = {suite.get("name"): suite for suite in root}
    counts = {name: [suite.get(key) for key in ("failures", "errors", "skipped")] for name, suite in suites.items()}
    assert counts == {
        "P1": ["0", "0", "0"], "P2": ["1", "0", "0"], "P3": ["0", "1", "0"], "P4": ["0", "1", "0"],
        "P5": ["0", "0", "1"], "P6": ["0", "0", "0"],
    }  # fmt: skip
    error = suites["P3"].find("testcase[@name='phone']/error")
    assert error is not None and error.get("type") == "infra"
    assert [root.get(key) for key in ("failures", "errors", "skipped")] == ["1", "2", "1"]
    assert int(root.get("tests", "")) == len(root.findall(".//testcase"))
    told = {each.get("name"): each.get("value") for each in suites["P2"].iter("property")}
    assert (told["serial"], told["end"], told["attempts"]) == ("P2", "failed", "2")


def test_kcidb_has_errors_for_lost_phones_and_numbers_for_figures(mixed: Path) -> None:
    document = json.loads((mixed / "night.kcidb.json").read_text())
    assert document["version"] == {"major": 5, "minor": 3}
    builds = {build["id"]: build for build in document["builds"]}
    checkouts = {checkout["id"] for checkout in document["checkouts"]}
    assert {build["checkout_id"] for build in builds.values()} <= checkouts
    tests = document["tests"]
    assert len({test["id"] for test in tests}) == len(tests)
    allowed = {
        "id",
        "origin",
        "build_id",
        "path",
        "status",
        "number",
        "duration",
        "comment",
        "start_time",
        "environment",
    }
    for test in tests:
        assert set(test) <= allowed
        assert test["build_id"] in builds
        assert re.fullmatch(r"[a-z0-9_]+", test["origin"]) and test["id"].startswith(f"{test['origin']}:")
        assert re.fullmatch(r"[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*", test["path"]), test["path"]
        assert test["status"] in ("FAIL", "ERROR", "MISS", "PASS", "DONE", "SKIP")
    by_phone = {(test["environment"]["misc"]["serial"], test["path"]): test["status"] for test in tests}
    assert by_phone["P3", "zram_writeback.phone"] == "ERROR"
    assert by_phone["P2", "zram_writeback.writeback_throughput"] == "FAIL"
    assert ("P1", "zram_writeback.phone") not in by_phone
    figures = [test for test in tests if test["status"] == "DONE" and "batch_size_32" in test["path"]]
    assert {(test["number"]["value"], test["number"]["unit"]) for test in figures} == {(49.8, "MiB/s")}


def test_the_page_needs_nothing_else_and_has_the_order_of_the_text(mixed: Path) -> None:
    page = (mixed / "fleet.html").read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"https?:", page)
    assert 'name="viewport"' in page
    assert page.index("Needs a person") < page.index(">Phones<")


def test_the_collectors_text_has_each_metric_once_with_its_type(mixed: Path) -> None:
    lines = (mixed / "zram_lab_night.prom").read_text().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['zram_lab_night_measured{farm="fakes"}'] == "3"
    assert values['zram_lab_night_phones{farm="fakes",end="lost"}'] == "1"
    names = {line.partition("{")[0] for line in lines if not line.startswith("#")}
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == names


def test_all_forms_agree_with_the_document(mixed: Path) -> None:
    story = json.loads((mixed / "night.json").read_text())
    for name, form in FORMS.items():
        if name != "night.json":
            assert (mixed / name).read_text() == form(story), name


def test_serials_and_words_of_phones_are_no_markup_and_move_no_terminal() -> None:
    story = big_story(1)
    story["phones"][0] |= {"serial": "<b>\x1b[2J", "why": "</td><script>alert(1)</script>\x00"}
    told = {name: form(story) for name, form in FORMS.items()}
    assert "<script" not in told["fleet.html"] and "<b>" not in told["fleet.html"]
    assert "\x1b" not in told["fleet.txt"] + told["fleet.html"] + told["night.xml"]
    ET.fromstring(told["night.xml"])


def big_story(phones: int) -> dict[str, Any]:
    """A night over many phones."""
    now = datetime.now(UTC).isoformat()
    outcomes = [
        {"test": f"test_{n}", "title": "T", "outcome": "passed", "reason": "", "seconds": 1.0} for n in range(25)
    ]
    figures = [{"test": "t", "metric": "m", "params": {"n": n}, "median": 1.5, "unit": "s", "n": 5} for n in range(24)]
    attempt = {"number": 1, "plan": "quick", "status": 0, "seconds": 300.0, "kind": "passed", "began": now}
    each = [{
        "serial": f"P{n:04}", "tags": {"profile": "pixel-8"}, "end": "passed", "why": "", "run": "", "measured_by": "",
        "attempts": [attempt], "facts": {"kernel_release": "6.6"}, "notes": [], "outcomes": outcomes,
        "figures": figures, "kernel": None, "against": None, "health": "good",
    } for n in range(phones)]  # fmt: skip
    counts = dict.fromkeys([*PhoneEnd, "picked", "measured", "regressions", "not_compared", "infra"], 0)
    return {
        "night": "n", "folder": "/n", "farm": "f", "plan": "quick", "seed": 1, "began": now, "ended": now,
        "until": None, "stopped": "", "status": 0, "summary": "s", "counts": counts, "needs_a_person": [], "notes": [],
        "phones": each, "trends": [],
    }  # fmt: skip


def test_trends_come_after_the_phones_and_one_that_is_not_known_says_why(
    mixed: Path, monkeypatch: pytest.MonkeyPatch, memory_path: Path
) -> None:
    assert json.loads((mixed / "night.json").read_text())["trends"] == []
    story = big_story(2) | {"trends": ["A1 open: pixel-8, 6.6, nightly: worse, since 2026-11-20: <throughput>"]}
    page, text = FORMS["fleet.html"](story), FORMS["fleet.txt"](story)
    assert page.index(">Phones<") < page.index("A1 open") and "&lt;throughput&gt;" in page
    assert text.index("P0001") < text.index("A1 open")
    (memory_path / "no-folder").write_text("")
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(memory_path / "no-folder"))
    (line,) = trend_lines(memory_path / "results", read_shelf(memory_path / "fakes.yaml"))
    assert line.startswith("not known: ")


def test_a_thousand_phones_fit_on_a_page_that_is_made_at_once() -> None:
    story, began = big_story(1000), time.process_time()
    page = FORMS["fleet.html"](story)
    assert time.process_time() - began < 10
    assert len(page.encode()) < 2_000_000
    assert all(len(form(story)) for form in FORMS.values())


def test_a_night_is_compared_with_the_pinned_baseline_of_its_build_only(
    run: Callable[..., Told], memory_path: Path
) -> None:
    _, first = run(["P1"])
    story = json.loads((first / "night.json").read_text())
    assert farm(["baseline", "set", "ok", story["phones"][0]["run"], "--farm", str(memory_path / "fakes.yaml")]) == 0
    assert run(["P1"])[0] in (0, 12)
    compared = json.loads((nights_in(memory_path / "results")[-1] / "night.json").read_text())["phones"][0]["against"]
    assert compared["baseline"].endswith("/ok")
    status, other = run(["P1"], P1={"build": "build-2"})
    assert status == 12
    assert "no baseline for profile virtual" in (other / "night.json").read_text()
    assert "build build-2" in (other / "night.json").read_text()
    assert "1 not compared" in (other / "fleet.txt").read_text().splitlines()[0]


def test_a_run_that_is_much_slower_than_its_baseline_is_a_regression(
    run: Callable[..., Told], memory_path: Path
) -> None:
    _, first = run([f"P{n}" for n in range(6)])
    runs = [phone["run"] for phone in json.loads((first / "night.json").read_text())["phones"]]
    farm(["baseline", "set", "ok", *runs, "--farm", str(memory_path / "fakes.yaml")])
    status, folder = run(["P9"], P9={"factor": 0.3})
    assert status == 1, (folder / "fleet.txt").read_text()
    assert "1 regression" in (text := (folder / "fleet.txt").read_text())
    assert "worse: writeback_throughput: writeback.throughput" in text


def test_the_hook_gets_the_night_and_its_failure_changes_no_status(run: Callable[..., Told], memory_path: Path) -> None:
    hook = memory_path / "hook.sh"
    hook.write_text("#!/bin/sh\ncat > got.json\necho no mail today >&2\nexit 3\n")
    hook.chmod(0o755)
    status, folder = run(["P1"], more="notify: [./hook.sh]")
    assert status == 0
    assert json.loads((memory_path / "got.json").read_text())["summary"] == "1 of 1 measured"
    assert "notify: ./hook.sh: exit status 3: no mail today" in (folder / "fleet.txt").read_text()


def test_a_hook_that_hangs_or_is_not_there_is_told(tmp_path: Path) -> None:
    assert "not within 0.2 s, killed" in call_hook(["sh", "-c", "sleep 60 & sleep 60"], {}, tmp_path, limit_s=0.2)
    assert "cannot be started: No such file" in call_hook(["./none"], {}, tmp_path)
    assert call_hook(["true"], {}, tmp_path) == ""
    assert call_hook([], {}, tmp_path) == ""
