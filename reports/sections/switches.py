"""What switching between apps costs, by what triggers writeback and by batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from base.kernel import DEFAULT_BATCH_SIZE
from base.units import NS_PER_MS
from records import courses as c
from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import (
    NO_DIFFERENCE,
    batch_label,
    count_of,
    figure_of,
    mapping_fact,
    ratio_cell,
    shared_words,
    short_of,
    times,
    told,
    turns_field,
    varying_fields,
)
from reports.point import Point, batch_rank, beats_all, decided, group, ratio
from reports.sections import switches_plots
from reports.sections.section import Section, Shows
from reports.stats import pooled_quantiles
from reports.tables import Column, Field, Table, build

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

OFF = "off"
TRIGGERS = (OFF, "idle", "background", "periodic")
KINDS = ("hot", "warm", "cold")
US_PER_S = 1e6
VARIED = ("writeback", "batch_size")

SHOWS: Shows = {
    t.APP_SWITCH: (
        m.SWITCH_LATENCY, m.SWITCH_CONTROL, m.KILLED, m.ALIVE, m.FLASH_WRITTEN, m.WRITE_AMPLIFICATION, m.ZRAM_MEMORY,
        m.ZRAM_MEMORY_MEAN, m.AVAILABLE, m.AVAILABLE_MEAN, m.REFAULTS,
    )
}  # fmt: skip
HOW = "Faint dots: every single switch. All plots of one kind share their scales."
SWITCH_INTRO = (
    "From the first touch of an app to the last page of what it works with (for packages: TotalTime of am), in ms. "
    "Writeback says what triggers it; x off: against no writeback. Hot: the app was still whole in memory. Warm: parts "
    "of it had to be read back. Cold: it had been killed and started anew; median and below the number of switches. "
    "Control: what 512 page faults took beside each switch that need neither zram nor storage."
)
EFFECT_INTRO = (
    "One run per row, so no intervals. Read: pages read back from flash by switches. Amplification: bytes that the "
    "disk wrote over bytes of zram pages written back."
)
MEMORY_INTRO = (
    "zram: memory that it took, mean while apps were switched / most of all. Available: MemAvailable, mean / least. "
    "Some, full: seconds in which at least one task, or all of them, waited for memory (PSI). In, out: pages swapped."
)


def section(analysis: Analysis) -> Section | None:
    """The test of app switches, or None where it was not run."""
    points = analysis.of(t.APP_SWITCH)
    if not points:
        return None
    panels = [sorted(members, key=_rank) for _, members in group(points, VARIED)]
    ordered = [point for members in panels for point in members]
    details = (_effect_table(ordered), _memory_table(ordered), _victim_table(ordered))
    return Section(
        key="app-switches",
        title="Switching between apps",
        how=HOW,
        table=_switch_table(panels),
        findings=[sentence for members in panels for sentence in _findings(members)],
        details=[table for table in details if table],
        draw=lambda: [
            plot
            for number, members in enumerate(panels, start=1)
            for plot in switches_plots.plots(number, members, [p for p in (_off(members), *_chosen(members)) if p])
        ],
    )


def _rank(point: Point) -> tuple[int, str, float]:
    trigger = str(point.param("writeback"))
    return TRIGGERS.index(trigger) if trigger in TRIGGERS else len(TRIGGERS), trigger, batch_rank(point)


def _is_off(point: Point) -> bool:
    return bool(point.param("writeback") == OFF)


def _off(points: Sequence[Point]) -> Point | None:
    return next((point for point in points if _is_off(point)), None)


def _chosen(points: Sequence[Point]) -> list[Point]:
    """One run per trigger: with the kernel's default batch size, or else with the largest."""
    chosen: dict[str, Point] = {}
    for point in points:
        known = chosen.get(str(point.param("writeback")))
        if not _is_off(point) and (known is None or known.param("batch_size") != DEFAULT_BATCH_SIZE):
            chosen[str(point.param("writeback"))] = point
    return list(chosen.values())


def _trigger(point: Point) -> str:
    return w.clean(point.param("writeback"))


def _batch(point: Point) -> str:
    return w.MISSING if _is_off(point) else batch_label(point)


def _title(what: str, points: Sequence[Point]) -> str:
    return f"{what}{shared_words(points, VARIED)}"


def _row_fields(points: Sequence[Point]) -> list[Field[Point]]:
    heads = [Field(Column("writeback", numeric=False), _trigger), Field(Column("batch"), _batch)]
    return [*varying_fields(points, VARIED), *heads]


def _switch_table(panels: Sequence[Sequence[Point]]) -> Table:
    points = [point for members in panels for point in members]
    off_of = {id(point): _off(members) for members in panels for point in members}

    def of_kind(kind: int) -> Field[Point]:
        def cell(point: Point) -> str:
            found = _of_kind(point, kind)
            return f"{w.number(_median(found))}\n({found.size})" if found is not None and found.size else w.MISSING

        return Field(Column(KINDS[kind]), cell)

    fields: list[Field[Point]] = [
        *_row_fields(points),
        Field(Column("switches"), lambda point: str(len(point.values(m.SWITCH_LATENCY)))),
        turns_field(m.SWITCH_LATENCY),
        Field(Column("ms"), figure_of(m.SWITCH_LATENCY)),
        Field(Column("p90"), lambda point: w.number(_p90_of_all(point))),
        Field(Column("x off"), lambda point: ratio_cell(ratio(point, off_of[id(point)], m.SWITCH_LATENCY))),
        Field(Column("control, ms", wrap=8), short_of(m.SWITCH_CONTROL)),
        *map(of_kind, range(len(KINDS))),
    ]
    title = _title("What a switch costs, in ms", points)
    return build("switches-table", title, SWITCH_INTRO, fields, points)


def _effect_table(points: Sequence[Point]) -> Table:
    fields: list[Field[Point]] = [
        *_row_fields(points),
        Field(Column("kills"), count_of(m.KILLED)),
        Field(Column("apps alive at the end", wrap=10), count_of(m.ALIVE)),
        Field(Column("major faults", wrap=7), lambda point: w.count(_sum(point, c.SWITCH_MAJOR_FAULTS))),
        Field(Column("refaults"), count_of(m.REFAULTS)),
        Field(Column("written, MiB", wrap=8), short_of(m.FLASH_WRITTEN)),
        Field(Column("amplif."), short_of(m.WRITE_AMPLIFICATION)),
        Field(Column("read, pages", wrap=7), lambda point: w.count(_sum(point, c.SWITCH_FLASH_PAGES))),
    ]
    return build("switches-effect", _title("Kills and flash", points), EFFECT_INTRO, fields, points)


def _memory_table(points: Sequence[Point]) -> Table:
    def psi(name: str) -> Field[Point]:
        return Field(Column(f"{name}, s"), lambda point: w.number(_waited_s(point, name)))

    def swapped(head: str, name: str) -> Field[Point]:
        def cell(point: Point) -> str:
            value = point.result.facts.get(name)
            return w.count(value) if isinstance(value, int | float) else w.MISSING

        return Field(Column(head), cell)

    def both(head: str, mean: m.Quantity, extreme: m.Quantity) -> Field[Point]:
        def cell(point: Point) -> str:
            return f"{w.number(point.value(mean))} / {w.number(point.value(extreme))}"

        return Field(Column(head, wrap=10), cell)

    fields: list[Field[Point]] = [
        *_row_fields(points),
        both("zram, MiB", m.ZRAM_MEMORY_MEAN, m.ZRAM_MEMORY),
        both("available, MiB", m.AVAILABLE_MEAN, m.AVAILABLE),
        psi("some"),
        psi("full"),
        swapped("in", "pswpin"),
        swapped("out", "pswpout"),
        Field(Column("°C before, after, at most", numeric=False, wrap=16), _temperature),
    ]
    return build("switches-memory", _title("Memory", points), MEMORY_INTRO, fields, points)


def _waited_s(point: Point, name: str) -> float | None:
    """Seconds for which some or all tasks waited for memory."""
    value = mapping_fact(point, "psi_total_us").get(name)
    return value / US_PER_S if isinstance(value, int | float) else None


def _temperature(point: Point) -> str:
    found = mapping_fact(point, "temperature_c")
    values = [found.get(name) for name in ("before", "after", "max")]
    if all(value is None for value in values):
        return w.MISSING
    return ", ".join(w.number(value) if isinstance(value, int | float) else w.MISSING for value in values)


def _victim_table(points: Sequence[Point]) -> Table | None:
    rows = []
    for point in points:
        victims = point.result.facts.get("victims")
        for victim in victims if isinstance(victims, list) else []:
            if isinstance(victim, dict):
                at = victim.get("t_ms")
                when = f"{at / 1000:.1f}" if isinstance(at, int | float) else w.MISSING
                who = (w.clean(victim.get("app")), w.clean(victim.get("reason")))
                rows.append((_trigger(point), _batch(point), when, *who))
    if not rows:
        return None
    heads = (Column("writeback", False), Column("batch"), Column("after s"), Column("app", False, 30))
    title = _title("Who was killed", points)
    return Table("switches-victims", title, "", (*heads, Column("reason", False, 40)), tuple(rows))


def _of_kind(point: Point, kind: int) -> npt.NDArray[np.uint64] | None:
    """Latencies in ns of the hot, warm or cold switches of a run; None where the kinds are not known."""
    latency, kinds = point.array(c.SWITCH_NS), point.array(c.SWITCH_KIND)
    if latency is None or kinds is None or latency.size != kinds.size:
        return None
    chosen: npt.NDArray[np.uint64] = latency[kinds == kind]
    return chosen


def _median(found: npt.NDArray[np.uint64]) -> float:
    import numpy as np

    return float(np.median(found)) / NS_PER_MS


def _p90(found: npt.NDArray[np.uint64]) -> float | None:
    value = pooled_quantiles(found)["p90"].value
    return None if value is None else value / NS_PER_MS


def _p90_of_all(point: Point) -> float | None:
    found = point.array(c.SWITCH_NS)
    return None if found is None else _p90(found)


def _sum(point: Point, row: c.Course) -> float | None:
    found = point.array(row)
    return None if found is None else float(found.sum())


def _findings(points: Sequence[Point]) -> list[str]:
    """The price of a switch by trigger, whether memory was short at all, then what each trigger gained."""
    off, chosen = _off(points), _chosen(points)
    parts = [f"{told(off, m.SWITCH_LATENCY)} without writeback"] if off else []
    parts += [_price(point, off) for point in chosen]
    return [
        f"{'; '.join([*parts, _pressure(points)])}.",
        *(_gain(point, off) for point in ([off] if off else []) + chosen),
        *_best_batches(points),
    ]


def _pressure(points: Sequence[Point]) -> str:
    """PSI decides whether memory was short: available memory alone does not."""
    waited = [value for point in points if (value := _waited_s(point, "some")) is not None]
    if not waited:
        return "memory pressure not known"
    return f"memory pressure for up to {w.number(max(waited), 2)} s" if max(waited) else "no memory pressure (PSI 0)"


def _which(point: Point) -> str:
    batch = point.param("batch_size")
    return f"{_trigger(point)} writeback" + (f", batch {w.clean(batch)}" if batch is not None else "")


def _price(point: Point, off: Point | None) -> str:
    found = ratio(point, off, m.SWITCH_LATENCY)
    says = decided(found)
    if found is None or says is None:
        return f"{told(point, m.SWITCH_LATENCY)} with {_which(point)}"
    return f"with {_which(point)} {times(found) if says else f'{NO_DIFFERENCE}, {times(found)}'}"


def _gain(point: Point, off: Point | None) -> str:
    parts = [f"With {_which(point)}: {_kills(point)}" if point is not off else f"Without writeback: {_kills(point)}"]
    mine, other = (p.value(m.ZRAM_MEMORY_MEAN) if p else None for p in (point, off))
    if mine is not None and other is not None and point is not off:
        parts.append(f"zram {w.number(mine)} MiB on average against {w.number(other)} without writeback")
    written, read = point.value(m.FLASH_WRITTEN), _sum(point, c.SWITCH_FLASH_PAGES)
    if written is not None:
        back = f", {w.count(read)} pages read back" if read is not None else ""
        parts.append(f"{w.number(written)} MiB written{back}")
    return "; ".join(parts) + "."


def _kills(point: Point) -> str:
    kills = point.value(m.KILLED)
    if not kills:
        return "kills unknown" if kills is None else "no kill"
    return f"{w.count(kills)} kill{'' if kills == 1 else 's'}"


def _best_batches(points: Sequence[Point]) -> list[str]:
    """At which batch size it hurts least, per trigger, if that can be told at all."""
    told_so = []
    for trigger in dict.fromkeys(_trigger(point) for point in points if not _is_off(point)):
        members = [p for p in points if _trigger(p) == trigger and p.value(m.SWITCH_LATENCY) is not None]
        if len(members) > 1:
            best = min(members, key=lambda p: p.value(m.SWITCH_LATENCY) or 0.0)
            if beats_all(best, members, m.SWITCH_LATENCY):
                told_so.append(f"With {trigger} writeback, batch {batch_label(best)} hurt least.")
    return told_so
