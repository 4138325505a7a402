"""The life of an alarm: one for each kind, open while it lasts, never raised anew each night."""

from __future__ import annotations

import pytest

from farm.history.alarms import Raised, alarm_id, alarms
from farm.history.folder import RunKind

NIGHTS = {1: range(100, 120), 2: range(100, 120)}


def raised(*nights: int, kind: int = 1, series: int = 5, word: str = "step", change: float = 0.05) -> list[Raised]:
    return [Raised(night, kind, series, word, change) for night in nights]


def test_nights_in_a_row_are_one_alarm_with_all_its_series() -> None:
    found = alarms(raised(105, 106, 107) + raised(106, 119, series=6, change=0.07), NIGHTS)
    assert [(each.opened, each.last, each.ended) for each in found] == [(119, 119, None), (105, 107, 110)]
    assert found[1].series == {(5, "step"): 0.05, (6, "step"): 0.07}


@pytest.mark.parametrize(("gap", "count"), [(1, 1), (3, 1), (4, 2), (9, 2)])
def test_it_ends_when_it_was_gone_for_three_nights(gap: int, count: int) -> None:
    assert len(alarms(raised(105, 105 + gap), NIGHTS)) == count


def test_only_nights_that_were_measured_count() -> None:
    (alarm,) = alarms(raised(105, 115), {1: [105, 106, 107, 115]})
    assert (alarm.opened, alarm.ended) == (105, None)


def test_each_kind_has_its_own() -> None:
    assert {each.kind for each in alarms(raised(105) + raised(105, kind=2), NIGHTS)} == {1, 2}


def test_what_got_better_or_moved_the_control_calls_nobody() -> None:
    (better,) = alarms(raised(119, change=-0.05), NIGHTS)
    (common,) = alarms(raised(119) + raised(119, series=1, word="control"), NIGHTS)
    (worse,) = alarms(raised(119) + raised(119, series=6, change=-0.05), NIGHTS)
    assert (better.is_worse, common.is_worse, common.is_common, worse.is_worse) == (False, False, True, True)


def test_its_name_does_not_hang_on_numbers_of_the_index() -> None:
    names = {alarm_id(alarms(raised(105, kind=kind), NIGHTS)[0], RunKind("a", "b", "c", "d")) for kind in (1, 2)}
    assert len(names) == 1
    assert alarm_id(alarms(raised(105), NIGHTS)[0], RunKind("a", "b", "c", "e")) not in names
