"""``./lab history`` on folders: what is new is read once, what is broken is said, and folders stay as they are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import EXIT_FAILED, EXIT_NO_BASELINE, EXIT_USAGE
from commands.__main__ import main
from farm.history.figures import followed
from farm.history.folder import FIGURES, date_of, night_of, of_run, read_folder, write_figures
from farm.history.index import HistoryIndex, index_path, open_index
from farm.history.night import judge_nights
from farm.history.update import Update, on_index
from records.metrics import FAULT_LATENCY, THROUGHPUT, WRITTEN
from records.model import Caveat, RunResult, Turn
from records.reading import RECORDS, StoredRun, load
from records.tests import FAULTS
from records.tests import THROUGHPUT as SWEEP
from tests.history_farm import FIRST, Shelf
from tests.produced_run import write_run

RUN = "20261123T101500Z-virtual"


@pytest.fixture(scope="module")
def produced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with one run in it."""
    results = tmp_path_factory.mktemp("produced") / "results"
    results.mkdir()
    write_run(results).rename(results / RUN)
    return results


@pytest.fixture
def results(produced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(tmp_path / "cache"))
    yield Path(shutil.copytree(produced, tmp_path / "results"))


def update(results: Path, *, rebuild: bool = False) -> Update:
    return on_index(results, lambda _, found: found, rebuild=rebuild)


def rows(results: Path, sql: str) -> list[Any]:
    return on_index(results, lambda index, _: index.rows(sql))


def lab(*argv: str) -> int:
    return main(["history", *argv])


def test_a_run_is_read_once(results: Path) -> None:
    assert update(results).added == 1
    assert update(results) == Update(str(index_path(results)), 0, {}, 0)
    night = night_of(datetime(2026, 11, 23, 10, 15, tzinfo=UTC))
    assert rows(results, "SELECT plan, night FROM run JOIN kind") == [("quick", night)]


def test_a_night_lasts_from_noon_to_noon_here() -> None:
    assert date_of(night_of(datetime(2026, 11, 23, 11, 59).astimezone())) == "2026-11-22"
    assert date_of(night_of(datetime(2026, 11, 23, 12, 0).astimezone())) == "2026-11-23"


def test_only_primary_figures_are_watched_and_one_of_them_is_the_control(results: Path) -> None:
    found = followed(load(results / RUN))
    assert {each.series.test for each in found} == {
        "writeback_throughput", "fault_latency", "fault_latency_writeback", "app_switch",
    }  # fmt: skip
    assert len({each.series.name for each in found}) == len(found)
    (control,) = (each for each in found if each.series.is_control)
    samples = np.sort(load(results / RUN).samples(_of(load(results / RUN), slot="ram"), FAULT_LATENCY.name))
    assert samples[0] <= control.median <= samples[-1]


def _of(run: StoredRun, **params: object) -> RunResult:
    return next(each for each in run.runs if each.test == FAULTS.name and params.items() <= each.params.items())


def sweep(run: StoredRun, values: list[float], turns: list[Turn], **others: Any) -> StoredRun:
    params = {"batch_size": 32, "data_bytes": 1 << 25}
    return replace(run, runs=(RunResult(SWEEP.name, "", params, THROUGHPUT.of(values), turns=turns, **others),))


def test_a_disturbed_turn_enters_no_figure(results: Path) -> None:
    turns = [Turn(n, float(n), ("waited",) if n == 2 else ()) for n in range(6)]
    run = sweep(load(results / RUN), [10.0, 11.0, 99.0, 12.0, 13.0, 14.0], turns)
    run = replace(run, session=replace(run.session, caveats=[Caveat.virtual]))
    (figure,) = followed(run)
    assert (figure.median, figure.n, figure.used) == (12.0, 5, True)
    (fewer,) = followed(sweep(run, [10.0, 11.0, 99.0], turns[:3]))
    assert (fewer.median, fewer.used) == (10.5, False)


@pytest.mark.parametrize("caveat", [Caveat.throttled, Caveat.disturbed, Caveat.short_writeback])
def test_a_figure_in_doubt_is_not_used(results: Path, caveat: Caveat) -> None:
    turns = [Turn(n, float(n)) for n in range(6)]
    run = load(results / RUN)
    run = sweep(replace(run, session=replace(run.session, caveats=[])), [10.0] * 6, turns)
    assert followed(run)[0].used
    doubted = replace(run.runs[0], caveats=[caveat])
    assert not followed(replace(run, runs=(doubted,)))[0].used
    assert not followed(replace(run, end=None))[0].used
    assert not followed(replace(run, session=replace(run.session, caveats=[Caveat.noisy_host])))[0].used


def test_how_much_was_written_back_is_no_part_of_the_series(results: Path) -> None:
    run = load(results / RUN)
    small = RunResult(SWEEP.name, "", {"batch_size": 32, "data_bytes": 1 << 20}, THROUGHPUT.of([1.0] * 5))
    large = RunResult(SWEEP.name, "", {"batch_size": 32, "data_bytes": 1 << 30}, THROUGHPUT.of([2.0] * 5))
    (figure,) = followed(replace(run, runs=(large, small)))
    assert figure.median == 2.0


def test_a_killed_run_is_read_again_once_it_has_grown(results: Path) -> None:
    file = results / RUN / RECORDS
    whole = file.read_bytes()
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert update(results).added == 1
    assert rows(results, "SELECT status, max(used) FROM run JOIN point") == [(None, 0)]
    assert update(results).added == 0
    file.write_bytes(whole)
    assert update(results).added == 1
    assert rows(results, "SELECT status FROM run") == [(0,)]


def test_folders_in_folders_are_found_and_links_are_not_followed(results: Path) -> None:
    shutil.copytree(results / RUN, results / "nights" / "2026-11-23" / RUN)
    (results / "nights" / "again").symlink_to(results / RUN)
    assert update(results).added == 2


def test_what_cannot_be_read_is_told_and_the_rest_is_kept(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (results / "broken").mkdir()
    (results / "broken" / RECORDS).write_text("{}\n")
    shutil.copytree(results / RUN, results / "tomorrow")
    began = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    text = (results / "tomorrow" / RECORDS).read_text()
    (results / "tomorrow" / RECORDS).write_text(text.replace("2026-11-23T10:15:00Z", began, 1))
    assert lab("index", "--results", str(results), "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert told["added"] == 1
    assert "does not begin with a session record" in told["unreadable"]["broken"]
    assert "was the clock right?" in told["unreadable"]["tomorrow"]


@pytest.mark.parametrize("damage", [b"", b"no database" * 500, None])
def test_a_damaged_index_is_made_anew_and_said(
    results: Path, damage: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    path = Path(update(results).index)
    before = rows(results, "SELECT night, n, median FROM point")
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096) if damage is None else damage)
    found = update(results)
    assert found.added == 1
    assert rows(results, "SELECT night, n, median FROM point") == before
    assert ("damaged" in found.rebuilt) == ("built anew from" in capfd.readouterr().err) == (damage != b"")


def test_damage_that_only_a_question_meets_is_mended_too(results: Path) -> None:
    path = Path(update(results).index)

    def asked(index: HistoryIndex, found: Update) -> str:
        if not found.rebuilt:
            with open_index(path) as other:
                other.write("PRAGMA user_version = 77", [()])
            with open_index(path):
                raise AssertionError
        return found.rebuilt

    assert "schema 77" in on_index(results, asked)


def test_two_at_once_add_each_run_once(results: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(update, results) for _ in range(2)]
    assert sorted(each.result().added for each in both) == [0, 1]


def test_a_read_only_results_folder_is_enough(results: Path) -> None:
    before = sorted(results.rglob("*"))
    for path in [results, *results.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert update(results).added == 1
    finally:
        for path in [results, *results.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)
    assert sorted(results.rglob("*")) == before


def test_what_is_left_of_a_pruned_folder_says_the_same(results: Path) -> None:
    run = of_run(load(results / RUN))
    write_figures(results / RUN, run)
    (results / RUN / RECORDS).unlink()
    assert read_folder(results / RUN) == run
    assert update(results).added == 1
    (results / RUN / FIGURES).write_text("[]")
    assert RUN in update(results, rebuild=True).unreadable


def test_a_folder_that_is_not_there_is_said(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert lab("index", "--results", str(tmp_path / "none")) == EXIT_USAGE
    assert "no such folder of results" in capfd.readouterr().err


def with_a_step(results: Path) -> None:
    """As if a shelf of phones had been measured, with a step in the last nights."""

    def fill(index: HistoryIndex, _: Update) -> None:
        for night in range(FIRST, FIRST + 30):
            with index.writing():
                for folder, run in Shelf(step=0.15, since=FIRST + 25).night(night):
                    index.add(folder, run)
        judge_nights(index)

    on_index(results, fill)


def test_an_alarm_sets_the_status_until_somebody_says_that_he_knows(
    results: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(results / RUN)
    assert lab("trend", "--results", str(results)) == EXIT_NO_BASELINE
    with_a_step(results)
    capfd.readouterr()
    assert lab("trend", "--results", str(results)) == EXIT_FAILED
    text = capfd.readouterr().out
    assert "1 alarms that somebody must look at" in text
    assert "writeback_throughput writeback.throughput" in text
    assert lab("trend", "--results", str(results), "--json") == EXIT_FAILED
    (alarm,) = json.loads(capfd.readouterr().out)["alarms"]
    assert (alarm["state"], alarm["opened"], len(alarm["series"])) == ("open", "2026-11-29", 2)
    acknowledge = ["trend", "--results", str(results), "--acknowledge"]
    assert lab(*acknowledge, "20200101-00000000", "--reason", "x") == EXIT_USAGE
    assert lab(*acknowledge, alarm["id"]) == EXIT_USAGE
    assert lab(*acknowledge, alarm["id"], "--reason", "bug 7") == 0
    update(results, rebuild=True)
    with_a_step(results)
    capfd.readouterr()
    assert lab("trend", "--results", str(results)) == 0
    assert "bug 7" in capfd.readouterr().out


def test_pages_and_wear_are_told_by_the_command(
    results: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with_a_step(results)
    page = tmp_path / "page.html"
    trend = ["trend", "--results", str(results), "--html", str(page)]
    assert lab(*trend) == EXIT_FAILED
    assert "Trends as of the night of" in page.read_text()
    assert lab(*trend, "--phone", "P0003") == EXIT_FAILED
    assert "<h1>P0003</h1>" in page.read_text()
    assert lab("trend", "--results", str(results), "--phone", "P0003") == EXIT_USAGE
    capfd.readouterr()
    assert lab("wear", "--results", str(results), "--json", "--budget", "8GiB") == 0
    worn = json.loads(capfd.readouterr().out)
    assert {each["advice"] for each in worn if each["serial"] == "P0003"} == {"cheaper plan"}
    assert lab("wear", "--results", str(results)) == 0
    assert re.search(r"P0003 +7 +7 GiB +as planned", capfd.readouterr().out)
    assert lab("wear", "--budget", "much") == EXIT_USAGE


def test_pinned_runs_are_taken_once_and_go_with_their_folder(results: Path, tmp_path: Path) -> None:
    pins = tmp_path / "baselines"
    shutil.copytree(results / RUN, pins / "kind" / "ok" / "P-1")
    (pins / "kind" / "ok" / "pinned.json").write_text('{"when": "2026-11-24T00:00:00+00:00"}')

    def pinned() -> list[Any]:
        return on_index(
            results,
            lambda index, _: index.rows("SELECT at, count(*) FROM baseline GROUP BY at"),
            baselines=pins,
        )

    before = pinned()
    (pins / "kind" / "ok" / "P-1" / RECORDS).write_text("never read again")
    assert pinned() == before
    used = sum(each.used for each in followed(load(results / RUN)))
    assert used > 0
    assert before == [("2026-11-24T00:00:00+00:00", used)]
    shutil.rmtree(pins / "kind")
    assert pinned() == []


def test_bytes_written_are_the_disk_s_own_count_or_else_what_writebacks_wrote(results: Path) -> None:
    run = sweep(load(results / RUN), [1.0], [])
    wrote = replace(run.runs[0], metrics=WRITTEN.of([100.0, 100.0]), warmups=WRITTEN.of([56.0]))
    run = replace(run, runs=(wrote,))
    assert of_run(run).written_bytes == 256 * 4096
    assert run.end is not None
    counted = replace(run.end, facts={**run.end.facts, "disk_written_bytes": 7 << 30})
    assert of_run(replace(run, end=counted)).written_bytes == 7 << 30
