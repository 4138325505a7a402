"""Lines over nights as SVG within a page: no script, no colour that a dark page loses, as wide as there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _EDGE = 360, 90, 4
_SPARK_WIDTH, _SPARK_HEIGHT = 120, 24


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """One night: ``low`` and ``high`` bound its interval; one that is not ``used`` is drawn as a ring, off the line."""

    night: int
    value: float
    low: float | None
    high: float | None
    used: bool


def chart(points: Sequence[ChartPoint], boundaries: Sequence[int], label: str) -> str:
    """Draw a series of one phone with its intervals; a boundary is a line from top to bottom, left of its night."""
    if not points:
        return ""
    first, last = points[0].night, points[-1].night
    bounds = [bound for each in points for bound in (each.low, each.high, each.value) if bound is not None]
    at = _Scale(first, last, min(bounds), max(bounds), _WIDTH, _HEIGHT)
    band = " ".join(
        f"M{at.x(each.night)} {at.y(each.low)}V{at.y(each.high)}"
        for each in points
        if each.low is not None and each.high is not None
    )
    line = "".join(f"{at.x(each.night)},{at.y(each.value)} " for each in points if each.used)
    dots = "".join(
        f"M{at.x(each.night)} {at.y(each.value)}m-1.5 0a1.5 1.5 0 1 0 3 0a1.5 1.5 0 1 0-3 0"
        for each in points if not each.used
    )  # fmt: skip
    marks = "".join(f"M{at.x(night - 0.5)} 0V{_HEIGHT}" for night in boundaries if first < night <= last)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<path class="mark" d="{marks}"/><path class="band" d="{band}"/>'
        f'<polyline class="line" points="{line.rstrip()}"/><path class="ring" d="{dots}"/></svg>'
    )


def spark(values: Sequence[tuple[int, float]]) -> str:
    """Draw a small line of (night, value); nothing of fewer than two."""
    if len(values) < 2:
        return ""
    only = [value for _, value in values]
    at = _Scale(values[0][0], values[-1][0], min(only), max(only), _SPARK_WIDTH, _SPARK_HEIGHT)
    line = " ".join(f"{at.x(night)},{at.y(value)}" for night, value in values)
    view = f"0 0 {_SPARK_WIDTH} {_SPARK_HEIGHT}"
    return f'<svg class="spark" viewBox="{view}"><polyline class="line" points="{line}"/></svg>'


@dataclass(frozen=True, slots=True)
class _Scale:
    """From nights and values to whole pixels or halves; flat lines lie in the middle."""

    first: int
    last: int
    least: float
    most: float
    width: int
    height: int

    def x(self, night: float) -> str:
        share = (night - self.first) / max(1, self.last - self.first)
        return f"{_EDGE + share * (self.width - 2 * _EDGE):.4g}"

    def y(self, value: float) -> str:
        share = (value - self.least) / (self.most - self.least) if self.most > self.least else 0.5
        return f"{self.height - _EDGE - share * (self.height - 2 * _EDGE):.3g}"
