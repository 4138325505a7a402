"""What a night meets that is not as it should be, beside mistakes in its file: it says what, where and what to do.

What was measured stays in each case.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from commands.farm import main as farm
from commands.nightly import main as nightly
from farm.history.index import index_path
from farm.night_log import nights_in
from farm.standing import Register
from farm.window import EXIT_WINDOW_OVER, WindowOver
from tests.fake_farm import checks_of, ledger, write_farm
from tests.fake_run import FOLDER, PROGRAM

Night = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def night(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    """Measure one phone for a night; returns the exit status and the night's document."""
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(memory_path / "cache"))
    monkeypatch.setenv(FOLDER, str(memory_path))

    def measured(more: str = "", **phones: Any) -> tuple[int, dict[str, Any]]:
        file = write_farm(memory_path, ["P1"], more=more, **phones)
        arguments = [str(file), "--results", str(memory_path / "results")]
        status = nightly(arguments, program=PROGRAM, check=checks_of(memory_path), pause_s=0.01)
        told: dict[str, Any] = json.loads((nights_in(memory_path / "results")[-1] / "night.json").read_text())
        return status, told

    return measured


def test_no_phone_that_is_left_is_a_refused_night_that_names_what_to_do(night: Night, memory_path: Path) -> None:
    with Register().changing("P1", "quarantine") as standing:
        standing.quarantined("battery swollen", "ada")
    status, told = night()
    assert (status, told["summary"]) == (11, "0 of 1 measured, 1 quarantined")
    (need,) = told["needs_a_person"]
    assert "battery swollen" in need["what"]
    assert "./lab farm release P1 --reason" in need["do"]
    assert not ledger(memory_path)


def test_a_baseline_of_another_schema_is_named_and_the_run_stays(night: Night, memory_path: Path) -> None:
    run = night()[1]["phones"][0]["run"]
    assert farm(["baseline", "set", "ok", run, "--farm", str(memory_path / "fakes.yaml")]) == 0
    (pinned,) = (memory_path / "baselines").glob("*/ok/*/results.jsonl")
    first, rest = pinned.read_text().split("\n", 1)
    pinned.write_text(json.dumps(json.loads(first) | {"schema": 99}) + "\n" + rest)
    status, told = night()
    against = told["phones"][0]["against"]
    assert (status, told["phones"][0]["end"]) == (12, "passed")
    assert str(pinned) in against["reason"] or str(pinned.parent) in against["reason"]
    assert "99" in against["reason"]
    assert (Path(told["phones"][0]["run"]) / "results.jsonl").is_file()


def test_an_index_that_is_damaged_is_made_anew_and_the_night_is_none_the_worse(
    night: Night, memory_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    night()
    index = index_path(memory_path / "results")
    index.write_bytes(b"no database" * 1000)
    status, told = night()
    assert (status, told["summary"]) == (0, "1 of 1 measured")
    assert f"{index}: it was damaged or of another version" in (said := capsys.readouterr().err)
    assert "built anew" in said
    assert index.read_bytes().startswith(b"SQLite format 3")


def test_outside_of_its_window_a_night_touches_nothing_and_says_when_it_opens(night: Night, memory_path: Path) -> None:
    with pytest.raises(WindowOver, match=r"the window is from \d\d:\d\d to \d\d:\d\d") as raised:
        night(f"window: {{{closed()}}}")
    assert raised.value.exit_status == EXIT_WINDOW_OVER
    assert "it opens again at" in raised.value.hint
    assert not ledger(memory_path)


def closed() -> str:
    """A window that is not open now."""
    now = datetime.now()
    return f'start: "{now + timedelta(hours=2):%H:%M}", end: "{now + timedelta(hours=3):%H:%M}"'
