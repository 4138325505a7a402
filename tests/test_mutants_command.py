"""``./lab mutants``: what counts as caught, what does not, and that an alarm on the unchanged driver is a failure."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from base.errors import EXIT_DEVICE_LOST, EXIT_FAILED, EXIT_NOTHING_SELECTED, EnvironmentRefused, ProfileError
from commands import mutants
from devices.virtual.mutants import Mutant

FAILED = "<testsuites><testsuite><testcase name='{}'><failure message='{}'/></testcase></testsuite></testsuites>"
# Stands for pytest: which build it is about is in the profile, and what it finds there in a table.
SUITE = """\
import json, re, sys, time
told = json.loads({told!r})
profile = sys.argv[sys.argv.index("--device") + 1]
name = re.search(r"module: .*/(.*)[.]ko", open(profile).read())[1]
junit = next(word for word in sys.argv if word.startswith("--junitxml=")).partition("=")[2]
status, text = told.get(name, [0, ""])
if text:
    open(junit, "w").write(text)
print("words of the suite")
time.sleep(60 if status == "hangs" else 0)
sys.exit(status)
"""


class Lab:
    """Boots phones, and counts them."""

    def __init__(self) -> None:
        self.boots = 0

    def start(self, *_: object, **__: object) -> SimpleNamespace:
        self.boots += 1
        return SimpleNamespace(serial="127.0.0.1:1", died=lambda: None, stop=lambda: None)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    lab = Lab()
    monkeypatch.setattr(mutants, "start", lab.start)
    monkeypatch.setattr(mutants, "ensure_image", lambda *_, **__: SimpleNamespace(kernel_release="7.3"))
    driver = tmp_path / "driver"
    driver.mkdir()
    monkeypatch.setattr(mutants, "ensure_sources", lambda *_, **__: SimpleNamespace(driver=driver))
    monkeypatch.setattr(Mutant, "patch", lambda self, sources: SimpleNamespace(name=self.name))

    def build(sources: object, patch: Any, *, progress: object) -> SimpleNamespace:
        return SimpleNamespace(module=SimpleNamespace(path=tmp_path / f"{patch.name if patch else 'stock'}.ko"))

    monkeypatch.setattr(mutants, "build_module", build)
    return lab


def suite_finds(monkeypatch: pytest.MonkeyPatch, found: Mapping[str, Sequence[object]]) -> None:
    script = SUITE.format(told=json.dumps(found))
    monkeypatch.setattr(mutants, "pytest_command", lambda folder, words: [sys.executable, "-c", script, *words])


def verdicts(folder: Path, *words: str) -> tuple[int, dict[str, str]]:
    file = folder / "table.json"
    status = mutants.main([*words, "--json", str(file)])
    return status, {row["mutant"]: row["caught_by"] for row in json.loads(file.read_text())}


def test_each_build_is_told_with_the_test_that_caught_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite_finds(monkeypatch, {"stale-tail": [EXIT_FAILED, FAILED.format("test_tail", "3 bytes")]})
    status, told = verdicts(tmp_path, "--only", "stale-tail,leaked-block")
    assert status == EXIT_FAILED, "one was not caught"
    assert told == {"stock 1": "", "stale-tail": "test_tail", "leaked-block": ""}
    printed = capsys.readouterr().out
    assert "1 of 2 caught" in printed
    assert lab.boots == 1, "all of them in one boot"


def test_all_caught_and_no_alarm_is_a_success(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite_finds(monkeypatch, {"thaws": [EXIT_FAILED, FAILED.format("test_frozen", "no EBUSY")]})
    assert verdicts(tmp_path, "--only", "thaws", "--stock", "3")[0] == 0


def test_an_alarm_on_the_unchanged_driver_is_a_failure(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite_finds(monkeypatch, {"stock": [EXIT_FAILED, FAILED.format("test_tail", "3 bytes")]})
    assert verdicts(tmp_path, "--only", "")[0] == EXIT_FAILED
    assert "FALSE ALARM: test_tail" in capsys.readouterr().out


def test_a_kernel_that_does_not_survive_is_caught_and_the_next_has_a_new_boot(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite_finds(monkeypatch, {"no-done-lock": [EXIT_DEVICE_LOST, ""], "thaws": ["hangs", ""]})
    _, told = verdicts(tmp_path, "--only", "no-done-lock,thaws,no-batch", "--limit", "2")
    assert told["no-done-lock"] == "the phone did not survive"
    assert told["thaws"] == "it hung"
    assert lab.boots == 3


def test_a_suite_that_does_not_run_catches_nothing(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite_finds(monkeypatch, {"stock": [EXIT_NOTHING_SELECTED, ""]})
    with pytest.raises(EnvironmentRefused, match="did not run on stock 1: exit status 5: words of the suite"):
        verdicts(tmp_path, "--only", "thaws")


def test_a_name_that_is_none_is_told() -> None:
    with pytest.raises(ProfileError, match="no defect is called stale"):
        mutants.main(["--only", "stale"])
