"""The tables of a report as data: built once, printed as text by reports/text.py and as HTML by the template."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports import wording as w
from reports.analysis import INTEGRITY, LATENCY, MIB_PER_S, THROUGHPUT, Analysis, Panel, Point, batch_rank
from reports.model import Caveat
from reports.stats import FEWEST_FOR_INTERVAL, Summary

NS_PER_US = 1000.0
MARKS = "abcdefghijklmnopqrstuvwxyz"

FAULT_INTRO = (
    "A fault brings one page back: from RAM, where zram kept it compressed, or from the storage that it was written "
    "back to. p99: 99 of 100 faults took at most this long. In brackets: where the true value lies (95 %). x RAM: the "
    "price of having written the page back, at the median."
)

SHOWN_ELSEWHERE: Mapping[str, frozenset[str]] = {
    THROUGHPUT: frozenset({MIB_PER_S, "writeback.wall", "writeback.user_cpu", "writeback.sys_cpu"}),
    INTEGRITY: frozenset({"integrity.corrupt", "integrity.pages"}),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head, whether it holds numbers, and a width to wrap at in text."""

    head: str
    numeric: bool = True
    wrap: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """``intro`` says what the figures are, ``notes`` what to doubt; the first column names the row."""

    key: str
    title: str
    intro: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def shown_columns(self) -> list[int]:
        """The first column, which names the row, and every other that holds something in at least one row."""
        filled = (any(row[i] not in ("", w.MISSING) for row in self.rows) for i in range(len(self.columns)))
        return [i for i, holds_something in enumerate(filled) if i == 0 or holds_something]

    def has_heads(self) -> bool:
        """False for a plain list of names and values."""
        return any(column.head for column in self.columns)


@dataclass(frozen=True, slots=True)
class _Field:
    """A column and how to fill it from a point."""

    column: Column
    cell: Callable[[Point], str]


class _Doubts:
    """Gives each caveat of a table a letter, in order of appearance."""

    def __init__(self) -> None:
        self._marks: dict[Caveat, str] = {}

    def marks(self, point: Point) -> str:
        return " ".join(self._marks.setdefault(c, MARKS[len(self._marks)]) for c in point.caveats)

    def notes(self) -> tuple[str, ...]:
        return tuple(f"{mark}: {caveat.value}" for caveat, mark in self._marks.items())


def throughput_tables(analysis: Analysis) -> list[Table]:
    """Throughput by batch size, one table per data size, page type and whatever else was varied."""
    return [_throughput_table(panel, number) for number, panel in enumerate(analysis.panels, start=1)]


def first_point(points: Sequence[Point]) -> Point:
    """What ratios refer to: batch 1, or the smallest batch there is."""
    return next((p for p in points if p.result.params.get("batch_size") == 1), min(points, key=batch_rank))


def panel_title(panel: Panel) -> str:
    """``32 MiB, incompressible pages`` and any further parameter."""
    known = [w.size(panel.params["data_bytes"])] if "data_bytes" in panel.params else []
    known += [f"{w.clean(panel.params['pages'])} pages"] if "pages" in panel.params else []
    rest = w.params(panel.params, without=("data_bytes", "pages"))
    return ", ".join([*known, *([rest] if rest else [])]) or "all points"


def batch_label(point: Point) -> str:
    """The batch size, or that this kernel has no such attribute."""
    batch = point.result.params.get("batch_size")
    return "none" if batch is None else w.clean(batch)


def ratio(point: Point, base: Point, metric: str) -> float | None:
    """Median over median."""
    mine, other = point.median(metric), base.median(metric)
    return mine / other if mine is not None and other else None


def ratio_cell(point: Point, base: Point) -> str:
    """Throughput against the base point; nothing where the kernel has no batches to compare."""
    return w.MISSING if base.result.params.get("batch_size") is None else w.number(ratio(point, base, MIB_PER_S))


def interval_note(summaries: Iterable[Summary | None]) -> str:
    """What the column of intervals holds, in one sentence."""
    found = {(s.n, s.interval.method, s.interval.confidence) for s in summaries if s and s.interval}
    named = {"order statistics": "", "bootstrap": " (bootstrap)"}
    kinds = [f"{100 * share:.3g} % for {n} repeats{named[method]}" for n, method, share in sorted(found)]
    if not kinds:
        return f"No interval: fewer than {FEWEST_FOR_INTERVAL} repeats."
    return f"Interval: where the true median lies; confidence {w.listing(kinds)}."


def fault_tables(analysis: Analysis) -> list[Table]:
    """Latency of a fault per kind of slot; one table for each further combination of parameters."""
    tables = []
    for number, points in enumerate(analysis.faults, start=1):
        doubts = _Doubts()
        rows = []
        for point in points:
            cells = [_quantile_cell(point, name) for name in ("p50", "p90", "p99", "p99.9", "max")]
            slot = w.param("slot", point.result.params.get("slot", "not stated"))
            rows.append((slot, str(point.samples[LATENCY].size), *cells, price(point, points), doubts.marks(point)))
        rest = w.params(points[0].result.params, without=("slot",))
        heads = [
            Column("page was in", numeric=False),
            *map(Column, ("n", "p50", "p90", "p99", "p99.9", "max", "x RAM")),
        ]
        tables.append(
            Table(
                key=f"faults-{number}",
                title="Time of one page fault, in µs" + (f": {rest}" if rest else ""),
                intro=FAULT_INTRO,
                columns=(*heads, Column("doubts", numeric=False)),
                rows=tuple(rows),
                notes=(*_overheads(points), *doubts.notes()),
            )
        )
    return tables


def price(point: Point, points: Iterable[Point]) -> str:
    """How many times as long as from RAM a fault took at the median; of ``points``, one has its pages in RAM."""
    base = next((p for p in points if p.result.params.get("slot") == "ram"), None)
    mine, other = (p.quantile(LATENCY, "p50") if p else None for p in (point, base))
    if point is base or not (mine and mine.value and other and other.value):
        return w.MISSING
    return w.number(mine.value / other.value)


def integrity_table(analysis: Analysis) -> Table | None:
    """Pages checked and pages corrupt, per path."""
    if not analysis.integrity:
        return None
    doubts = _Doubts()
    rows = []
    for point in analysis.integrity:
        metrics = point.result.metrics
        checked = sum(metrics["integrity.pages"].values) if "integrity.pages" in metrics else None
        corrupt = sum(metrics["integrity.corrupt"].values)
        verdict = "intact" if corrupt == 0 and checked else "CORRUPT" if corrupt else "not known"
        rows.append(
            (
                w.params(point.result.params) or point.result.test,
                w.count(checked),
                w.count(corrupt),
                verdict,
                doubts.marks(point),
            )
        )
    return Table(
        key="integrity",
        title="Data integrity",
        intro="Every page has its own content and is compared byte for byte after it was written back and read again.",
        columns=(
            Column("pages through", numeric=False),
            Column("checked"),
            Column("corrupt"),
            Column("result", False),
            Column("doubts", False),
        ),
        rows=tuple(rows),
        notes=doubts.notes(),
    )


def further_table(analysis: Analysis) -> Table | None:
    """Every figure that no other table shows: of known tests what was measured besides, of others everything.

    Points with the same figures share a row: a counter that is the same everywhere says so in one line.
    """
    other_ids = {id(point) for point in analysis.others}
    doubts = _Doubts()
    places: dict[tuple[str, ...], list[str]] = {}
    for point in analysis.points:
        is_other = id(point) in other_ids
        hidden = frozenset() if is_other else SHOWN_ELSEWHERE.get(point.result.test, frozenset())
        rows = [_figure_row(point, name) for name in point.figures if name not in hidden]
        rows += _sample_rows(point) if is_other else []
        marks = doubts.marks(point) if is_other else ""
        for row in rows:
            places.setdefault((w.clean(point.result.test), *row, marks), []).append(w.params(point.result.params))
    if not places:
        return None
    heads = (Column("test", False, 20), Column("at", False, 24), Column("figure", False, 20), Column("unit", False))
    return Table(
        key="further",
        title="Further figures",
        intro="Medians of everything else that was measured.",
        columns=(*heads, Column("median"), Column("interval"), Column("n"), Column("doubts", False)),
        rows=tuple((test, place_words(where), *rest) for (test, *rest), where in places.items()),
        notes=doubts.notes(),
    )


def warmup_table(analysis: Analysis) -> Table | None:
    """Values of warm-ups, which enter no figure; the points of one sweep share a row."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for point in analysis.points:
        where = w.params(point.result.params, without=("batch_size",))
        batch = f"batch {batch_label(point)}: " if "batch_size" in point.result.params else ""
        for name, metric in point.result.warmups.items():
            row = rows.setdefault((w.clean(point.result.test), where, name, w.clean(metric.unit)), [])
            row.append(batch + " ".join(w.number(value) for value in metric.values))
    if not rows:
        return None
    heads = (Column("test", False, 20), Column("at", False, 20), Column("figure", False, 20), Column("unit", False))
    return Table(
        key="warmups",
        title="Warm-ups",
        intro="Run before the measurement and kept apart: they enter no figure.",
        columns=(*heads, Column("values", False, 26)),
        rows=tuple((*row, ", ".join(values)) for row, values in rows.items()),
    )


def place_words(places: Sequence[str]) -> str:
    """Where a row was seen: its parameters, or how many points share it."""
    return places[0] if len(places) == 1 else f"{len(places)} points"


def _throughput_table(panel: Panel, number: int) -> Table:
    doubts = _Doubts()
    bases = {order: first_point(points) for order, points in panel.by_order().items()}

    def against_base(point: Point) -> str:
        return ratio_cell(point, bases[str(point.result.params.get("order", ""))])

    def median_of(metric: str) -> Callable[[Point], str]:
        return lambda point: w.number(point.median(metric))

    base_label = batch_label(next(iter(bases.values())))
    fields = [
        _Field(Column("slot order", False), lambda p: w.clean(p.result.params.get("order", "not stated"))),
        _Field(Column("batch"), batch_label),
        _Field(Column("MiB/s"), median_of(MIB_PER_S)),
        _Field(Column("interval"), lambda p: w.interval(p.figures[MIB_PER_S].interval)),
        _Field(Column("n"), lambda p: str(p.figures[MIB_PER_S].n)),
        _Field(Column(f"x batch {base_label}"), against_base),
        _Field(Column("real s"), median_of("writeback.wall")),
        _Field(Column("user s"), median_of("writeback.user_cpu")),
        _Field(Column("sys s"), median_of("writeback.sys_cpu")),
        _Field(Column("doubts", False), doubts.marks),
    ]
    rows = tuple(tuple(each.cell(point) for each in fields) for point in panel.points)
    return Table(
        key=f"throughput-{number}",
        title=f"Writeback throughput by batch size: {panel_title(panel)}",
        intro="Batch: how many page writes may be in flight at once (writeback_batch_size). All figures are medians; "
        "real, user and sys are the seconds that one write to the writeback attribute took. "
        + interval_note(p.figures[MIB_PER_S] for p in panel.points),
        columns=tuple(each.column for each in fields),
        rows=rows,
        notes=doubts.notes(),
    )


def _quantile_cell(point: Point, name: str) -> str:
    found = point.quantile(LATENCY, name)
    if found is None or found.value is None:
        return w.MISSING
    value = w.number(found.value / NS_PER_US)
    if found.low is None or found.high is None:
        return value
    return f"{value}\n{w.span(found.low / NS_PER_US, found.high / NS_PER_US)}"


def _overheads(points: Iterable[Point]) -> list[str]:
    stated = dict.fromkeys(
        w.params(point.result.facts["probe_overhead_ns"])
        for point in points
        if "probe_overhead_ns" in point.result.facts
    )
    return [
        f"The probe's own cost per sample, in ns, is in every value and was not subtracted: {each}" for each in stated
    ]


def _sample_rows(point: Point) -> list[tuple[str, ...]]:
    return [
        (
            f"{metric} {found.name}",
            "ns",
            _figure(found.value),
            w.span(found.low, found.high),
            str(point.samples[metric].size),
        )
        for metric, quantiles in point.quantiles.items()
        for found in quantiles
    ]


def _figure_row(point: Point, name: str) -> tuple[str, ...]:
    summary, metric = point.figures[name], point.result.metrics[name]
    interval = w.MISSING if summary.minimum == summary.maximum else w.interval(summary.interval)
    return w.clean(name), w.clean(metric.unit), _figure(summary.median), interval, str(summary.n)


def _figure(value: float | None) -> str:
    return w.count(value) if value is None or value == int(value) else w.number(value)
