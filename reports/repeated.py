"""The same quantity measured in several tests: a quiet fault on a written-back page, side by side.

One figure that differs from test to test by more than its intervals is known less well than each of them says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from records import metrics as m
from records import tests as t
from records.intervals import RELEVANT
from records.model import Provenance
from records.tests import MeasuredTest
from reports.point import Point

_QUANTILE = "p50"


def quiet_faults(points: Sequence[Point], phone: Provenance) -> list[Point]:
    """Return the points that timed a fault on a written-back page with nothing else going on, on the usual backing.

    One point a test, with the compressor of the test of faults or else the phone's own.
    """
    first = _first(points, t.FAULTS, {"slot": "written_back"})
    algorithm = first.param("comp_algorithm") if first else phone.zram.get("comp_algorithm")
    usual = {"slot": "written_back", "comp_algorithm": algorithm}
    kind = "loop_direct" if phone.backing.get("direct_io") else "loop_buffered"
    backing = kind if phone.backing.get("kind") == "loop" else phone.backing.get("kind")
    quiet: list[tuple[MeasuredTest, dict[str, Any]]] = [
        (t.FAULTS, usual),
        (t.FAULTS_WRITEBACK, usual | {"writeback": "quiet"}),
        (t.FAULTS_LOAD, usual | {"load": "none", "setting": "default", "backing": backing}),
        (t.BACKING, {"variant": f"{phone.backing.get('file_system')} file", "blocks": "overwritten"}),
        (t.COMPRESSOR_FAULTS, usual | {"compressed_writeback": False}),
    ]
    found = (_first(points, test, params) for test, params in quiet)
    return [point for point in found if point]


def disagreeing(points: Sequence[Point], phone: Provenance) -> list[Point]:
    """Return these points if their intervals leave no value that all of them allow, nor one near it; else none."""
    same = quiet_faults(points, phone)
    figures = [point.figure(m.FAULT_LATENCY, _QUANTILE) for point in same]
    intervals = [each.interval for each in figures if each and each.interval]
    if len(intervals) < 2:
        return []
    highest_low, lowest_high = max(each.low for each in intervals), min(each.high for each in intervals)
    return same if highest_low > lowest_high * (1 + RELEVANT) else []


def _first(points: Sequence[Point], test: MeasuredTest, params: dict[str, Any]) -> Point | None:
    for point in points:
        if (
            point.result.test == test.name
            and all(point.param(key) == value for key, value in params.items())
            and point.value(m.FAULT_LATENCY, _QUANTILE) is not None
        ):
            return point
    return None
