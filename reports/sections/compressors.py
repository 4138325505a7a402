"""Every compressor that the kernel offers: how much it saves, what writing back costs, what a fault costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    mark_of,
    overhead_notes,
    rate_field,
    shared_words,
    told,
    turns_field,
    varying_fields,
)
from reports.plots import Mark, Plot, Series, dot_plot
from reports.point import Point, beats_all, decided, find, group, ratio
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build

VARIED = ("comp_algorithm", "compressed_writeback")
RATE_SERIES = (Series("written back decompressed", 0), Series("written back compressed", 1, hollow=True))
FAULT_SERIES = (Series("page in RAM", 0), Series("page in storage", 1))

SHOWS: Shows = {t.COMPRESSOR: (m.THROUGHPUT, *COSTS, m.RATIO), t.COMPRESSOR_FAULTS: ()}
HOW = "x behind a name: how much smaller the pages got."
INTRO = (
    "Compressed writeback (compressed_writeback) writes a page as zram keeps it and decompresses it when it comes "
    "back. Faults: p50 in µs."
)
MADE = (
    "The pages are made by the probe: their ratios, and what it costs to compress and decompress them, are not those "
    "of an app's memory. "
)
LIKE_MEMORY = frozenset({"memory", "mixed", "system_files", "own"})
"""kinds of pages on which compressors differ as they do on an app's memory (docs/decisions.md)"""


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
    panels = [_settings(members, faults) for _, members in group(writebacks, without=VARIED)]
    panels = panels or [_settings([], faults)]
    return Section(
        key="compressors",
        title="Compressors",
        how=HOW,
        table=_table(panels, faults),
        findings=_findings(panels[0]),
        draw=lambda: [each for number, settings in enumerate(panels, start=1) for each in _plots(number, settings)],
    )


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
    return setting.writeback.value(m.RATIO) if setting.writeback else None


def _of(part: Callable[[Setting], Point | None], field: Field[Point]) -> Field[Setting]:
    """A column of one part, empty where that was not measured."""

    def cell(setting: Setting) -> str:
        point = part(setting)
        return field.cell(point) if point else w.MISSING

    return Field(field.column, cell)


def _writeback(setting: Setting) -> Point | None:
    return setting.writeback


def _table(panels: Sequence[Sequence[Setting]], faults: Sequence[Point]) -> Table:
    settings = [setting for panel in panels for setting in panel]
    writebacks = [setting.writeback for setting in settings if setting.writeback]
    p50 = figure_of(m.FAULT_LATENCY, "p50")
    fields: list[Field[Setting]] = [
        *(_of(_writeback, field) for field in varying_fields(writebacks, VARIED)),
        Field(Column("compressor", numeric=False, wrap=12), lambda setting: setting.name),
        Field(Column("compressed writeback", numeric=False, wrap=10), _compressed),
        Field(Column("ratio"), lambda setting: w.number(_ratio(setting))),
        *(_of(_writeback, field) for field in (rate_field(), turns_field(m.THROUGHPUT), *cost_fields())),
        _of(lambda setting: setting.ram, Field(Column("fault RAM", wrap=6), p50)),
        _of(lambda setting: setting.storage, Field(Column("fault storage", wrap=7), p50)),
    ]
    title = f"Writeback and faults by compressor{shared_words(writebacks, VARIED) if writebacks else ''}"
    intro = INTRO if settings and all(map(_like_memory, settings)) else MADE + INTRO
    return build("compressors-table", title, intro, fields, settings, overhead_notes(faults))


def _findings(settings: Sequence[Setting]) -> list[str]:
    told_so = [*_ratios(settings), *_best_rate(settings), *_best_fault(settings)]
    return [f"{'; '.join(told_so)}."] if told_so else []


def _like_memory(setting: Setting) -> bool:
    point = setting.writeback or setting.ram or setting.storage
    return point is not None and point.param("pages") in LIKE_MEMORY


def _ratios(settings: Sequence[Setting]) -> list[str]:
    """Those of pages like memory; a ratio is the same in every turn."""
    known = {s.name: found for s in settings if _like_memory(s) and (found := _ratio(s)) is not None}
    if len(known) < 2:
        return []
    names = sorted(known, key=lambda name: -known[name])
    return [f"compression ratio: {', '.join(f'{name} {w.number(known[name])}' for name in names)}"]


def _best_rate(settings: Sequence[Setting]) -> list[str]:
    known = [(s, s.writeback) for s in settings if s.writeback and s.writeback.value(m.THROUGHPUT) is not None]
    if len(known) < 2:
        return []
    best, point = max(known, key=lambda each: each[1].value(m.THROUGHPUT) or 0.0)
    others = [other for setting, other in known if setting is not best]
    if beats_all(point, others, m.THROUGHPUT):
        return [f"{_in_full(best)} wrote back fastest, {told(point, m.THROUGHPUT)}"]
    unsure = any(decided(ratio(point, other, m.THROUGHPUT)) == 0 for other in others)
    return [f"which writes back fastest: {NO_DIFFERENCE}"] if unsure else []


def _best_fault(settings: Sequence[Setting]) -> list[str]:
    """Which compressor has the fastest fault from RAM; its two kinds of writeback are one there."""
    known: dict[str, Point] = {}
    for setting in settings:
        if setting.ram and setting.ram.value(m.FAULT_LATENCY, "p50") is not None:
            known.setdefault(setting.name, setting.ram)
    if len(known) < 2:
        return []
    best = min(known, key=lambda name: known[name].value(m.FAULT_LATENCY, "p50") or 0.0)
    others = [point for name, point in known.items() if name != best]
    if beats_all(known[best], others, m.FAULT_LATENCY, "p50"):
        return [f"{best} had the fastest fault from RAM, {told(known[best], m.FAULT_LATENCY, 'p50')}"]
    unsure = any(decided(ratio(known[best], other, m.FAULT_LATENCY, "p50")) == 0 for other in others)
    return [f"which faults fastest from RAM: {NO_DIFFERENCE}"] if unsure else []


def _in_full(setting: Setting) -> str:
    kinds = {True: " with compressed writeback", False: " without compressed writeback"}
    return setting.name + kinds.get(setting.compressed, "")


def _plots(number: int, settings: Sequence[Setting]) -> list[Plot]:
    rates: dict[str, dict[str, Mark]] = {}
    faults: dict[str, dict[str, Mark]] = {}
    for setting in settings:
        ratio = _ratio(setting)
        name = setting.name + (f" ({w.number(ratio)} x)" if ratio is not None else "")
        mark = mark_of(setting.writeback, m.THROUGHPUT) if setting.writeback else None
        if mark is not None:
            rates.setdefault(name, {})[RATE_SERIES[bool(setting.compressed)].name] = mark
        label = setting.name + (",\ncompressed" if setting.compressed else "")
        for series, point in zip(FAULT_SERIES, (setting.ram, setting.storage), strict=True):
            mark = mark_of(point, m.FAULT_LATENCY, "p50") if point else None
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
