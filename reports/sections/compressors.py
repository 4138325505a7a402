"""Every compressor that the kernel offers: how much it saves, what writing back costs, what a fault costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from records import metrics as m
from records import tests as t
from records.model import Caveat
from reports import wording as w
from reports.analysis import Analysis, Point, find, group
from reports.cells import (
    COSTS,
    cost_fields,
    interval_note,
    latency_fields,
    latency_mark,
    median_mark,
    medians_differ,
    microseconds,
    overhead_notes,
    quantiles_differ,
    rate_fields,
    samples_field,
    slot_label,
    with_interval,
    word_of,
)
from reports.plots import Mark, Plot, Series, dot_plot
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build, build_for_mail, everywhere, mail_only

RATE_SERIES = (Series("written back decompressed", 0), Series("written back compressed", 1, hollow=True))
FAULT_SERIES = (Series("page in RAM", 0), Series("page in storage", 1))

SHOWS: Shows = {t.COMPRESSOR: (m.THROUGHPUT, *COSTS, m.RATIO), t.COMPRESSOR_FAULTS: ()}
HOW = (
    "Compressed writeback (compressed_writeback) writes a page as zram keeps it and decompresses it when it comes "
    "back. Bars: where the true value lies. x behind a name: how much smaller its pages got."
)
INTRO = (
    "Ratio: bytes of the pages over bytes after compression. All other figures are medians; real, user and sys are of "
    "one write to the writeback attribute. "
)
FAULT_INTRO = (
    "A page in RAM is decompressed; one in storage is read back first, and decompressed where it was written back "
    "compressed. p99: 99 of 100 faults took at most this long. In brackets: where the true value lies (95 %)."
)


@dataclass(frozen=True, slots=True)
class Setting:
    """A compressor with one kind of writeback: its writeback and its faults, as far as they were measured."""

    name: str
    compressed: Any
    writeback: Point | None
    ram: Point | None
    storage: Point | None

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """Those of all its parts."""
        parts = (self.writeback, self.ram, self.storage)
        return tuple(dict.fromkeys(caveat for part in parts if part for caveat in part.caveats))


def section(analysis: Analysis) -> Section | None:
    """The comparison of compressors, or None where it was not run."""
    writebacks, faults = analysis.of(t.COMPRESSOR), analysis.of(t.COMPRESSOR_FAULTS)
    if not writebacks and not faults:
        return None
    varied = ("comp_algorithm", "compressed_writeback")
    panels = [(params, _settings(members, faults)) for params, members in group(writebacks, without=varied)]
    panels = panels or [({}, _settings([], faults))]
    return Section(
        key="compressors",
        title="Compressors",
        how=HOW,
        measured="compressors",
        tables=_tables(panels, faults),
        findings=[sentence for _, settings in panels for sentence in _findings(settings)],
        mail=lambda doubts: [
            build_for_mail(_mail_title(params), FIELDS, settings, doubts) for params, settings in panels
        ],
        draw=lambda: [
            each for number, (_, settings) in enumerate(panels, start=1) for each in _plots(number, settings)
        ],
    )


def _tables(panels: Sequence[tuple[Mapping[str, Any], Sequence[Setting]]], faults: Sequence[Point]) -> list[Table]:
    made = [
        _table(number, params, settings)
        for number, (params, settings) in enumerate(panels, start=1)
        if any(setting.writeback for setting in settings)
    ]
    table = _fault_table(faults)
    return [*made, table] if table else made


def _settings(writebacks: Sequence[Point], faults: Sequence[Point]) -> list[Setting]:
    """Parts that belong together, the compressors in the order of measurement."""
    keys = dict.fromkeys(
        (w.clean(point.param("comp_algorithm")), point.param("compressed_writeback"))
        for point in (*writebacks, *faults)
    )
    names = list(dict.fromkeys(name for name, _ in keys))

    def setting(name: str, compressed: Any) -> Setting:
        chosen = {"comp_algorithm": name, "compressed_writeback": compressed}
        return Setting(
            name,
            compressed,
            find(writebacks, **chosen),
            find(faults, slot="ram", **chosen),
            find(faults, slot="written_back", **chosen),
        )

    return [setting(*key) for key in sorted(keys, key=lambda key: (names.index(key[0]), bool(key[1])))]


def _compressed(setting: Setting) -> str:
    return w.param("compressed_writeback", setting.compressed)


def _ratio(setting: Setting) -> float | None:
    return setting.writeback.median(m.RATIO) if setting.writeback else None


def _of_writeback(field: Field[Point]) -> Field[Setting]:
    """A column of the writeback, empty for a compressor whose faults alone were measured."""
    return Field(
        field.column, lambda setting: field.cell(setting.writeback) if setting.writeback else w.MISSING, field.mail
    )


def _fault(point: Point | None) -> str:
    return w.number(microseconds(point, "p50")) if point else w.MISSING


FIELDS: list[Field[Setting]] = [
    everywhere(Column("compressor", numeric=False, wrap=12), lambda setting: setting.name),
    Field(Column("compressed writeback", numeric=False, wrap=10), _compressed, Column("c.wb.", numeric=False)),
    everywhere(Column("ratio"), lambda setting: w.number(_ratio(setting))),
    *map(_of_writeback, (*rate_fields(repeats_in_mail=False), *cost_fields())),
    mail_only(Column("RAM us"), lambda setting: _fault(setting.ram)),
    mail_only(Column("storage us"), lambda setting: _fault(setting.storage)),
]


def _table(number: int, params: Mapping[str, Any], settings: Sequence[Setting]) -> Table:
    intro = INTRO + interval_note(s.writeback.summary(m.THROUGHPUT) if s.writeback else None for s in settings)
    title = f"Writeback by compressor: {w.params(params)}"
    return build(f"compressors-{number}", title, intro, FIELDS, [s for s in settings if s.writeback])


def _fault_table(points: Sequence[Point]) -> Table | None:
    if not points:
        return None
    fields: list[Field[Point]] = [
        Field(Column("compressor", numeric=False), word_of("comp_algorithm")),
        Field(Column("compr. wb.", numeric=False, wrap=6), word_of("compressed_writeback")),
        Field(Column("page in", numeric=False), slot_label),
        samples_field(),
        *latency_fields(),
    ]
    title = "Time of one page fault by compressor, in µs"
    return build("compressors-faults", title, FAULT_INTRO, fields, points, overhead_notes(points))


def _mail_title(params: Mapping[str, Any]) -> str:
    what = f" ({w.params(params)})" if params else ""
    return f"Compressors (c.wb.: compressed writeback; us: p50 of a fault){what}"


def _findings(settings: Sequence[Setting]) -> list[str]:
    told = [*_best_ratio(settings), *_best_rate(settings), *_best_fault(settings)]
    return [f"{'; '.join(told)}."] if told else []


def _best_ratio(settings: Sequence[Setting]) -> list[str]:
    ratios = {setting.name: ratio for setting in settings if (ratio := _ratio(setting)) is not None}
    if len(ratios) < 2:
        return []
    best, worst = max(ratios, key=ratios.__getitem__), min(ratios, key=ratios.__getitem__)
    return [f"{best} compressed best ({w.number(ratios[best])} x), {worst} least ({w.number(ratios[worst])} x)"]


def _best_rate(settings: Sequence[Setting]) -> list[str]:
    known = [(s, s.writeback) for s in settings if s.writeback and s.writeback.median(m.THROUGHPUT) is not None]
    if len(known) < 2:
        return []
    ranked = sorted(known, key=lambda each: each[1].median(m.THROUGHPUT) or 0.0, reverse=True)
    (fastest, point), (second, other) = ranked[:2]
    sure = "" if medians_differ(point, other, m.THROUGHPUT) else f", no sure difference to {_in_full(second)}"
    return [f"{_in_full(fastest)} wrote back fastest ({with_interval(point, m.THROUGHPUT)}{sure})"]


def _best_fault(settings: Sequence[Setting]) -> list[str]:
    known = [(s, s.ram) for s in settings if s.ram and microseconds(s.ram, "p50") is not None]
    ranked = sorted(known, key=lambda each: microseconds(each[1], "p50") or 0.0)
    (best, point) = ranked[0] if ranked else (None, None)
    others = [(s, ram) for s, ram in ranked if best and s.name != best.name]
    if best is None or point is None or not others:
        return []
    second, other = others[0]
    sure = "" if quantiles_differ(point, other, "p50") else f", no sure difference to {second.name}"
    return [f"{best.name} had the fastest fault from RAM ({w.number(microseconds(point, 'p50'))} µs{sure})"]


def _in_full(setting: Setting) -> str:
    kinds = {True: " with compressed writeback", False: " without compressed writeback"}
    return setting.name + kinds.get(setting.compressed, "")


def _plots(number: int, settings: Sequence[Setting]) -> list[Plot]:
    rates: dict[str, dict[str, Mark]] = {}
    faults: dict[str, dict[str, Mark]] = {}
    for setting in settings:
        ratio = _ratio(setting)
        name = setting.name + (f" ({w.number(ratio)} x)" if ratio is not None else "")
        mark = median_mark(setting.writeback, m.THROUGHPUT) if setting.writeback else None
        if mark is not None:
            rates.setdefault(name, {})[RATE_SERIES[bool(setting.compressed)].name] = mark
        label = setting.name + (",\ncompressed" if setting.compressed else "")
        for series, point in zip(FAULT_SERIES, (setting.ram, setting.storage), strict=True):
            mark = latency_mark(point, m.FAULT_LATENCY, "p50") if point else None
            if mark is not None:
                faults.setdefault(label, {})[series.name] = mark
    plots = []
    if rates:
        caption = f"Writeback throughput in MiB/s by compressor: {_in_words(rates)}"
        used = [series for series in RATE_SERIES if any(series.name in marks for marks in rates.values())]
        plots.append(
            dot_plot(f"compressors-plot-{number}", caption, "Writeback throughput", "MiB/s, to the right is better",
                     used, rates)
        )  # fmt: skip
    if faults:
        caption = f"µs per fault at the median, by compressor: {_in_words(faults)}"
        plots.append(
            dot_plot(f"compressors-faults-plot-{number}", caption, "Median page fault",
                     "µs per fault, to the left is better", FAULT_SERIES, faults, log=True)
        )  # fmt: skip
    return plots


def _in_words(rows: Mapping[str, Mapping[str, Mark]]) -> str:
    return "; ".join(
        f"{' '.join(label.split())}: " + ", ".join(f"{name} {w.number(mark[0])}" for name, mark in marks.items())
        for label, marks in rows.items()
    )
