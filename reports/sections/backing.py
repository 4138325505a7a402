"""Kinds of backing device compared: files on two file systems, pinned or not, sparse or not, and a raw partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from records import metrics as m
from records import tests as t
from records.model import Caveat
from reports import wording as w
from reports.analysis import Analysis, Point, find, group, ratio
from reports.cells import (
    COSTS,
    cost_fields,
    interval_note,
    latency_fields,
    latency_mark,
    mapping_fact,
    median_mark,
    medians_differ,
    overhead_notes,
    rate_fields,
    samples_field,
    short_latency,
    with_interval,
)
from reports.plots import Mark, Plot, Series, dot_plot
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build, build_for_mail, everywhere, mail_only

OVERWRITTEN = "overwritten"
RATE_SERIES = (Series("overwritten blocks", 0), Series("fresh blocks", 1, hollow=True))
FAULT_SERIES = (Series("p50", 0), Series("p99", 1, hollow=True))

SHOWS: Shows = {t.BACKING: (m.THROUGHPUT, *COSTS)}
HOW = (
    "What the backing file lies on. Fresh: the blocks of a new file, written for the first time, so that the file "
    "system may have to allocate them. Overwritten: the same blocks again, as on a phone in use. Bars: where the "
    "true value lies."
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
INTRO = "All figures are medians; real, user and sys are of one write to the writeback attribute. "
FAULT_INTRO = (
    "p99: 99 of 100 faults took at most this long. In brackets: where the true value lies (95 %). Only overwritten "
    "blocks, as on a phone in use."
)


def section(analysis: Analysis) -> Section | None:
    """The comparison of backing devices, or None where it was not run."""
    points = analysis.of(t.BACKING)
    if not points:
        return None
    panels = group(points, without=("variant", "blocks"))
    return Section(
        key="backing-variants",
        title="Kinds of backing device",
        how=HOW,
        measured="kinds of backing device",
        tables=[
            table
            for number, (params, members) in enumerate(panels, start=1)
            for table in (
                _table(number, params, members),
                _fault_table(number, members),
                _verified_table(number, members),
            )
            if table
        ],
        findings=[sentence for _, members in panels for sentence in _findings(members)],
        mail=lambda doubts: [build_for_mail(_title(params), FIELDS, members, doubts) for params, members in panels],
        draw=lambda: [
            each for number, (params, members) in enumerate(panels, start=1) for each in _plots(number, params, members)
        ],
    )


def _variant(point: Point) -> str:
    return w.clean(point.param("variant"))


def _blocks(point: Point) -> str:
    return w.clean(point.param("blocks"))


def _title(params: Mapping[str, Any]) -> str:
    return f"Writeback by kind of backing device: {w.params(params)}"


VARIANT = everywhere(Column("backing", numeric=False, wrap=15), _variant)
FIELDS: list[Field[Point]] = [
    VARIANT,
    everywhere(Column("blocks", numeric=False), _blocks),
    *rate_fields(),
    *cost_fields(),
    mail_only(Column("fault us"), short_latency("p50")),
]


def _verified_table(number: int, points: Sequence[Point]) -> Table | None:
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
        key=f"backing-verified-{number}",
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


def _table(number: int, params: Mapping[str, Any], points: Sequence[Point]) -> Table:
    intro = INTRO + interval_note(point.summary(m.THROUGHPUT) for point in points)
    return build(f"backing-variants-{number}", _title(params), intro, FIELDS, points)


def _fault_table(number: int, points: Sequence[Point]) -> Table | None:
    known = [point for point in points if m.FAULT_LATENCY.name in point.quantiles]
    if not known:
        return None
    fields = [VARIANT, samples_field(), *latency_fields()]
    title = "Time of one fault on a page written back there, in µs"
    return build(f"backing-faults-{number}", title, FAULT_INTRO, fields, known, overhead_notes(known))


def _findings(points: Sequence[Point]) -> list[str]:
    # Buffered I/O measures the page cache, not the device: it wins no comparison.
    settled = [p for p in points if p.param("blocks") == OVERWRITTEN and Caveat.buffered_io not in p.caveats]
    if len(settled) < 2:
        return []
    by_rate = sorted(settled, key=lambda point: point.median(m.THROUGHPUT) or 0.0)
    fastest, next_best, slowest = by_rate[-1], by_rate[-2], by_rate[0]
    sure = medians_differ(fastest, next_best, m.THROUGHPUT)
    unsure = "" if sure else f" (no sure difference to {_variant(next_best)})"
    most, least = (with_interval(point, m.THROUGHPUT) for point in (fastest, slowest))
    sentences = [
        f"{_variant(fastest)} was the fastest to write back to with {most}{unsure}, {_variant(slowest)} the "
        f"slowest with {least} (overwritten blocks, direct I/O)."
    ]
    shares = [
        share
        for point in settled
        if (fresh := find(points, variant=point.param("variant"), blocks="fresh"))
        and (share := ratio(fresh, point, m.THROUGHPUT)) is not None
    ]
    if shares:
        low, high = w.number(min(shares), 2), w.number(max(shares), 2)
        span = low if low == high else f"{low} to {high}"
        sentences.append(f"Fresh blocks reached {span} times the throughput of overwritten ones.")
    return sentences


def _plots(number: int, params: Mapping[str, Any], points: Sequence[Point]) -> list[Plot]:
    rates: dict[str, dict[str, Mark]] = {}
    latencies: dict[str, dict[str, Mark]] = {}
    for point in points:
        mark = median_mark(point, m.THROUGHPUT)
        if mark is not None:
            rates.setdefault(_variant(point), {})[f"{_blocks(point)} blocks"] = mark
        for name in ("p50", "p99"):
            mark = latency_mark(point, m.FAULT_LATENCY, name)
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
