"""The index of watched series: what it keeps, what it says of nights, and that it can be made anew at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farm.history.figures import Watched
from farm.history.folder import RunKind, date_of
from farm.history.index import HistoryIndex, open_index
from farm.history.night import judge_nights
from tests.history_farm import CONTROL, FIRST, KIND, Shelf, fill, in_doubt


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Marks of people go where nobody else looks."""
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[HistoryIndex]:
    with open_index(tmp_path / "index.sqlite3") as found:
        yield found


def raised(index: HistoryIndex) -> list[tuple[int, str]]:
    return index.rows("SELECT DISTINCT night - ?, raised FROM pooled WHERE raised <> '' ORDER BY 1, 2", FIRST)


def everything(index: HistoryIndex) -> list[list[Any]]:
    """What the index says, but for the numbers that it gave to names."""
    return [
        index.rows(
            "SELECT p.night, serial, test, metric, quantile, params, folder, n, median, low, high, used FROM point p "
            "JOIN phone ON phone.id = p.phone JOIN series s ON s.id = p.series JOIN run ON run.id = p.run "
            "ORDER BY 1, 2, 3, 4, 5, 6"
        ),
        index.rows(
            "SELECT night, profile, kernel, test, metric, quantile, params, n, median, round(change, 12), round(z, 9), "
            "round(drift, 12), raised FROM pooled p JOIN kind k ON k.id = p.kind JOIN series s ON s.id = p.series "
            "ORDER BY 1, 2, 3, 4, 5, 6, 7"
        ),
    ]


def test_a_step_is_raised_by_its_fifth_night_and_the_control_is_not(index: HistoryIndex) -> None:
    fill(index, Shelf(step=0.10, since=FIRST + 25), range(FIRST, FIRST + 31))
    assert judge_nights(index) == 31
    assert raised(index)[0] in [(29, "step"), (30, "step")]
    names = {Watched(*row).name for row in index.rows(
        "SELECT test, params, metric, quantile, unit, better FROM pooled p JOIN series s ON s.id = p.series "
        "WHERE raised <> ''")}  # fmt: skip
    assert len(names) == 2
    assert CONTROL.name not in names


def test_what_moved_every_series_is_raised_for_the_control_alone(index: HistoryIndex) -> None:
    fill(index, Shelf(), range(FIRST, FIRST + 25))
    fill(index, Shelf(), range(FIRST + 25, FIRST + 31), common=0.10)
    judge_nights(index)
    assert {word for _, word in raised(index)} == {"control"}


def test_nights_in_doubt_are_kept_and_not_used(index: HistoryIndex) -> None:
    fill(index, Shelf(), range(FIRST, FIRST + 25))
    for night in range(FIRST + 25, FIRST + 31):
        with index.writing():
            for folder, run in Shelf(step=0.10).night(night):
                index.add(folder, in_doubt(run))
    judge_nights(index)
    assert raised(index) == []
    assert index.rows("SELECT count(*) FROM point WHERE night >= ?", FIRST + 25) == [(6 * 12 * 3,)]


def test_fewer_than_eight_phones_raise_nothing_but_each_is_looked_at(index: HistoryIndex) -> None:
    fill(index, Shelf(phones=7, step=0.25, since=FIRST + 20), range(FIRST, FIRST + 27))
    judge_nights(index)
    assert raised(index) == []
    assert index.rows("SELECT count(DISTINCT phone), count(DISTINCT series) FROM moved") == [(7, 2)]


def test_a_phone_that_moved_with_its_control_is_not_told(index: HistoryIndex) -> None:
    fill(index, Shelf(phones=2), range(FIRST, FIRST + 20))
    fill(index, Shelf(phones=2), range(FIRST + 20, FIRST + 27), common=0.25)
    judge_nights(index)
    assert index.rows("SELECT count(*) FROM moved") == [(0,)]


def test_a_night_without_its_control_is_no_evidence(index: HistoryIndex) -> None:
    shelf = Shelf(step=0.10, since=FIRST + 25)
    fill(index, shelf, range(FIRST, FIRST + 30))
    with index.writing():
        index.write("DELETE FROM point WHERE night = ? AND series = 1", [(FIRST + 27,)])
    judge_nights(index)
    assert raised(index) == []


def test_a_later_run_of_the_night_counts_whichever_was_added_first(index: HistoryIndex) -> None:
    (folder, run), *_ = Shelf(phones=1).night(FIRST)
    again = replace(run, started=run.started + 60, figures=[replace(each, median=1.0) for each in run.figures])
    with index.writing():
        index.add("again", again)
        index.add(folder, run)
    assert index.rows("SELECT DISTINCT median FROM point") == [(1.0,)]


def test_a_new_version_of_ours_starts_the_window_anew_and_is_held_against_the_nights_before(
    index: HistoryIndex,
) -> None:
    fill(index, Shelf(), range(FIRST, FIRST + 25))
    fill(index, Shelf(version="v2 5f1d2c3b", step=0.10), range(FIRST + 25, FIRST + 31))
    judge_nights(index)
    assert raised(index) == []
    found = index.rows("SELECT before, n, ratio, word, test, quantile FROM boundary b JOIN series s ON s.id = b.series")
    assert {row[0] for row in found} == {"lab v1 5f1d2c3b -> v2 5f1d2c3b"}
    assert sorted((row[3], row[5]) for row in found) == [(0, "p50"), (1, ""), (1, "p99")]
    assert [row[2] for row in found if row[3]] == pytest.approx([1.105, 1.105], abs=0.03)


def test_a_new_kernel_is_a_boundary_and_another_plan_is_none(index: HistoryIndex) -> None:
    fill(index, Shelf(), range(FIRST, FIRST + 10))
    newer = RunKind(KIND.profile, "6.6.1-android15", KIND.build, KIND.plan)
    cheaper = RunKind(KIND.profile, KIND.kernel, KIND.build, "quick")
    fill(index, Shelf(kind=newer), range(FIRST + 10, FIRST + 13))
    fill(index, Shelf(kind=cheaper), range(FIRST + 20, FIRST + 23))
    judge_nights(index)
    assert {text for (text,) in index.rows("SELECT before FROM boundary")} == {
        "kernel 6.1.99-android14 -> 6.6.1-android15"
    }


def test_a_slow_drift_is_raised_against_the_pinned_baseline(index: HistoryIndex) -> None:
    with index.writing():
        for at, shelf in (("2026-01-01", Shelf(step=0.5)), ("2026-11-01", Shelf())):
            for night in range(FIRST, FIRST + 10):
                for _, run in shelf.night(night):
                    index.add_baseline(at, at, run)
    for night in range(FIRST, FIRST + 80):
        fill(index, Shelf(step=0.0015 * (night - FIRST)), range(night, night + 1))
    judge_nights(index)
    assert {word for _, word in raised(index)} == {"drift"}
    assert min(night for night, _ in raised(index)) in range(50, 75)


def test_night_by_night_gives_what_all_at_once_gives(index: HistoryIndex, tmp_path: Path) -> None:
    shelf = Shelf(step=0.08, since=FIRST + 24)
    for night in range(FIRST, FIRST + 30):
        fill(index, shelf, range(night, night + 1))
        assert judge_nights(index) == 1
    with open_index(tmp_path / "other.sqlite3") as other:
        fill(other, shelf, range(FIRST + 29, FIRST - 1, -1))
        judge_nights(other)
        assert everything(other) == everything(index)
    assert raised(index)


def test_a_run_that_comes_late_has_the_nights_after_it_judged_anew(index: HistoryIndex) -> None:
    fill(index, Shelf(), range(FIRST, FIRST + 26))
    judge_nights(index)
    with index.writing():
        index.add("late", next(Shelf(phones=1, prefix="Q").night(FIRST + 20))[1])
    assert judge_nights(index) == 6


def test_a_transaction_that_fails_leaves_nothing(index: HistoryIndex) -> None:
    (folder, run), *_ = Shelf().night(FIRST)
    with pytest.raises(ZeroDivisionError), index.writing():
        index.add(folder, run)
        raise ZeroDivisionError
    assert index.rows("SELECT count(*) FROM run") == [(0,)]
    with index.writing():
        index.add(folder, run)
    assert index.phones() == {1: "P0000"}


def test_an_index_of_another_version_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    with open_index(path) as index:
        index.write("PRAGMA user_version = 77", [()])
    with pytest.raises(sqlite3.DatabaseError, match="schema 77"), open_index(path):
        pass


def test_a_night_is_called_by_the_date_of_its_evening() -> None:
    assert date_of(FIRST) == "2026-10-31"
