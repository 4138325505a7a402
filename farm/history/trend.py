"""Which series moved: the rule by which nights of many phones raise an alarm.

One phone and one series at a time would cry wolf: thousands of series a night. So phones of one kind are pooled, each
against its own past, and what moved all of their series (room, host) is taken away by a control that writeback cannot
move. All values are natural logarithms, larger is worse: 0.04 is 4 % worse. NaN is a night that a phone missed.
docs/history.md has the false alarms and the power of this rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

BASE, LAST = 20, 5
WINDOW = BASE + LAST
LEAST_CHANGE, LEAST_Z = 0.04, 4.0
# Fewer phones hardly average anything out.
FEWEST_PHONES = 8
# Share of a night's alarms that may be false, over all of its pooled series.
FALSE_SHARE = 0.01
# A slow drift must be larger than a step: a season that goes up and down by 3 % is none.
DRIFT_NIGHTS, LEAST_DRIFT = 7, 0.08
# One phone alone is a matter of its health.
PHONE_NIGHTS, LEAST_OF_PHONE = 7, 0.10

# No noise is so small; it also stands for series that take few values only.
_LEAST_NOISE = 0.002
# The median's standard error over the mean's, and the median absolute deviation as a standard deviation.
_OF_MEDIAN, _OF_DEVIATION = 1.2533, 1.4826


@dataclass(frozen=True, slots=True)
class Moves:
    """How far pooled series moved, an array of one shape each: log ratio, robust z, p-value, whether it is enough.

    NaN in ``change`` and 1 in ``p`` where nights or phones are too few. Which ones of a night alarm is for
    ``alarming`` to tell, from the p-values of all its series.
    """

    change: Floats
    z: Floats
    p: Floats
    enough: npt.NDArray[np.bool_]


def median_of_present(values: Floats, axis: int, fewest: int = 1) -> Floats:
    """Return the median along an axis without NaN; NaN where fewer than ``fewest`` values are left."""
    import numpy as np

    ordered = np.sort(values, axis=axis)  # NaN comes last
    n = np.count_nonzero(~np.isnan(ordered), axis=axis, keepdims=True)
    if ordered.shape[axis] == 0:
        return np.full(np.squeeze(n, axis).shape, np.nan)
    low = np.take_along_axis(ordered, np.maximum(n - 1, 0) // 2, axis)
    high = np.take_along_axis(ordered, np.minimum(n // 2, ordered.shape[axis] - 1), axis)
    middle = np.where(n >= fewest, (low + high) / 2, np.nan)
    return np.squeeze(middle, axis)


def pooled(values: Floats, own: Floats | None = None, fewest: int = FEWEST_PHONES) -> Floats:
    """Pool phones: (..., nights, phones) to (..., nights), each phone against its own level.

    ``own``, (..., phones), is that level; without it the median of the first 20 nights, of which a phone must have had
    10. NaN for a night with fewer than ``fewest`` such phones.
    """
    import numpy as np

    level = median_of_present(values[..., :BASE, :], -2, BASE // 2) if own is None else own
    return median_of_present(values - level[..., np.newaxis, :], -1, fewest)


def steps(nights: Floats) -> Moves:
    """Compare the last 5 nights of pooled series with the 20 before: (..., 25) to moves of shape (...)."""
    import numpy as np

    before, last = nights[..., :BASE], nights[..., BASE:]
    level = median_of_present(before, -1, BASE // 2)
    change = median_of_present(last, -1, LAST) - level
    noise = _noise(before, level) * _OF_MEDIAN * np.sqrt(1 / LAST + 1 / BASE)
    return _moves(change, noise, last - level[..., np.newaxis], LEAST_CHANGE)


def drifts(nights: Floats) -> Moves:
    """Compare the last 7 nights of series that were pooled against the baseline with it: (..., 25) to (...).

    The noise is that of the nights between: a drift is slow against it.
    """
    import numpy as np

    last = nights[..., -DRIFT_NIGHTS:]
    change = median_of_present(last, -1, DRIFT_NIGHTS)
    level = median_of_present(nights, -1, BASE // 2)
    noise = _noise(nights, level) * _OF_MEDIAN / np.sqrt(DRIFT_NIGHTS)
    return _moves(change, noise, last, LEAST_DRIFT)


def phones_that_moved(values: Floats, control: Floats | None = None) -> Floats:
    """How far single phones moved: (..., 27, phones) to (..., phones), NaN where that is no matter.

    It is one where each of the last 7 nights is 10 % off the phone's own median of the 20 before, all to one side.
    ``control``, (..., 27), is the pooled control of these nights.
    """
    import numpy as np

    own = median_of_present(values[..., :BASE, :], -2, BASE // 2)
    off = values[..., BASE:, :] - own[..., np.newaxis, :]
    if control is not None:
        off = off - control[..., BASE:, np.newaxis]
    least, most = off.min(axis=-2), off.max(axis=-2)
    with np.errstate(invalid="ignore"):
        moved = (least >= LEAST_OF_PHONE) | (most <= -LEAST_OF_PHONE)
    change: Floats = np.where(moved, median_of_present(off, -2), np.nan)
    return change


def alarming(moves: Moves) -> npt.NDArray[np.bool_]:
    """Which of one night's pooled series alarm: moved enough, and still so among that many series.

    Benjamini and Hochberg, "Controlling the false discovery rate" (1995), over the series that could be judged.
    """
    import numpy as np

    p = moves.p[~np.isnan(moves.change)]
    if p.size == 0:
        return np.zeros(moves.p.shape, dtype=bool)
    ordered = np.sort(p)
    passed = ordered[ordered <= FALSE_SHARE * np.arange(1, p.size + 1) / p.size]
    return moves.enough & (moves.p <= (passed[-1] if passed.size else -1.0))


def over_windows(nights: Floats, length: int, judge: Callable[[Floats], Any]) -> Any:
    """Judge every window of ``length`` nights along the last axis, as each of these nights would have."""
    from numpy.lib.stride_tricks import sliding_window_view

    return judge(sliding_window_view(nights, length, axis=-1))


def _noise(nights: Floats, level: Floats) -> Floats:
    import numpy as np

    deviation: Floats = median_of_present(np.abs(nights - level[..., np.newaxis]), -1)
    return np.maximum(deviation * _OF_DEVIATION, _LEAST_NOISE)


def _moves(change: Floats, noise: Floats, last: Floats, least: float) -> Moves:
    import numpy as np
    from scipy.special import erfc

    with np.errstate(invalid="ignore"):
        z = change / noise
        one_side = (last > 0).all(axis=-1) | (last < 0).all(axis=-1)
        enough = one_side & (np.abs(change) >= least) & (np.abs(z) >= LEAST_Z)
    p = np.where(np.isnan(change), 1.0, erfc(np.abs(np.nan_to_num(z)) / np.sqrt(2)))
    return Moves(change, z, p, enough)
