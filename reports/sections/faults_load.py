"""Whether faults are delayed when the phone is busy, per kind of backing device, and where their time goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import (
    NO_DIFFERENCE,
    figure_of,
    latency_fields,
    mark_of,
    overhead_notes,
    samples_field,
    shared_words,
    short_of,
    slot_label,
    times,
    times_fields,
    turns_field,
    varying_fields,
)
from reports.plots import Mark, Plot, Series, dot_plot
from reports.point import Point, decided, find, group, ratio
from reports.sections.faults import slot_rank
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build

VARIED = ("load", "setting", "slot")
LOADS = ("none", "cpu", "random_read", "sequential_write")
DEFAULT = "default"
DRAWN = ("p50", "p99")
SERIES = (
    Series("RAM p50", 0),
    Series("RAM p99", 0, hollow=True),
    Series("storage p50", 1),
    Series("storage p99", 1, hollow=True),
)

SHOWS: Shows = {t.FAULTS_LOAD: (m.LOAD_BYTES, m.LOAD_CPU_BUSY)}
HOW = (
    "A loop device hands each request to a worker thread, which has to get a CPU; a raw partition has no such worker. "
    "Filled: p50. Hollow: p99. Logarithmic; to the left is better."
)
INTRO = (
    "The load ran on the phone itself, bounded in time and bytes. Behind the semicolon: what was changed to help. x "
    "none: against no load on the same backing device."
)
WORKER_INTRO = (
    "A fault on a written-back page by block events with the same sector, in µs: its time at the disk, and the rest of "
    "its time at the loop device. Quantiles of parts do not add up to those of the whole."
)


def section(analysis: Analysis) -> Section | None:
    """The test of faults under load, or None where it was not run."""
    points = analysis.of(t.FAULTS_LOAD)
    if not points:
        return None
    panels = [(params, sorted(members, key=_rank)) for params, members in group(points, VARIED)]
    worker = _worker_table(points)
    return Section(
        key="faults-load",
        title="Faults under load",
        how=HOW,
        table=_table([members for _, members in panels]),
        findings=[sentence for params, members in panels for sentence in _findings(params, members)],
        details=[worker] if worker else [],
        draw=lambda: _plots(panels),
    )


def _rank(point: Point) -> tuple[int, bool, str, tuple[int, str]]:
    load, setting = str(point.param("load")), str(point.param("setting"))
    return LOADS.index(load) if load in LOADS else len(LOADS), setting != DEFAULT, setting, slot_rank(point)


def _load(point: Point) -> str:
    return w.param("load", point.param("load"))


def _load_and_setting(point: Point) -> str:
    setting = point.param("setting")
    return _load(point) if setting in (None, DEFAULT) else f"{_load(point)}; {w.param('setting', setting)}"


def _base(points: Sequence[Point], point: Point) -> Point | None:
    """The point without load, with the same setting if that was measured; None for a point without load itself."""
    if point.param("load") == "none":
        return None
    slot, setting = point.param("slot"), point.param("setting")
    same = find(points, load="none", slot=slot, setting=setting)
    return same or find(points, load="none", slot=slot, setting=DEFAULT)


def _where(params: Mapping[str, Any]) -> str:
    backing = w.param("backing", params.get("backing", "not stated"))
    rest = w.params(params, without=("backing",))
    return f"{backing}, {rest}" if rest else backing


LOAD_AND_SETTING: Field[Point] = Field(Column("load; setting", numeric=False, wrap=14), _load_and_setting)


def _table(panels: Sequence[Sequence[Point]]) -> Table:
    base_of = {id(point): _base(members, point) for members in panels for point in members}
    points = [point for members in panels for point in members]
    fields: list[Field[Point]] = [
        *varying_fields(points, VARIED),
        LOAD_AND_SETTING,
        Field(Column("page in", numeric=False), slot_label),
        turns_field(m.FAULT_LATENCY, "p50"),
        *latency_fields(DRAWN),
        *times_fields(lambda point: base_of[id(point)], "none", DRAWN),
    ]
    title = f"Time of one page fault under load, in µs{shared_words(points, VARIED)}"
    notes = [*_given(points), *overhead_notes(points)]
    return build("faults-load-table", title, INTRO, fields, points, notes)


def _given(points: Sequence[Point]) -> list[str]:
    """How much load there really was."""
    given: dict[str, list[str]] = {}
    for point in points:
        done = []
        if moved := point.value(m.LOAD_BYTES):
            done.append(w.size(moved))
        if (busy := point.value(m.LOAD_CPU_BUSY)) is not None:
            done.append(f"{w.number(busy)} s of CPU time")
        if done:
            given.setdefault(_load(point), []).append(" and ".join(done))
    told = "; ".join(
        f"{load}, {each[0]}{' or so at each point' if len(set(each)) > 1 else ''}" for load, each in given.items()
    )
    return [f"What the load did: {told}."] if told else []


def _worker_table(points: Sequence[Point]) -> Table | None:
    known = [point for point in points if m.FAULT_WORKER.name in point.quantiles]
    if not known:
        return None

    def part(head: str, name: str, metric: m.Quantity) -> Field[Point]:
        return Field(Column(f"{head} {name}", wrap=10), figure_of(metric, name))

    fields: list[Field[Point]] = [
        *varying_fields(known, VARIED),
        LOAD_AND_SETTING,
        samples_field(m.FAULT_WORKER),
        Field(Column("fault p50", wrap=6), short_of(m.FAULT_LATENCY, "p50")),
        part("disk", "p50", m.FAULT_DISK),
        part("loop layer", "p50", m.FAULT_WORKER),
        Field(Column("fault p99", wrap=6), short_of(m.FAULT_LATENCY, "p99")),
        part("disk", "p99", m.FAULT_DISK),
        part("loop layer", "p99", m.FAULT_WORKER),
    ]
    return build("faults-load-worker", "Where a fault's time goes, in µs", WORKER_INTRO, fields, known)


def _findings(params: Mapping[str, Any], points: Sequence[Point]) -> list[str]:
    """What each load did to a written-back page at the median, on one backing device; then what settings did."""
    usual = [p for p in points if p.param("slot") == "written_back" and p.param("setting") in (None, DEFAULT)]
    told = _sorted_out((_load(p), p, _base(points, p)) for p in usual)
    changed = [p for p in points if p.param("slot") == "written_back" and p not in usual]
    helped = _sorted_out(
        (_load_and_setting(p), p, find(points, **{**p.result.params, "setting": DEFAULT})) for p in changed
    )
    where = w.param("backing", params.get("backing", "not stated"))
    return [
        *([f"{where}, p50 against no load: {'; '.join(told)}."] if told else []),
        *([f"{where}, p50 against the same load without a setting: {'; '.join(helped)}."] if helped else []),
    ]


def _sorted_out(compared: Iterable[tuple[str, Point, Point | None]]) -> list[str]:
    """Each change that rounds can tell with its ratio, and at the end those of which none can be told."""
    told: list[str] = []
    unsure: list[str] = []
    for name, point, base in compared:
        found = ratio(point, base, m.FAULT_LATENCY, "p50")
        says = decided(found)
        if found is not None and says is not None:
            (told if says else unsure).append(f"{name} {times(found)}")
    told = [f"{w.listing(told)} as long"] if told else []
    return [*told, f"{NO_DIFFERENCE} for {w.listing(unsure)}"] if unsure else told


def _plots(panels: Sequence[tuple[Mapping[str, Any], Sequence[Point]]]) -> list[Plot]:
    """One per backing device, all on one scale."""
    points = [point for _, members in panels for point in members]
    marks = [mark for point in points for name in DRAWN if (mark := mark_of(point, m.FAULT_LATENCY, name))]
    if not marks:
        return []
    low, high = min(low or value for value, low, _ in marks), max(high or value for value, _, high in marks)
    return [
        _plot(params, members, f"faults-load-plot-{number}", (0.85 * low, 1.18 * high))
        for number, (params, members) in enumerate(panels, start=1)
    ]


def _plot(params: Mapping[str, Any], points: Sequence[Point], key: str, limits: tuple[float, float]) -> Plot:
    rows: dict[str, dict[str, Mark]] = {}
    for point in points:
        label = _load_and_setting(point).replace("; ", ";\n")
        for name in DRAWN:
            mark = mark_of(point, m.FAULT_LATENCY, name)
            if mark is not None:
                rows.setdefault(label, {})[f"{slot_label(point)} {name}"] = mark
    used = [series for series in SERIES if any(series.name in marks for marks in rows.values())]
    described = "; ".join(
        f"{' '.join(label.split())}: " + ", ".join(f"{name} {w.number(mark[0])}" for name, mark in marks.items())
        for label, marks in rows.items()
    )
    title = w.param("backing", params.get("backing", "not stated"))
    caption = f"µs per page fault under load, {_where(params)}: {described}"
    return dot_plot(key, caption, title[:1].upper() + title[1:], "µs per fault", used, rows, log=True, limits=limits)
