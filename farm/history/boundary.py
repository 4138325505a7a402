"""Known boundaries: a new build, kernel or version of ours is held against the nights before, and not searched for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from farm.history import trend
from farm.history.folder import RunKind
from farm.history.index import HistoryIndex
from records.intervals import paired_ratio

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from farm.history.night import Cube, NightRows

    Floats = npt.NDArray[np.float64]

# Nights after a boundary: from how many on it is judged, and until when judged anew each night.
FEWEST_AFTER, MOST_AFTER = 3, trend.BASE


def boundary_rows(
    index: HistoryIndex, kind: int, version: str, night: int, cube: Cube, window: NightRows
) -> Iterator[tuple[object, ...]]:
    """A row for each series of phones that changed their kind or were measured by another version before.

    Each phone's median after, over its median before: the interval is over phones, what the control moved is taken
    away, and a word needs 8 phones.
    """
    import numpy as np

    if not FEWEST_AFTER <= cube.nights.size <= MOST_AFTER:
        return
    known_kinds = index.kinds()
    alike = {n for n, each in known_kinds.items() if (each.profile, each.plan) == _alike(known_kinds[kind])}
    runs = {run for run, of in index.rows("SELECT id, kind FROM run WHERE night < ?", night) if of in alike}
    mine = np.isin(window.run, np.array(sorted(runs), dtype=np.int64)) & np.isin(window.phone, cube.phones)
    earlier = window.where(mine & (window.night < cube.nights[0]))
    if not earlier.night.size:
        return
    what = _what_changed(index, kind, version, int(earlier.run[np.argmax(earlier.night)]))
    after = trend.median_of_present(cube.worse, 1)
    before = np.full_like(after, np.nan)
    for n, series in enumerate(cube.series.tolist()):
        of_series = earlier.where(earlier.series == series)
        for phone in np.unique(of_series.phone).tolist():
            before[n, np.searchsorted(cube.phones, phone)] = np.median(of_series.worse[of_series.phone == phone])
    change = after - before
    known = index.series()
    controls = [n for n, series in enumerate(cube.series.tolist()) if known[series].is_control]
    common = float(np.nan_to_num(trend.median_of_present(change[controls[0]], -1))) if controls else 0.0
    for n, series in enumerate(cube.series.tolist()):
        moved = change[n][~np.isnan(change[n])] - (0.0 if n in controls else common)
        ratio = paired_ratio(np.exp(moved), np.ones(moved.size))
        if ratio is not None:
            low, high = (ratio.interval.low, ratio.interval.high) if ratio.interval else (None, None)
            word = ratio.beyond(trend.LEAST_CHANGE)
            yield kind, version, series, night, what, ratio.rounds, ratio.value, low, high, word


def _alike(kind: RunKind) -> tuple[str, str]:
    return kind.profile, kind.plan


def _what_changed(index: HistoryIndex, kind: int, version: str, run: int) -> str:
    """``kernel 6.1 -> 6.6``: what the phones' last run before had of another kind."""
    ((before_kind, before_version),) = index.rows("SELECT kind, version FROM run WHERE id = ?", run)
    kinds = index.kinds()
    before, after = kinds[before_kind], kinds[kind]
    changes = [
        f"{name} {getattr(before, name)} -> {getattr(after, name)}"
        for name in RunKind.__dataclass_fields__
        if getattr(before, name) != getattr(after, name)
    ]
    if before_version != version:
        changes.append(f"lab {before_version} -> {version}")
    return ", ".join(changes)
