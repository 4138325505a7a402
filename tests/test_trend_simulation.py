"""How often the trend rule cries wolf, and how soon it sees a step: a year of nights, simulated with a seed.

A part of the study by default; ``LAB_TREND_STUDY=full`` runs all 480 pooled series of each noise (minutes). A series
has 20 phones of 3 % noise a night, four kinds of it. What all phones have in common wanders with sd 2 %, and the
control follows it. Season: the series alone goes up and down by 3 % within the year, and the control knows nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from farm.history.trend import BASE, WINDOW, Moves, alarming, drifts, median_of_present, over_windows, pooled, steps

Floats = npt.NDArray[np.float64]

FULL = os.environ.get("LAB_TREND_STUDY") == "full"
NIGHTS, PHONES, PER_PROFILE = 365, 20, 24
SERIES = 480 if FULL else 72
NOISES = ("iid", "tails", "ar", "season")
# 480 series a year, a quarter of them of each noise, raise at most 12.
MOST_FALSE = 12 / 480


def wandering(rng: np.random.Generator, shape: tuple[int, ...], rho: float, sd: float) -> Floats:
    """Autocorrelated noise along axis 1, stationary from the first night on."""
    shocks = rng.normal(0, sd * np.sqrt(1 - rho**2), shape)
    shocks[:, 0] = rng.normal(0, sd, shape[:1] + shape[2:])
    for night in range(1, shape[1]):
        shocks[:, night] += rho * shocks[:, night - 1]
    return shocks


def noise(rng: np.random.Generator, kind: str, series: int, nights: int) -> Floats:
    shape = series, nights, PHONES
    if kind == "ar":
        return wandering(rng, shape, 0.6, 0.03)
    found = rng.normal(0, 0.03, shape)
    if kind == "tails":
        found += 0.25 * (rng.random(shape) < 0.04)
    if kind == "season":
        phase = rng.uniform(0, 2 * np.pi, (series, 1, 1))
        found += 0.03 * np.sin(2 * np.pi * np.arange(nights)[:, np.newaxis] / 365 + phase)
    return found


def profiles(kind: str, seed: int, series: int, nights: int) -> Iterator[tuple[Floats, Floats]]:
    """The series of one profile, (24, nights, phones), and the control of the same phones, (nights, phones)."""
    rng = np.random.default_rng([seed, NOISES.index(kind)])
    for _ in range(series // PER_PROFILE):
        common = wandering(rng, (1, nights, 1), 0.95, 0.02)
        control = common + noise(rng, "iid" if kind == "season" else kind, 1, nights)
        yield common + noise(rng, kind, PER_PROFILE, nights), control[0]


def windows(values: Floats) -> Floats:
    """Pooled nights of each window, (..., windows, 25), from (..., nights, phones)."""
    seen = np.lib.stride_tricks.sliding_window_view(values, WINDOW, axis=-2)
    return pooled(np.swapaxes(seen, -1, -2))


def all_steps(series: Floats, control: Floats) -> Moves:
    return steps(windows(series) - windows(control))


def all_drifts(series: Floats, control: Floats) -> Moves:
    """Against the first 20 nights, as if they had been pinned."""

    def against_first(values: Floats) -> Floats:
        return pooled(values, median_of_present(values[..., :BASE, :], -2))

    moves: Moves = over_windows(against_first(series) - against_first(control), WINDOW, drifts)
    return moves


def joined(found: list[Moves]) -> Moves:
    def of(name: str) -> Any:
        return np.concatenate([getattr(moves, name) for moves in found])

    return Moves(of("change"), of("z"), of("p"), of("enough"))


def night_by_night(moves: Moves) -> npt.NDArray[np.bool_]:
    """Which series alarm in which night, (series, windows): each night judged over all of its series."""
    nights = range(moves.p.shape[1])
    return np.stack(
        [
            alarming(Moves(moves.change[:, n], moves.z[:, n], moves.p[:, n], moves.enough[:, n])) for n in nights
        ],
        axis=1,
    )  # fmt: skip


def episodes(flags: npt.NDArray[np.bool_]) -> int:
    """Alarms that are raised anew: one that was gone for 3 nights has ended."""
    count = 0
    for row in flags:
        nights = np.flatnonzero(row)
        count += nights.size and 1 + int((np.diff(nights) > 3).sum())
    return int(count)


@pytest.fixture(scope="module")
def false_alarms() -> dict[str, tuple[int, int]]:
    """Alarms of a year without any step, by noise: of steps, of drifts."""
    found = {}
    for kind in NOISES:
        both = [(all_steps(*each), all_drifts(*each)) for each in profiles(kind, 13, SERIES, NIGHTS)]
        flags = [night_by_night(joined([each[which] for each in both])) for which in (0, 1)]
        found[kind] = (episodes(flags[0]), episodes(flags[1]))
    print(f"\nfalse alarms of {SERIES} series a year (steps, drifts): {found}")
    return found


def test_a_year_without_a_step_hardly_raises_an_alarm(false_alarms: dict[str, tuple[int, int]]) -> None:
    assert sum(map(sum, false_alarms.values())) <= MOST_FALSE * SERIES * len(NOISES)


@pytest.mark.parametrize(("size", "within", "least"), [(0.05, 7, 0.90), (0.10, 5, 0.99)])
def test_a_step_is_seen_within_days(size: float, within: int, least: float) -> None:
    step = np.log1p(size)
    seen = []
    for kind in NOISES:
        for series, control in profiles(kind, 17, 480 if FULL else 144, WINDOW + within):
            series[:, WINDOW:] += step
            flags = night_by_night(all_steps(series, control))
            seen.append(flags[:, 1:].any(axis=1))  # the first window has no night after the step
    power = float(np.mean(seen))
    print(f"\na step of {size:.0%} within {within} nights: {power:.3f} (by noise {np.reshape(seen, (4, -1)).mean(1)})")
    assert power >= least


def test_a_slow_drift_that_no_step_shows_is_seen_against_the_baseline() -> None:
    """12 % worse within 200 nights: 0.06 % a night, far below what a step needs."""
    caught = []
    for kind in ("iid", "tails", "ar"):
        for series, control in profiles(kind, 19, 48, 260):
            series += 0.12 * np.clip((np.arange(260) - 40) / 200, 0, 1)[:, np.newaxis]
            assert not night_by_night(all_steps(series, control)).any(axis=1).mean() > 0.1
            caught.append(night_by_night(all_drifts(series, control)).any(axis=1))
    assert np.mean(caught) > 0.95
