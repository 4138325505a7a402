"""The phone's page and the fleet's: worst first, whole without anything else, escaped, and cheap for a large shelf."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from base.errors import ReportError
from farm.history.folder import RunKind
from farm.history.index import HistoryIndex, open_index
from farm.history.night import judge_nights
from farm.history.pages import fleet_page, phone_page
from farm.history.wear import wear, weeks
from tests.history_farm import FIRST, KIND, Shelf, fill, in_doubt
from tests.history_scale import BOUNDS, measure


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[HistoryIndex]:
    with open_index(tmp_path / "index.sqlite3") as found:
        yield found


class Seen(HTMLParser):
    """Every tag of a page; unclosed ones fail."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_fleet_page_begins_with_what_somebody_must_look_at(index: HistoryIndex) -> None:
    fill(index, Shelf(step=0.15, since=FIRST + 25), range(FIRST, FIRST + 30))
    fill(index, Shelf(RunKind("other", "6.6", "", "quick"), phones=3, prefix="O"), range(FIRST, FIRST + 30))
    judge_nights(index)
    page = fleet_page(index)
    seen = Seen(page)
    assert "script" not in seen.tags
    assert not re.search(r"(?:src|href)=", page)
    assert seen.tags.count("svg") == 6
    places = [page.index(text) for text in ("1 to look at", "Worse", "<table>", "3 phones, 8 are needed")]
    assert places == sorted(places)
    assert re.search(r'class="n bad">\+1\d\.\d % step', page)


def test_pages_tell_without_runs_or_of_an_unknown_phone_that_there_is_nothing(index: HistoryIndex) -> None:
    with pytest.raises(ReportError, match="no runs yet"):
        fleet_page(index)
    fill(index, Shelf(phones=1), range(FIRST, FIRST + 1))
    with pytest.raises(ReportError, match="P9999: no run") as caught:
        phone_page(index, "P9999")
    assert "P0000" in caught.value.hint


def test_a_phone_s_page_has_each_series_its_doubts_and_its_known_changes(index: HistoryIndex) -> None:
    fill(index, Shelf(phones=1), range(FIRST, FIRST + 20))
    fill(index, Shelf(replace(KIND, kernel="6.6.1-new"), phones=1), range(FIRST + 20, FIRST + 25))
    with index.writing():
        for folder, run in Shelf(replace(KIND, kernel="6.6.1-new"), phones=1).night(FIRST + 25):
            index.add(folder, in_doubt(run))
    judge_nights(index)
    page = phone_page(index, "P0000")
    seen = Seen(page)
    assert seen.tags.count("svg") == 3
    assert page.count("in 26 nights, 1 in doubt") == 3
    assert "2026-11-20: kernel 6.6.1-new" in page
    assert re.search(r'class="mark" d="M[\d.]+ 0V90"', page)
    assert phone_page(index, "P0000", nights=3).count("in 3 nights") == 3


def test_what_a_phone_says_of_itself_is_text(index: HistoryIndex) -> None:
    evil = '<script>alert("x")</script>\x1b[2J'
    fill(index, Shelf(RunKind(evil, evil, evil, evil), prefix=evil, phones=9), range(FIRST, FIRST + 30))
    judge_nights(index)
    for page in (fleet_page(index), phone_page(index, f"{evil}0003")):
        assert "script" not in Seen(page).tags
        assert "\x1b" not in page


def test_wear_is_told_by_week_and_held_against_a_budget(index: HistoryIndex) -> None:
    fill(index, Shelf(phones=2), range(FIRST, FIRST + 20))
    with index.writing():
        for night, life in ((FIRST + 18, "0x01"), (FIRST + 19, "0x02")):
            folder, run = next(Shelf(phones=1).night(night))
            index.add(folder, replace(run, life={"life_time_estimation_a": life}, written_bytes=3 << 30))
    most, least = wear(index, budget_bytes=12 << 30)
    assert (most.serial, most.written_bytes, most.runs, most.advice) == ("P0000", 11 << 30, 7, "cheaper plan")
    assert most.life_steps == ["2026-11-19: life_time_estimation_a 0x01 -> 0x02"]
    assert least.share == pytest.approx(7 / 12)
    assert least.advice == "as planned"
    assert wear(index, budget_bytes=11 << 30)[0].advice == "rest"
    assert sum(written for _, _, written in weeks(index, "P0000")) == 24 << 30
    assert "life_time_estimation_a 0x01 -&gt; 0x02" in phone_page(index, "P0000")


def test_a_twentieth_of_a_large_shelf_costs_a_twentieth_of_the_bounds(tmp_path: Path) -> None:
    """All of it: ``python -m tests.history_scale``. What does not shrink with the shelf has the whole bound."""
    found = measure(tmp_path, 50, 40)
    shares = {name: 1.0 if "phone's" in name else 0.1 if "fleet page, CPU" in name else 0.05 for name in BOUNDS}
    assert {name: value for name, value in found.items() if value > BOUNDS[name] * shares[name]} == {}
