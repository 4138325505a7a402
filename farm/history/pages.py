"""Two pages that need nothing else: one phone through its nights, and the fleet as of the last night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from base.errors import ReportError
from base.text import clean as printable
from farm.history.charts import ChartPoint, chart, spark
from farm.history.figures import Watched
from farm.history.folder import RunKind, date_of
from farm.history.index import HistoryIndex
from farm.history.trends import Trends, percent, trends
from farm.history.wear import PhoneWear, wear, weeks
from reports import wording as w
from reports.html import template

YEAR = 365
# What a line of the fleet page goes back.
_SPARK_NIGHTS = 60
# Phones that the fleet page names for what was written to them.
_MOST_WORN = 10


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """A pooled series on the fleet page; ``change`` is empty where it is not judged, ``raised`` where all is well."""

    name: str
    unit: str
    phones: int
    median: str
    change: str
    raised: str
    line: str


@dataclass(frozen=True, slots=True)
class SeriesChart:
    """A series on a phone's page, with its first and last figure and the span of all of them."""

    name: str
    unit: str
    last: str
    span: str
    nights: int
    unused: int
    drawing: str


def fleet_page(index: HistoryIndex, *, budget_bytes: int | None = None) -> str:
    """Everything that trends say, worst first, and a line for each pooled series. Raises ReportError without runs."""
    found = trends(index)
    if found is None:
        raise ReportError("no runs yet: there is no history to show")
    worn = wear(index, budget_bytes=budget_bytes)
    return printable(
        template("history-fleet.html.j2").render(
            found=found,
            calling=[alarm for alarm in found.alarms if alarm.calls],
            others=[alarm for alarm in found.alarms if not alarm.calls],
            kinds=_kinds(index, found),
            worn=[_worn(each) for each in worn if each.runs][:_MOST_WORN],
            aged=[(each.serial, each.life_steps[-1]) for each in worn if each.life_steps],
        )
    )


def phone_page(index: HistoryIndex, serial: str, *, nights: int = YEAR) -> str:
    """One phone through its last nights. Raises ReportError for one that has no runs."""
    numbers = {name: number for number, name in index.phones().items()}
    if serial not in numbers:
        near = [name for name in numbers if serial.lower() in name.lower()]
        raise ReportError(
            f"{serial}: no run of this phone", hint=f"there are: {', '.join(sorted(near or numbers)[:8])}"
        )
    runs = index.rows(
        "SELECT night, kind, version, started, status, seconds, caveats FROM run WHERE phone = ? ORDER BY started",
        numbers[serial],
    )
    last = runs[-1][0]
    runs = [run for run in runs if run[0] > last - nights]
    kinds = index.kinds()
    (mine,) = wear(index, night=last, serial=serial)
    return printable(
        template("history-phone.html.j2").render(
            serial=serial,
            kind=kinds[runs[-1][1]],
            first=date_of(runs[0][0]),
            last=date_of(last),
            runs=len(runs),
            failed=sum(run[4] != 0 for run in runs),
            boundaries=[(date_of(night), what) for night, what in _boundaries(runs, kinds)],
            charts=_charts(index, numbers[serial], [night for night, _ in _boundaries(runs, kinds)], runs),
            weeks=[(week, count, w.size(written)) for week, count, written in weeks(index, serial)[-12:]],
            life=mine.life,
            life_steps=mine.life_steps,
        )
    )


def _kinds(index: HistoryIndex, found: Trends) -> list[tuple[RunKind, int, str, list[SeriesLine]]]:
    numbers = {kind: number for number, kind in index.kinds().items()}
    series = index.series()
    return [
        (state.kind, state.phones, state.night, _lines(index, numbers[state.kind], series)) for state in found.kinds
    ]


def _lines(index: HistoryIndex, kind: int, series: Mapping[int, Watched]) -> list[SeriesLine]:
    ((last,),) = index.rows("SELECT max(night) FROM pooled WHERE kind = ?", kind)
    values: dict[int, list[tuple[int, float]]] = {}
    newest = {}
    for night, number, n, median, change, raised in index.rows(
        "SELECT night, series, n, median, change, raised FROM pooled WHERE kind = ? AND night > ? ORDER BY night",
        kind, last - _SPARK_NIGHTS,
    ):  # fmt: skip
        values.setdefault(number, []).append((night, median))
        newest[number] = (n, median, change, raised)
    lines = []
    for number, (n, median, change, raised) in newest.items():
        watched = series[number]
        scale, unit = _scale(watched.unit)
        moved = "" if change is None else percent(change)
        lines.append(SeriesLine(watched.name, unit, n, w.number(median * scale), moved, raised, spark(values[number])))
    return sorted(lines, key=lambda line: (not line.raised, line.name))


def _worn(each: PhoneWear) -> tuple[str, int, str, str, str]:
    share = w.MISSING if each.share is None else f"{each.share * 100:.0f} %"
    return each.serial, each.runs, w.size(each.written_bytes), share, each.advice


def _boundaries(runs: Sequence[Sequence[object]], kinds: Mapping[int, RunKind]) -> list[tuple[int, str]]:
    """Nights at which a phone was another one than before, or was measured by another version."""
    found = []
    before: tuple[RunKind, object] | None = None
    for night, number, version, *_ in runs:
        kind = kinds[int(str(number))]
        if before is not None and (kind, version) != before:
            names = [name for name in RunKind.__dataclass_fields__ if getattr(kind, name) != getattr(before[0], name)]
            what = [f"{name} {getattr(kind, name)}" for name in names]
            found.append((int(str(night)), ", ".join(what) or f"lab {version}"))
        before = kind, version
    return found


def _charts(
    index: HistoryIndex, phone: int, boundaries: Sequence[int], runs: Sequence[Sequence[object]]
) -> list[SeriesChart]:
    series = index.series()
    points: dict[int, list[ChartPoint]] = {}
    for night in sorted({int(str(run[0])) for run in runs}):
        for number, median, low, high, used in index.rows(
            "SELECT series, median, low, high, used FROM point WHERE night = ? AND phone = ?", night, phone
        ):
            points.setdefault(number, []).append(ChartPoint(night, median, low, high, bool(used)))
    charts = []
    for number, mine in points.items():
        watched = series[number]
        scale, unit = _scale(watched.unit)
        values = [point.value for point in mine]
        charts.append(
            SeriesChart(
                watched.name, unit, w.number(mine[-1].value * scale),
                f"{w.number(min(values) * scale)} to {w.number(max(values) * scale)}",
                len(mine), sum(not point.used for point in mine), chart(mine, boundaries, watched.name),
            )
        )  # fmt: skip
    return sorted(charts, key=lambda each: each.name)


def _scale(unit: str) -> tuple[float, str]:
    """Faults are told in microseconds, as everywhere."""
    return (1e-3, "µs") if unit == "ns" else (1.0, unit)
