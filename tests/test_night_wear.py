"""Storage wears: a week's budget gives a phone a shorter plan, then a rest, and a worn one is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from base.units import GIB
from commands.nightly import main as nightly
from farm.checkup import Checkup, Fitness
from farm.night_log import nights_in
from farm.shelf import ShelfPhone
from farm.standing import Register, State
from tests.fake_farm import checks_of, ledger, write_farm
from tests.fake_run import FOLDER, PROGRAM

Told = dict[str, Any]


@pytest.fixture
def night(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Told]:
    """Measure two phones for a night within 30 GiB a week; returns what the night tells."""
    monkeypatch.setenv("ZRAM_LAB_STATE", str(memory_path / "state"))
    monkeypatch.setenv("ZRAM_LAB_CACHE", str(memory_path / "cache"))
    monkeypatch.setenv(FOLDER, str(memory_path))

    def measured(budget: str = "written_per_week: 30GiB", check: Any = None, **phones: Any) -> Told:
        file = write_farm(memory_path, ["P1", "P2"], more=f"budget: {{{budget}}}", **phones)
        file.write_text(file.read_text().replace("plan: quick", "plan: nightly"))
        arguments = [str(file), "--results", str(memory_path / "results")]
        assert nightly(arguments, program=PROGRAM, check=check or checks_of(memory_path)) in (0, 11)
        found: Told = json.loads((nights_in(memory_path / "results")[-1] / "night.json").read_text())
        return found

    return measured


def plans(story: Told) -> dict[str, str]:
    return {phone["serial"]: phone["attempts"][-1]["plan"] for phone in story["phones"]}


def test_a_phone_near_its_weeks_budget_has_a_shorter_plan_then_rests(night: Callable[..., Told]) -> None:
    much = {"written": 22 * GIB}
    assert plans(night(P1=much)) == {"P1": "nightly", "P2": "nightly"}
    second = night(P1=much)
    assert plans(second) == {"P1": "quick", "P2": "nightly"}
    assert any(
        note.startswith("P1: quick instead of nightly, week budget: 22GiB written, 73%") for note in second["notes"]
    )
    third = night()
    assert plans(third) == {"P2": "nightly"}
    assert any(note.startswith("P1: rests: week budget: 44GiB written") for note in third["notes"])


def worn(phone: ShelfPhone, plan: str, *, life: str) -> Checkup:
    return Checkup(Fitness.fit, facts={"ufs_life_time_estimation_a": life})


@pytest.mark.parametrize(("life", "state"), [("0x05", State.good), ("0x06", State.bad), ("0x0B", State.bad)])
def test_a_phone_whose_storage_is_worn_is_bad_and_not_measured(
    night: Callable[..., Told], memory_path: Path, life: str, state: State
) -> None:
    night("life_time: 0x06", check=partial(worn, life=life))
    assert Register().of("P1").state is state
    assert bool(ledger(memory_path, "begin")) is (state is State.good)
