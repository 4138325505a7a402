"""A farm's file: everything that is wrong is told at once, with its line, and a dry run says what a night would do."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from base.errors import ProfileError
from commands.nightly import main as nightly
from farm.plans import fitting_plan
from farm.shelf import read_shelf
from farm.standing import Register, Standing
from farm.window import Window, WindowOver

GOOD = """\
farm: shelf-1
engine: local
phones:
  - {serial: 0A1B2C, profile: pixel-8, tags: {kernel: 6.10, control: yes}}
  - {serial: 0123, profile: galaxy-s23}
  - {serial: 99}
pick: [{health: good, model: pixel-8}, {health: good, serial: 0123}]
plan: nightly
window: {start: 22:00, end: 06:00, restore_reserve: 5min}
at_once: 8
retry: {infra: 2, product: 1}
quota: 80 %
baseline: {by: [profile, kernel_release, build], pin: baselines/}
keep: {least_free: 1MiB}
notify: [./tell-the-lab.sh]
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))


def written(text: str, name: str = "farm.yaml") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def test_a_file_with_every_key_means_what_it_says() -> None:
    farm = read_shelf(written(GOOD)).farm
    assert [phone.serial for phone in farm.phones] == ["0A1B2C", "0123", "99"]
    assert farm.phones[0].tags == {"kernel": "6.10", "control": "yes"}
    assert (farm.quota, farm.window and farm.window.restore_reserve, farm.notify) == (0.8, 300, ("./tell-the-lab.sh",))


WRONG = {
    "phone twice": ("99}", "0123}", "farm.yaml:6: phones[2].serial: '0123' is on the shelf already, on line 5"),
    "unknown tag": ("model: pixel-8}", "modl: x}", "farm.yaml:7: pick[0].modl: unknown tag; did you mean model?"),
    "unknown profile": ("galaxy-s23", "galaxy-s32", "farm.yaml:5: phones[1].profile: no profile 'galaxy-s32'; did you"),
    "unknown key": ("at_once", "at_onec", "farm.yaml:10: at_onec: unknown key; did you mean at_once?"),
    "key of a phone": ("{serial: 99}", "{serail: 99}", "farm.yaml:6: phones[2].serail: unknown key; did you mean"),
    "no time": ("06:00", "26:00", "farm.yaml:9: window.end: '26:00' is not a time of the day; expected for example 22"),
    "no share": ("80 %", "much", "farm.yaml:12: quota: 'much' is not a share; expected for example 80 %"),
    "engine": ("local", "labgird", "farm.yaml:2: engine: 'labgird' is not one of local"),
    "plan": ("plan: nightly", "plan: nightli", "farm.yaml:8: plan: 'nightli' is not one of quick, standard, nightly;"),
    "name": ("shelf-1", "../x", "farm.yaml:1: farm: '../x' cannot name a folder"),
    "no phones": ("farm: shelf-1", "farm: shelf-1\nphons: 3", "farm.yaml:2: phons: unknown key; did you mean phones?"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_has_its_line_and_what_was_expected(name: str) -> None:
    good, bad, expected = WRONG[name]
    with pytest.raises(ProfileError) as raised:
        read_shelf(written(GOOD.replace(good, bad, 1)))
    assert expected in str(raised.value)


def test_all_errors_come_at_once() -> None:
    text, apart = GOOD, {"key of a phone", "no phones"}  # these are about a place that another one is about
    for good, bad, _ in (wrong for name, wrong in WRONG.items() if name not in apart):
        text = text.replace(good, bad, 1)
    with pytest.raises(ProfileError) as raised:
        read_shelf(written(text))
    assert len(str(raised.value).splitlines()) == len(WRONG) - len(apart)


def test_an_empty_file_and_none_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    for path in (written("", "empty.yaml"), Path("none.yaml")):
        with pytest.raises(ProfileError, match=r"empty; a farm is a mapping|no such file"):
            read_shelf(path)


def test_a_dry_run_says_phones_plan_and_window(capsys: pytest.CaptureFixture[str]) -> None:
    assert nightly([str(written(GOOD)), "--dry-run", "--until", in_hours(12), "--results", "r"]) == 0
    said = capsys.readouterr().out
    assert "farm shelf-1: 2 of 3 phones picked, 8 at once" in said
    assert "plan nightly, until " in said
    assert "0A1B2C" in said
    assert not Path("r").exists()


def test_a_dry_run_for_machines_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    nightly([str(written(GOOD)), "--dry-run", "--until", in_hours(12), "--json", "--pick", "control=yes"])
    answer = json.loads(capsys.readouterr().out)
    assert [phone["serial"] for phone in answer["phones"]] == ["0A1B2C"]


def test_no_phone_with_such_tags_and_a_tag_that_is_none_are_told() -> None:
    file = str(written(GOOD))
    with pytest.raises(ProfileError, match="no phone has health=good, model=pixel-8, serial=77 or"):
        nightly([file, "--dry-run", "--until", in_hours(2), "--pick", "serial=77"])
    with pytest.raises(ProfileError, match="--pick kernl: unknown tag; did you mean kernel"):
        nightly([file, "--dry-run", "--until", in_hours(2), "--pick", "kernl=6"])


def test_a_bad_phone_is_listed_with_its_reason_and_not_planned(capsys: pytest.CaptureFixture[str]) -> None:
    with Register().changing("0A1B2C", "quarantine") as standing:
        standing.quarantined("battery swollen", "ada")
    text = GOOD.replace("health: good, model", "model")
    nightly([str(written(text)), "--dry-run", "--until", in_hours(12)])
    assert "quarantined by ada on " in (said := capsys.readouterr().out)
    assert "battery swollen" in said


def in_hours(hours: float) -> str:
    return f"{datetime.now() + timedelta(hours=hours):%H:%M}"


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-27T{clock}:00+00:00")


class NightHours:
    start, end, restore_reserve = "22:00", "06:00", 300.0


@pytest.mark.parametrize(
    ("now", "hours_left"), [("22:00", None), ("22:01", 7.9), ("05:00", 0.9), ("06:00", None), ("12:00", None)]
)
def test_a_window_over_midnight_is_open_between_its_times_only(now: str, hours_left: float | None) -> None:
    if hours_left is None and now != "22:00":
        with pytest.raises(WindowOver, match="the window is from 22:00 to 06:00"):
            Window.of(NightHours(), None, now=at(now))
        return
    left_s = Window.of(NightHours(), None, now=at(now)).left_s
    assert left_s == pytest.approx((hours_left or 7.9) * 3600, abs=200)


def test_until_goes_before_the_window() -> None:
    window = Window.of(NightHours(), "12:30", now=at("12:00"))
    assert window.left_s == pytest.approx(30 * 60 - 300, abs=1)


def test_the_longest_plan_that_fits_is_chosen_by_what_runs_took_before() -> None:
    standing = Standing(seconds={"nightly": [1000.0, 1100.0, 5000.0], "quick": [100.0]})
    assert fitting_plan(standing, "nightly", 1400) == "nightly"
    assert fitting_plan(standing, "nightly", 1200) == "quick"
    assert fitting_plan(standing, "quick", 100) == ""
