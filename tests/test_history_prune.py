"""``./lab history prune``: what is needed stays, what is packed says the same to the index, nothing goes unasked."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from base.errors import EXIT_REFUSED, EXIT_USAGE
from commands.__main__ import main
from farm.history.folder import FIGURES
from farm.history.index import HistoryIndex
from farm.history.night import judge_nights
from farm.history.prune import KEEP, plan_pruning
from farm.history.update import Update, on_index
from records.model import SCHEMA
from records.reading import RECORDS
from tests.history_farm import FIRST, Shelf
from tests.reports_sample import write_run


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Six runs of one phone, 20 nights apart, each with samples, a log and a page."""
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(tmp_path / "cache"))
    found = tmp_path / "results"
    found.mkdir()
    made = write_run(found)
    for number, day in enumerate(("2026-06-01", "2026-06-21", "2026-07-11", "2026-07-31", "2026-08-20", "2026-09-09")):
        folder = Path(shutil.copytree(made, found / f"run-{number}"))
        first, rest = (folder / RECORDS).read_text().split("\n", 1)
        began = {**json.loads(first), "started_utc": f"{day}T20:00:00+00:00"}
        (folder / RECORDS).write_text(f"{json.dumps(began)}\n{rest}")
        for name in ("mail.txt", "transcript.log"):
            (folder / name).write_text(name)
    shutil.rmtree(made)
    yield found


def names(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*")}


def lab(results: Path, *argv: str) -> int:
    return main(["history", "prune", "--results", str(results), *argv])


def points(results: Path, *, rebuild: bool = False) -> list[Any]:
    return on_index(
        results,
        lambda index, _: index.rows(
            "SELECT p.night, test, metric, quantile, params, n, median, low, high, used FROM point p "
            "JOIN series s ON s.id = p.series ORDER BY 1, 2, 3, 4, 5"
        ),
        rebuild=rebuild,
    )


def test_nothing_goes_unasked(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = names(results)
    assert lab(results, "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert [each["what"] for each in told["folders"]] == ["pack"] * 5
    assert told["bytes"] > 0
    assert names(results) == before
    assert lab(results) == 0
    assert "5 folders" in capfd.readouterr().out


def test_old_runs_are_packed_older_ones_removed_and_the_index_can_still_be_made_anew(results: Path) -> None:
    before = points(results)
    records = (results / "run-2" / RECORDS).read_bytes()
    assert lab(results, "--delete", "--full", "30", "--records", "75") == 0
    assert {each.name for each in results.iterdir()} == {"run-2", "run-3", "run-4", "run-5"}
    assert names(results / "run-3") == {f"{RECORDS}.gz", FIGURES, "mail.txt"}
    assert gzip.decompress((results / "run-2" / f"{RECORDS}.gz").read_bytes()) == records
    assert {RECORDS, "transcript.log"} <= names(results / "run-4")
    assert points(results) == before
    nights = sorted({row[0] for row in before})[2:]
    assert points(results, rebuild=True) == [row for row in before if row[0] in nights]


def test_packing_again_does_nothing(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert lab(results, "--delete") == 0
    capfd.readouterr()
    assert lab(results, "--delete", "--json") == 0
    assert json.loads(capfd.readouterr().out)["folders"] == []


def test_a_kept_folder_a_killed_run_and_the_last_run_of_a_phone_stay_whole(results: Path) -> None:
    (results / "run-0" / KEEP).touch()
    file = results / "run-1" / RECORDS
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    plan = on_index(results, lambda index, _: plan_pruning(index, results, full=1))
    assert [each.folder for each in plan] == ["run-2", "run-3", "run-4"]


def test_what_an_open_alarm_rests_on_stays(results: Path) -> None:
    def fill(index: HistoryIndex, _: Update) -> list[str]:
        for night in range(FIRST, FIRST + 30):
            with index.writing():
                for folder, run in Shelf(step=0.15, since=FIRST + 25).night(night):
                    (results / folder).mkdir()
                    (results / folder / RECORDS).write_text(str(SCHEMA))
                    index.add(folder, run)
        judge_nights(index)
        return [each.folder for each in plan_pruning(index, results, full=1)]

    nights = {int(folder.split("-")[0]) - FIRST for folder in on_index(results, fill) if folder[0].isdecimal()}
    assert nights == set(range(22))


def test_only_what_is_still_a_run_is_touched(results: Path) -> None:
    points(results)
    shutil.rmtree(results / "run-0")
    (results / "run-0").mkdir()
    (results / "run-0" / "thesis.txt").write_text("of somebody")
    (results / "run-1").rename(results.parent / "elsewhere")
    (results / "run-1").symlink_to(results.parent / "elsewhere")
    assert lab(results, "--delete", "--full", "1", "--records", "1") == 0
    assert {each.name for each in results.iterdir()} == {"run-0", "run-1", "run-5"}
    assert (results / "run-0" / "thesis.txt").exists()
    assert (results.parent / "elsewhere" / RECORDS).exists()


def test_what_cannot_be_written_is_said(
    results: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    points(results)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("farm.history.folder.replace_file", full)
    assert lab(results, "--delete") == EXIT_REFUSED
    assert "run-0: cannot be pruned: No space left on device" in capfd.readouterr().err
    assert RECORDS in names(results / "run-0")


@pytest.mark.parametrize("nights", ["0", "-1", "many"])
def test_a_number_of_nights_is_asked_for(results: Path, nights: str) -> None:
    assert lab(results, "--full", nights) == EXIT_USAGE
