"""The trend rule on small tables that can be checked by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from farm.history import trend as t

Floats = npt.NDArray[np.float64]


def quiet(*, nights: int = t.WINDOW, phones: int = 8) -> Floats:
    """Nights of -0.5 % and 0.5 % in turn, of phones that differ from each other by far."""
    return np.tile(np.resize([-0.005, 0.005], nights)[:, np.newaxis], phones) + np.arange(phones)


def stepped(size: float, nights: int = t.LAST) -> Floats:
    found = quiet()
    found[-nights:] += size
    return found


def test_the_median_leaves_missing_values_out() -> None:
    table = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, 5.0], [np.nan] * 3])
    assert t.median_of_present(table, 1)[:2].tolist() == [2.0, 5.0]
    assert np.isnan(t.median_of_present(table, 1)[2])
    assert np.isnan(t.median_of_present(table, 1, fewest=2)).tolist() == [False, True, True]
    assert np.isnan(t.median_of_present(np.empty((2, 0)), 1)).all()


def test_each_phone_counts_against_its_own_past() -> None:
    assert t.pooled(stepped(0.05))[-1] == pytest.approx(0.045)


def test_fewer_than_8_phones_are_not_pooled() -> None:
    assert np.isnan(t.pooled(quiet(phones=7))).all()
    table = quiet()
    table[-1, 0] = np.nan  # seven of eight in the last night
    assert np.isnan(t.pooled(table)).tolist() == [False] * 24 + [True]


def test_a_phone_that_is_new_has_no_past_to_count_against() -> None:
    table = quiet()
    table[:11, 0] = np.nan  # 9 of 20 nights
    assert np.isnan(t.pooled(table)).all()


@pytest.mark.parametrize(
    ("size", "nights", "is_enough"),
    [(0.05, 5, True), (-0.05, 5, True), (0.03, 5, False), (0.20, 4, False), (0.0, 5, False)],
)
def test_a_step_must_be_large_and_hold_for_five_nights(size: float, nights: int, is_enough: bool) -> None:
    moves = t.steps(t.pooled(stepped(size, nights)))
    assert bool(moves.enough) is is_enough
    several = t.steps(t.pooled(stepped(size, nights))[np.newaxis])
    assert t.alarming(several).tolist() == [is_enough]


def test_what_moved_the_control_too_is_no_step() -> None:
    series, control = t.pooled(stepped(0.05)), t.pooled(stepped(0.05))
    assert not t.steps(series - control).enough


def test_a_missing_night_is_no_evidence() -> None:
    nights = t.pooled(stepped(0.10))
    nights[-2] = np.nan
    moves = t.steps(nights)
    assert np.isnan(moves.change)
    assert not moves.enough
    assert moves.p == 1.0


def test_among_many_series_a_p_value_must_be_smaller() -> None:
    def moves(series: int) -> t.Moves:
        p = np.full(series, 0.5)
        p[0] = 6e-5
        return t.Moves(np.full(series, 0.05), np.full(series, 4.0), p, np.ones(series, dtype=bool))

    assert t.alarming(moves(100)).tolist() == [True] + [False] * 99
    assert not t.alarming(moves(480)).any()
    assert not t.alarming(t.Moves(np.full(3, np.nan), np.zeros(3), np.ones(3), np.zeros(3, dtype=bool))).any()


def test_one_phone_is_told_after_seven_nights_of_ten_percent() -> None:
    table = quiet(nights=27, phones=3)
    table[-7:, 1] += 0.12
    table[-6:, 2] += 0.30  # one night too few
    assert t.phones_that_moved(table)[1] == pytest.approx(0.12, abs=0.02)
    assert np.isnan(t.phones_that_moved(table)[[0, 2]]).all()
    control = np.zeros(27)
    control[-7:] = 0.12
    assert np.isnan(t.phones_that_moved(table, control)[1])


def test_a_drift_is_told_against_the_baseline() -> None:
    table = quiet()
    own = table.mean(axis=0) - 0.10
    assert t.drifts(t.pooled(table, own)).enough
    assert not t.drifts(t.pooled(table, own + 0.05)).enough
