"""Whether faults are delayed when the phone is busy, per kind of backing device, and the loop worker's share of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis, Point, find, group
from reports.cells import (
    OVERLAP_NOTE,
    latency_and_times,
    latency_cell,
    latency_fields,
    latency_mark,
    microseconds,
    overhead_notes,
    quantiles_differ,
    samples_field,
    short_latency,
    slot_label,
    times,
    times_fields,
)
from reports.plots import Mark, Plot, Series, dot_plot
from reports.sections.faults import slot_rank
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build, build_for_mail, mail_only

MAIL_TITLE = "Page fault in us under load (x: against no load; worker: loop worker's p50)"
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
    "A loop device hands each request to a worker thread, which has to get a CPU: does a busy phone delay faults, "
    "and do priorities help? A raw partition has no such worker. Filled: half of the faults took at most this long. "
    "Hollow: 99 of 100. Bars: where the true value lies. Logarithmic; to the left is better."
)
INTRO = (
    "The load ran on the phone itself, bounded in time and bytes, on the disk that holds the written-back pages. "
    "After the semicolon: what was changed to help. In brackets: where the true value lies (95 %)."
)
TIMES_INTRO = "Each quantile under load, divided by the same quantile without load, on the same backing device."
WORKER_INTRO = (
    "A fault on a written-back page, taken apart by block events with the same sector: time at the disk, and the "
    "rest of the time at the loop device, which its worker took. Share: the worker's p50 against that of the whole "
    "fault."
)


def section(analysis: Analysis) -> Section | None:
    """The test of faults under load, or None where it was not run."""
    points = analysis.of(t.FAULTS_LOAD)
    if not points:
        return None
    panels = [(params, sorted(members, key=_rank)) for params, members in group(points, ("load", "setting", "slot"))]
    tables = []
    for number, (params, members) in enumerate(panels, start=1):
        made = (_table(number, params, members), _times_table(number, params, members))
        tables += [table for table in made if table]
    tables += [table] if (table := _worker_table(points)) else []
    return Section(
        key="faults-load",
        title="Page faults under load",
        how=HOW,
        measured="page faults under load",
        tables=tables,
        findings=[*_findings(panels), *_worker_finding(points)],
        mail=lambda doubts: [
            build_for_mail(f"{MAIL_TITLE}: {_where(params)}", _mail_fields(members), members, doubts)
            for params, members in panels
        ],
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


LOAD_AND_SETTING = Column("load; setting", numeric=False, wrap=14)
ROW_FIELDS: list[Field[Point]] = [
    Field(LOAD_AND_SETTING, _load_and_setting, replace(LOAD_AND_SETTING, wrap=22)),
    Field(Column("page in", numeric=False), slot_label, Column("slot", numeric=False)),
]


def _mail_fields(points: Sequence[Point]) -> list[Field[Point]]:
    against_none = latency_and_times(lambda point: _base(points, point), ("p50", "p99"))
    return [*ROW_FIELDS, *against_none, mail_only(Column("worker"), short_latency("p50", m.FAULT_WORKER))]


def _table(number: int, params: Mapping[str, Any], points: Sequence[Point]) -> Table:
    fields = [*ROW_FIELDS, samples_field(), *latency_fields()]
    title = f"Time of one page fault under load, in µs: {_where(params)}"
    return build(f"faults-load-{number}", title, INTRO, fields, points, [*_given(points), *overhead_notes(points)])


def _times_table(number: int, params: Mapping[str, Any], points: Sequence[Point]) -> Table | None:
    loaded = [point for point in points if _base(points, point)]
    if not loaded:
        return None
    fields = [*ROW_FIELDS, *times_fields(lambda point: _base(points, point))]
    title = f"Times as long as without load: {_where(params)}"
    return build(f"faults-load-times-{number}", title, TIMES_INTRO, fields, loaded, [OVERLAP_NOTE])


def _given(points: Sequence[Point]) -> list[str]:
    """How much load there really was."""
    given: dict[str, list[str]] = {}
    for point in points:
        done = []
        if moved := point.median(m.LOAD_BYTES):
            done.append(w.size(moved))
        if (busy := point.median(m.LOAD_CPU_BUSY)) is not None:
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
        return Field(Column(f"{head} {name}"), lambda point: latency_cell(point, name, metric))

    fields: list[Field[Point]] = [
        Field(Column("backing", numeric=False, wrap=12), lambda point: w.param("backing", point.param("backing"))),
        ROW_FIELDS[0],
        Field(Column("n"), lambda point: str(point.size_of(m.FAULT_WORKER))),
        Field(Column("fault p50"), short_latency("p50")),
        part("disk", "p50", m.FAULT_DISK),
        part("worker", "p50", m.FAULT_WORKER),
        part("worker", "p99", m.FAULT_WORKER),
        Field(Column("share"), lambda point: _percent(_worker_share(point))),
    ]
    title = "The loop worker's share of a fault on a written-back page, in µs"
    return build("faults-load-worker", title, WORKER_INTRO, fields, known)


def _worker_share(point: Point) -> float | None:
    worker, whole = microseconds(point, "p50", m.FAULT_WORKER), microseconds(point, "p50")
    return worker / whole if worker is not None and whole else None


def _percent(share: float | None) -> str:
    return w.MISSING if share is None else f"{100 * share:.0f} %"


def _findings(panels: Sequence[tuple[Mapping[str, Any], Sequence[Point]]]) -> list[str]:
    """Per backing device the load that delays a written-back page most, at the median; then what helped."""
    told: list[str] = []
    for params, points in panels:
        delays = [
            (factor, point)
            for point in points
            if _is_default(point) and (factor := times(point, _base(points, point), "p50")) is not None
        ]
        if delays:
            factor, worst = max(delays, key=lambda each: each[0])
            tail = times(worst, _base(points, worst), "p99")
            words = ("", "") if told else (" as long as without load at the median", " at p99")
            at_tail = f" and {w.number(tail, 2)} times{words[1]}" if tail is not None else ""
            backing = w.param("backing", params.get("backing"))
            told.append(f"{_load(worst)} on {backing}, {w.number(factor, 2)} times{words[0]}{at_tail}")
    lead = "By backing device, faults on written-back pages suffered most from: "
    return [*([f"{lead}{'; '.join(told)}."] if told else []), *_helped([p for _, points in panels for p in points])]


def _is_default(point: Point) -> bool:
    return bool(point.param("slot") == "written_back" and point.param("setting") in (None, DEFAULT))


def _helped(points: Sequence[Point]) -> list[str]:
    """Which of the settings that were tried made a fault under the same load faster, if any."""
    tried = []
    for point in points:
        if point.param("slot") != "written_back" or point.param("setting") in (None, DEFAULT):
            continue
        same = find(points, **{**point.result.params, "setting": DEFAULT})
        factor = times(point, same, "p50")
        if factor is not None and same is not None:
            tried.append((factor, quantiles_differ(point, same, "p50"), point))
    if not tried:
        return []
    factor, differs, best = min(tried, key=lambda each: each[0])
    if factor >= 1 or not differs:
        return ["None of the settings that were tried made them faster."]
    where = f"{w.param('backing', best.param('backing'))}, {_load(best)}"
    return [
        f"Of the settings, the one that helped most was {w.param('setting', best.param('setting'))}: "
        f"{w.number(factor, 2)} times as long at the median ({where})."
    ]


def _worker_finding(points: Sequence[Point]) -> list[str]:
    shares = [(share, point) for point in points if _is_default(point) and (share := _worker_share(point)) is not None]
    if not shares:
        return []
    largest, point = max(shares, key=lambda each: each[0])
    where = f"{w.param('backing', point.param('backing'))}, {_load(point)}"
    return [f"At the median, the loop worker took at most {_percent(largest)} of such a fault ({where})."]


def _plots(panels: Sequence[tuple[Mapping[str, Any], Sequence[Point]]]) -> list[Plot]:
    """One per backing device, all on one scale."""
    points = [point for _, members in panels for point in members]
    marks = [mark for point in points for name in DRAWN if (mark := latency_mark(point, m.FAULT_LATENCY, name))]
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
            mark = latency_mark(point, m.FAULT_LATENCY, name)
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
