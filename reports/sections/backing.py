"""Kinds of backing device compared: files on two file systems, pinned or not, sparse or not, and a raw partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from records import metrics as m
from records import tests as t
from records.model import Caveat
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import (
    COSTS,
    NO_DIFFERENCE,
    cost_fields,
    figure_of,
    mapping_fact,
    mark_of,
    overhead_notes,
    rate_field,
    shared_words,
    times,
    told,
    turns_field,
    varying_fields,
)
from reports.plots import Mark, Plot, Series, dot_plot
from reports.point import Point, beats_all, decided, group, ratio
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build

VARIED = ("variant", "blocks")
OVERWRITTEN = "overwritten"
RATE_SERIES = (Series("overwritten blocks", 0), Series("fresh blocks", 1, hollow=True))
FAULT_SERIES = (Series("p50", 0), Series("p99", 1, hollow=True))

SHOWS: Shows = {t.BACKING: (m.THROUGHPUT, *COSTS)}
HOW = (
    "Fresh: the blocks of a new file, written for the first time, so that the file system may have to allocate them. "
    "Overwritten: the same blocks again, as on a phone in use."
)
VERIFIED_WORDS: Mapping[str, str] = {
    "file_system": "file system",
    "size_bytes": "size",
    "allocated_bytes": "allocated",
    "allocated_bytes_after_first_pass": "allocated after first pass",
    "pinned": "pinned",
    "direct_io": "direct I/O",
    "block_size_bytes": "block size",
    "disk": "on disk",
}
VERIFIED_INTRO = "Read back from the phone, not copied from what was asked for."
# Both are pinned and allocated: what differs is the loop device.
_PINNED, _MAPPED = "pinned", "mapped"
_LOOP_COSTS = (
    (m.THROUGHPUT, None, "throughput"), (m.CPU_ALL, None, "CPU time per page"), (m.FAULT_LATENCY, "p50", "fault p50"),
)  # fmt: skip
INTRO = "Real and sys: seconds of one write to the writeback attribute. Fault: on a page written back there, in µs."


def section(analysis: Analysis) -> Section | None:
    """The comparison of backing devices, or None where it was not run."""
    points = analysis.of(t.BACKING)
    if not points:
        return None
    panels = group(points, without=VARIED)
    verified = _verified_table(points)
    return Section(
        key="backing-variants",
        title="Kinds of backing device",
        how=HOW,
        table=_table(points),
        findings=[sentence for _, members in panels for sentence in (*_findings(members), *_cost_of_loop(members))],
        details=[verified] if verified else [],
        draw=lambda: [
            each for number, (params, members) in enumerate(panels, start=1) for each in _plots(number, params, members)
        ],
    )


def _variant(point: Point) -> str:
    return w.clean(point.param("variant"))


def _blocks(point: Point) -> str:
    return w.clean(point.param("blocks"))


def _table(points: Sequence[Point]) -> Table:
    fields: list[Field[Point]] = [
        *varying_fields(points, VARIED),
        Field(Column("backing", numeric=False, wrap=13), _variant),
        Field(Column("blocks", numeric=False, wrap=11), _blocks),
        rate_field(),
        turns_field(m.THROUGHPUT),
        *cost_fields(),
        Field(Column("fault p50", wrap=6), figure_of(m.FAULT_LATENCY, "p50")),
        Field(Column("fault p99", wrap=6), figure_of(m.FAULT_LATENCY, "p99")),
    ]
    title = f"Writeback by kind of backing device{shared_words(points, VARIED)}"
    return build("backing-variants-table", title, INTRO, fields, points, overhead_notes(points))


def _verified_table(points: Sequence[Point]) -> Table | None:
    """What was read back of each device; devices that read the same share a row."""
    known = [point for point in points if mapping_fact(point, "verified")]
    if not known:
        return None
    facts = list(dict.fromkeys(name for point in known for name in point.result.facts["verified"]))
    rows: dict[tuple[str, ...], list[str]] = {}
    for point in known:
        found = point.result.facts["verified"]
        cells = (_variant(point), *(_verified_cell(name, found.get(name)) for name in facts))
        rows.setdefault(cells, []).append(_blocks(point))
    heads = [Column(VERIFIED_WORDS.get(name, w.clean(name)), numeric=False, wrap=9) for name in facts]
    return Table(
        key="backing-verified",
        title="What each kind was verified to be",
        intro=VERIFIED_INTRO,
        columns=(Column("backing", numeric=False, wrap=13), Column("blocks", numeric=False, wrap=11), *heads),
        rows=tuple((name, w.listing(dict.fromkeys(blocks)), *rest) for (name, *rest), blocks in rows.items()),
    )


def _verified_cell(name: str, value: Any) -> str:
    if value is None:
        return w.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return w.size(value) if "_bytes" in name else w.clean(value)


def _findings(points: Sequence[Point]) -> list[str]:
    # Buffered I/O measures the page cache, not the device: it wins no comparison.
    settled = [p for p in points if p.param("blocks") == OVERWRITTEN and Caveat.buffered_io not in p.caveats]
    known = [p for p in settled if p.value(m.THROUGHPUT) is not None]
    if len(known) < 2:
        return []
    fastest = max(known, key=lambda point: point.value(m.THROUGHPUT) or 0.0)
    others = [point for point in known if point is not fastest]
    where = "overwritten blocks, direct I/O"
    if beats_all(fastest, others, m.THROUGHPUT):
        return [f"{_variant(fastest)} was the fastest to write back to, {told(fastest, m.THROUGHPUT)} ({where})."]
    if all(decided(ratio(fastest, other, m.THROUGHPUT)) is None for other in others):
        return [f"{_variant(fastest)} {told(fastest, m.THROUGHPUT)} ({where})."]
    near = [p for p in others if not decided(ratio(fastest, p, m.THROUGHPUT))]
    names = w.listing(f"{_variant(p)} {_against(fastest, p)}" for p in near)
    return [f"{NO_DIFFERENCE} between {_variant(fastest)} and {names} ({where})."]


def _cost_of_loop(points: Sequence[Point]) -> list[str]:
    """Compare a pinned file behind a loop device with the same file's blocks without one, in rounds."""
    settled = {_variant(point): point for point in points if point.param("blocks") == OVERWRITTEN}
    told_so = []
    for name, mapped in settled.items():
        file, _, how = name.partition(", ")
        through_loop = settled.get(f"{file}, {_PINNED}") if how == _MAPPED else None
        parts = [
            f"{what} {NO_DIFFERENCE} ({times(found)})" if same == 0 else f"{what} {times(found)}"
            for metric, quantile, what in _LOOP_COSTS
            if (found := ratio(through_loop, mapped, metric, quantile)) and (same := decided(found)) is not None
        ]
        if parts:
            told_so.append(f"Through a loop device against the same {file} without one: {'; '.join(parts)}.")
    return told_so


def _against(point: Point, other: Point) -> str:
    found = ratio(point, other, m.THROUGHPUT)
    return f"({times(found)})" if found else ""


def _plots(number: int, params: Mapping[str, Any], points: Sequence[Point]) -> list[Plot]:
    rates: dict[str, dict[str, Mark]] = {}
    latencies: dict[str, dict[str, Mark]] = {}
    for point in points:
        mark = mark_of(point, m.THROUGHPUT)
        if mark is not None:
            rates.setdefault(_variant(point), {})[f"{_blocks(point)} blocks"] = mark
        for name in ("p50", "p99"):
            mark = mark_of(point, m.FAULT_LATENCY, name)
            if mark is not None:
                latencies.setdefault(_variant(point), {})[name] = mark
    where = w.params(params)
    told = _in_words(rates)
    plots = [
        dot_plot(f"backing-plot-{number}", f"Writeback throughput in MiB/s by kind of backing device, {where}: {told}",
                 "Writeback throughput", "MiB/s, to the right is better", RATE_SERIES, rates)
    ]  # fmt: skip
    if latencies:
        caption = f"µs per fault on a page written back, by kind of backing device: {_in_words(latencies)}"
        plots.append(
            dot_plot(f"backing-faults-plot-{number}", caption, "Fault on a written-back page",
                     "µs per fault, to the left is better", FAULT_SERIES, latencies, log=True)
        )  # fmt: skip
    return plots


def _in_words(rows: Mapping[str, Mapping[str, Mark]]) -> str:
    return "; ".join(
        f"{label}: " + ", ".join(f"{name} {w.number(mark[0])}" for name, mark in marks.items())
        for label, marks in rows.items()
    )
