"""docs/farm.md says what there is, and what starts a night starts this one."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from commands.nightly import main as nightly
from farm.closing import FORMS
from farm.night_end import WORST_FIRST
from farm.shelf import Farm, read_shelf
from tests.conftest import REPO

DOCS = REPO / "docs" / "farm.md"
TEXT = DOCS.read_text(encoding="utf-8")
UNITS = sorted((REPO / "docs" / "farm").iterdir())


def test_every_key_every_file_and_every_status_is_in_the_document() -> None:
    rows = {row.split("|")[1].strip() for row in TEXT.splitlines() if row.startswith("| ")}
    assert {f"`{key}`" for key in Farm.model_fields} <= rows
    assert {f"`{name}`" for name in FORMS} <= rows
    assert {str(status) for status in (*WORST_FIRST, 0)} <= rows
    told = [int(row) for row in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)]
    assert told == [*WORST_FIRST, 0]


def test_the_file_that_the_document_shows_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert len(shown) == 1
    file = tmp_path / "farm.yaml"
    file.write_text(shown[0])
    assert len(read_shelf(file).farm.phones) == 2
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    assert nightly([str(file), "--dry-run", "--until", "06:00", "--results", str(tmp_path)]) == 0


def test_defaults_in_the_document_are_those_of_the_file() -> None:
    farm = Farm.model_validate({"farm": "x", "phones": [{"serial": "1"}]})
    defaults = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT, re.MULTILINE))
    assert defaults["at_once"] == str(farm.at_once)
    assert defaults["plan"] == f"`{farm.plan}`"
    assert defaults["retry"] == f"`{{infra: {farm.retry.infra}, product: {farm.retry.product}}}`"
    assert defaults["quota"] == f"{farm.quota:.0%}".replace("%", " %")


def test_each_option_of_nightly_that_is_shown_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        nightly(["--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    lines = "\n".join([TEXT, *(path.read_text() for path in UNITS)]).splitlines()
    shown = {option for line in lines if "lab nightly" in line for option in re.findall(r" (--[a-z-]+)", line)}
    assert {"--dry-run", "--until", "--results"} <= shown <= known


def test_the_units_and_pipelines_can_be_read() -> None:
    names = {path.name for path in UNITS}
    assert names == {
        "Jenkinsfile", "gitlab-ci.yml", "zram-lab-coordinator.service", "zram-lab-exporter.service",
        "zram-lab-nightly.service", "zram-lab-nightly.timer",
    }  # fmt: skip
    job = yaml.safe_load((REPO / "docs/farm/gitlab-ci.yml").read_text())["zram-nightly"]
    assert job["artifacts"]["reports"]["junit"].endswith("night.xml")
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(REPO / "docs/farm/zram-lab-nightly.service")
    assert unit["Service"]["KillMode"] == "mixed"
    jenkins = (REPO / "docs/farm/Jenkinsfile").read_text()
    assert jenkins.count("{") == jenkins.count("}")
