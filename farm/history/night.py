"""Judges nights: reads their window from the index, pools phones of one kind, and writes what moved.

What is written can be told from the runs alone, so nights are judged again whenever an earlier one gets another run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm.history import trend
from farm.history.boundary import boundary_rows
from farm.history.figures import Watched
from farm.history.index import HistoryIndex

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Numbers = npt.NDArray[np.int64]

NIGHTS = trend.BASE + trend.PHONE_NIGHTS
# A night that is further away in days is no past to be held against, however few nights there are.
REACH = 60


@dataclass(frozen=True, slots=True)
class NightRows:
    """Points of some nights, used ones only: a column each, of one length. ``worse``: log value, larger is worse."""

    night: Numbers
    phone: Numbers
    series: Numbers
    run: Numbers
    median: Floats
    worse: Floats

    def where(self, rows: npt.NDArray[np.bool_]) -> NightRows:
        """Only these rows."""
        return NightRows(
            self.night[rows], self.phone[rows], self.series[rows], self.run[rows], self.median[rows], self.worse[rows]
        )


@dataclass(frozen=True, slots=True)
class Cube:
    """Points of one kind of phone, measured by one version: ``worse`` has the shape (series, nights, phones)."""

    series: Numbers
    nights: Numbers
    phones: Numbers
    worse: Floats
    control: Floats | None

    def against_control(self, pooled: Floats, control_own: Floats | None = None) -> Floats:
        """Take the pooled change of the control away from each other series; (series, nights).

        A night whose control nobody knows is no evidence: NaN.
        """
        if self.control is None:
            return pooled
        return pooled - trend.pooled(self.control[-pooled.shape[-1] :], control_own)


@dataclass(frozen=True, slots=True)
class JudgedKind:
    """What a night says of one kind: a column for each series."""

    kind: int
    cube: Cube
    is_control: npt.NDArray[np.bool_]
    steps: trend.Moves
    drifts: trend.Moves


def judge_nights(index: HistoryIndex) -> int:
    """Judge each night that has changed, or whose past has; returns how many."""
    changed = [night for (night,) in index.rows("SELECT night FROM unjudged")]
    nights = [night for (night,) in index.rows("SELECT DISTINCT night FROM run ORDER BY night")]
    due = sorted({night for night in nights for since in changed if since <= night <= since + REACH})
    series = index.series()
    for night in due:
        with index.writing():
            _judge_night(index, night, series)
            index.write("DELETE FROM unjudged WHERE night = ?", [(night,)])
    with index.writing():
        for table in ("pooled", "moved"):
            index.write(f"DELETE FROM {table} WHERE night NOT IN (SELECT night FROM run)", [()])
        index.write("DELETE FROM unjudged", [()])
    return len(due)


def _judge_night(index: HistoryIndex, night: int, series: Mapping[int, Watched]) -> None:
    index.write("DELETE FROM pooled WHERE night = ?", [(night,)])
    index.write("DELETE FROM moved WHERE night = ?", [(night,)])
    index.write("DELETE FROM boundary WHERE night = ?", [(night,)])
    versions = _versions(index, night)
    window = _window(index, _since(index, night, versions), night, series)
    of_kind = _kinds_of(index, window, versions)
    judged = []
    for kind, version in versions.items():
        mine = window.where(of_kind == kind)
        if not mine.night.size:
            continue
        cube = _cube(mine, series)
        judged.append(_judge_kind(index, kind, cube, series))
        index.write("INSERT INTO moved VALUES(?, ?, ?, ?)", _moved(cube, night))
        rows = boundary_rows(index, kind, version, night, cube, window)
        index.write("INSERT OR REPLACE INTO boundary VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    index.write("INSERT INTO pooled VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", _pooled_rows(judged, night, window))


def _versions(index: HistoryIndex, night: int) -> dict[int, str]:
    """What measured each kind in that night: of several versions the one that began last."""
    return dict(index.rows("SELECT kind, version FROM run WHERE night = ? ORDER BY started", night))


def _since(index: HistoryIndex, night: int, versions: Mapping[int, str]) -> int:
    """The first night that any of these kinds needs: its 27th from the end, and no further away than the reach."""
    nights: dict[int, list[int]] = {}
    for kind, version, each in index.rows(
        "SELECT DISTINCT kind, version, night FROM run WHERE night BETWEEN ? AND ? ORDER BY night", night - REACH, night
    ):
        if versions.get(kind) == version:
            nights.setdefault(kind, []).append(each)
    # Where a version is new, the nights before it are needed too: they are held against it.
    return min(
        (each[-NIGHTS] if len(each) >= NIGHTS else night - NIGHTS - 3 for each in nights.values()), default=night
    )


def _window(index: HistoryIndex, first: int, last: int, series: Mapping[int, Watched]) -> NightRows:
    import numpy as np

    found = index.rows(
        "SELECT night, phone, series, run, median FROM point WHERE night BETWEEN ? AND ? AND used", first, last
    )
    table = np.array(found, dtype=float).reshape(-1, 5)
    whole = table[:, :4].astype(np.int64)
    sign = np.zeros(max(series, default=0) + 1)
    for number, watched in series.items():
        sign[number] = 1.0 if watched.better == "lower" else -1.0
    median = table[:, 4]
    with np.errstate(divide="ignore", invalid="ignore"):
        worse = np.where(median > 0, np.log(median), np.nan) * sign[whole[:, 2]]
    return NightRows(whole[:, 0], whole[:, 1], whole[:, 2], whole[:, 3], median, worse)


def _kinds_of(index: HistoryIndex, window: NightRows, versions: Mapping[int, str]) -> Numbers:
    """The kind of each point; 0 for one that another version measured than this night."""
    import numpy as np

    kinds = np.zeros(int(window.run.max(initial=0)) + 1, dtype=np.int64)
    first = int(window.night[0]) if window.night.size else 0
    for run, kind, version in index.rows("SELECT id, kind, version FROM run WHERE night >= ?", first):
        if run < kinds.size and versions.get(kind) == version:
            kinds[run] = kind
    return kinds[window.run]


def _cube(window: NightRows, series: Mapping[int, Watched]) -> Cube:
    """The last 27 nights of these points."""
    import numpy as np

    numbers, of_series = np.unique(window.series, return_inverse=True)
    nights, of_night = np.unique(window.night, return_inverse=True)
    phones, of_phone = np.unique(window.phone, return_inverse=True)
    worse = np.full((numbers.size, nights.size, phones.size), np.nan)
    worse[of_series, of_night, of_phone] = window.worse
    worse, nights = worse[:, -NIGHTS:], nights[-NIGHTS:]
    controls = [n for n, number in enumerate(numbers.tolist()) if series[number].is_control]
    return Cube(numbers, nights, phones, worse, worse[controls[0]] if controls else None)


def _judge_kind(index: HistoryIndex, kind: int, cube: Cube, series: Mapping[int, Watched]) -> JudgedKind:
    import numpy as np

    is_control = np.array([series[number].is_control for number in cube.series.tolist()])
    pooled = _padded(trend.pooled(cube.worse[:, -trend.WINDOW :]))
    if cube.nights.size >= trend.WINDOW:
        pooled = np.where(is_control[:, np.newaxis], pooled, cube.against_control(pooled))
    own = _pinned(index, kind, cube)
    drifted = np.full_like(pooled, np.nan)
    if own is not None and cube.nights.size >= trend.WINDOW:
        control_own = own[np.flatnonzero(is_control)[0]] if is_control.any() else None
        drifted = trend.pooled(cube.worse[:, -trend.WINDOW :], own)
        drifted = np.where(is_control[:, np.newaxis], np.nan, cube.against_control(drifted, control_own))
    return JudgedKind(kind, cube, is_control, trend.steps(pooled), trend.drifts(drifted))


def _padded(pooled: Floats) -> Floats:
    """A window that is too short, filled up at its beginning with nights that nobody knows."""
    import numpy as np

    missing = trend.WINDOW - pooled.shape[-1]
    return np.pad(pooled, ((0, 0), (missing, 0)), constant_values=np.nan) if missing > 0 else pooled


def _pinned(index: HistoryIndex, kind: int, cube: Cube) -> Floats | None:
    """The level of each series and phone in the runs of the pinned baseline, (series, phones); None without one."""
    import numpy as np

    found = index.rows(
        "SELECT series, phone, median FROM baseline WHERE kind = ?1 AND median > 0 "
        "AND at = (SELECT max(at) FROM baseline WHERE kind = ?1)", kind,
    )  # fmt: skip
    if not found:
        return None
    better = {number: watched.better for number, watched in index.series().items()}
    of_series, of_phone = ({number: n for n, number in enumerate(each.tolist())} for each in (cube.series, cube.phones))
    levels = np.full((cube.series.size, cube.phones.size), np.nan)
    runs: dict[tuple[int, int], list[float]] = {}
    for series, phone, median in found:
        if series in of_series and phone in of_phone:
            worse = np.log(median) * (1 if better[series] == "lower" else -1)
            runs.setdefault((of_series[series], of_phone[phone]), []).append(worse)
    for at, values in runs.items():
        levels[at] = np.median(values)
    return levels


def _moved(cube: Cube, night: int) -> Iterator[tuple[int, int, int, float]]:
    import numpy as np

    if cube.nights.size < NIGHTS:
        return
    control = None if cube.control is None else trend.pooled(cube.control, fewest=1)
    change = trend.phones_that_moved(cube.worse, control)
    for series, phone in zip(*np.nonzero(~np.isnan(change)), strict=True):
        yield night, int(cube.phones[phone]), int(cube.series[series]), float(change[series, phone])


def _pooled_rows(judged: Sequence[JudgedKind], night: int, window: NightRows) -> Iterator[tuple[object, ...]]:
    """A row for each series of each kind; which of them alarm is told over the whole night."""
    import numpy as np

    if not judged:
        return
    step = trend.alarming(_joined([each.steps for each in judged])).tolist()
    drift = trend.alarming(_joined([each.drifts for each in judged])).tolist()
    tonight = window.where(window.night == night)
    at = 0
    for each in judged:
        of_kind = tonight.where(np.isin(tonight.phone, each.cube.phones))
        for n, series in enumerate(each.cube.series.tolist()):
            values = of_kind.median[of_kind.series == series]
            words = ("control" if each.is_control[n] else "step", step[at]), ("drift", drift[at])
            raised = " ".join(word for word, is_raised in words if is_raised)
            at += 1
            if values.size:
                yield (night, each.kind, series, values.size, float(np.median(values)), _known(each.steps.change[n]),
                       _known(each.steps.z[n]), _known(each.drifts.change[n]), raised)  # fmt: skip


def _joined(moves: Sequence[trend.Moves]) -> trend.Moves:
    import numpy as np

    return trend.Moves(
        np.concatenate([each.change for each in moves]), np.concatenate([each.z for each in moves]),
        np.concatenate([each.p for each in moves]), np.concatenate([each.enough for each in moves]),
    )  # fmt: skip


def _known(value: float) -> float | None:
    return None if value != value else float(value)
