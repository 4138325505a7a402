"""What a night leaves and what starts one, read by the programs that they are for."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import kcidb_io
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from commands.nightly import main as nightly
from farm.night_log import nights_in
from tests.conftest import REPO
from tests.fake_farm import checks_of, write_farm
from tests.fake_run import FOLDER, PROGRAM
from tests.test_night_reports import MIXED

UNITS = REPO / "docs/farm"


@pytest.fixture
def night(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a night with everything that can happen to a phone."""
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(memory_path / "cache"))
    monkeypatch.setenv(FOLDER, str(memory_path))
    file = write_farm(memory_path, [f"P{number}" for number in range(1, 7)], **MIXED)
    arguments = [str(file), "--results", str(memory_path / "results")]
    nightly(arguments, program=PROGRAM, check=checks_of(memory_path), pause_s=0.01)
    return nights_in(memory_path / "results")[-1]


def test_kcidb_takes_the_night_and_would_not_take_a_word_of_ours(night: Path) -> None:
    document: dict[str, Any] = json.loads((night / "night.kcidb.json").read_text())
    kcidb_io.schema.LATEST.validate(document)
    assert Counter(test["status"] for test in document["tests"])["ERROR"] == 3
    document["tests"][0]["status"] = "LOST"
    with pytest.raises(Exception, match="LOST"):
        kcidb_io.schema.LATEST.validate(document)


def test_junit_is_read_with_the_counts_of_the_night(night: Path) -> None:
    read = JUnitXml.fromfile(str(night / "night.xml"))
    story = json.loads((night / "night.json").read_text())
    found = Counter(type(result) for suite in read for case in suite for result in case.result)
    assert (read.errors, read.failures, read.skipped) == (found[Error], found[Failure], found[Skipped])
    counts = story["counts"]
    assert found[Error] == counts["lost"] + counts["not_restored"] + counts["wrong"] + counts["cut"]
    assert found[Failure] == counts["failed"]
    assert {suite.name for suite in read} == {phone["serial"] for phone in story["phones"]}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not on this host")
def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    for unit in UNITS.glob("zram-lab-*"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/zram-writeback-lab", str(REPO)))
    said = verified(tmp_path)
    assert said == (0, "")
    service = tmp_path / "zram-lab-nightly.service"
    service.write_text(service.read_text().replace("KillMode=", "KilMode="))
    assert "Unknown key" in verified(tmp_path)[1]


def verified(folder: Path) -> tuple[int, str]:
    units = sorted(map(str, folder.iterdir()))
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, "".join(line for line in done.stderr.splitlines(True) if "zram-lab" in line)


@pytest.mark.skipif(
    importlib.util.find_spec("check_jsonschema") is None,
    reason="check-jsonschema, which has GitLab's schema, is not here",
)
def test_the_pipeline_fits_gitlabs_schema(tmp_path: Path) -> None:
    def status(text: str) -> int:
        (tmp_path / "ci.yml").write_text(text)
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci"]
        return subprocess.run([*command, str(tmp_path / "ci.yml")], capture_output=True, check=False).returncode

    text = (UNITS / "gitlab-ci.yml").read_text()
    assert status(text) == 0
    assert status(text.replace("interruptible: false", "interruptible: [3]")) == 1
