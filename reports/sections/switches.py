"""What switching between apps costs under memory pressure, by what triggers writeback and by batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from base.kernel import DEFAULT_BATCH_SIZE
from base.units import NS_PER_MS
from records import courses as c
from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis, Point, batch_rank, group
from reports.cells import (
    batch_label,
    count_of,
    interval_of,
    mapping_fact,
    median_of,
    medians_differ,
    repeats_of,
    with_interval,
)
from reports.sections import switches_plots
from reports.sections.section import Section, Shows
from reports.stats import quantiles
from reports.tables import Column, Doubts, Field, Table, build, build_for_mail, everywhere, mail_only

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

OFF = "off"
TRIGGERS = (OFF, "idle", "background", "periodic")
KINDS = ("hot", "warm", "cold")
US_PER_S = 1e6
MAIL_LATENCY = "Latency of app switches"
MAIL_EFFECT = "App switches (written, mean zram and least available in MiB, read in pages)"

SHOWS: Shows = {
    t.APP_SWITCH: (
        m.SWITCH_LATENCY, m.SWITCH_CONTROL, m.KILLED, m.ALIVE, m.FLASH_WRITTEN, m.WRITE_AMPLIFICATION, m.ZRAM_MEMORY,
        m.ZRAM_MEMORY_MEAN, m.AVAILABLE, m.AVAILABLE_MEAN, m.REFAULTS,
    )
}  # fmt: skip
HOW = (
    "Somebody switches between apps; how short memory was meanwhile stands below. Hot: the app was still whole in "
    "memory. Warm: parts of it had to be read back. Cold: it had been killed and started anew. Faint dots: every "
    "single switch. All plots of one kind share their scales."
)
SWITCH_INTRO = (
    "From the first touch of an app to the last page of what it works with (for packages: TotalTime of am). "
    "Writeback says what triggers it. ms: median; x off: against no writeback. Hot, warm, cold: median / p90 and "
    "below the number of switches. ~: no sure difference, the intervals overlap. Control: what 512 page faults took "
    "beside each switch that need neither zram nor storage; where it differs, the phone itself was not equally fast."
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
    panels = [(params, sorted(members, key=_rank)) for params, members in group(points, ("writeback", "batch_size"))]
    tables = []
    for number, (params, members) in enumerate(panels, start=1):
        made = (
            _switch_table(number, params, members),
            _effect_table(number, params, members),
            _memory_table(number, params, members),
            _victim_table(number, params, members),
        )
        tables += [table for table in made if table]

    def mail(doubts: Doubts) -> list[Table]:
        return [
            build_for_mail(_title(what, params), fields, members, doubts)
            for params, members in panels
            for what, fields in ((MAIL_LATENCY, _switch_fields(members)), (MAIL_EFFECT, EFFECT_FIELDS))
        ]

    return Section(
        key="app-switches",
        title="Switching between apps",
        how=HOW,
        measured="app switches under memory pressure",
        tables=tables,
        findings=[sentence for _, members in panels for sentence in _findings(members)],
        mail=mail,
        draw=lambda: [
            plot
            for number, (_, members) in enumerate(panels, start=1)
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


def _title(what: str, params: Mapping[str, Any]) -> str:
    apps = [w.clean(params[key]) for key in ("apps", "kind") if key in params]
    known = [f"{' '.join(apps)} apps" if "kind" in params else f"{apps[0]} apps"] if apps else []
    known += [f"pattern {w.clean(params['pattern'])}"] if "pattern" in params else []
    rest = w.params(params, without=("kind", "apps", "pattern"))
    where = ", ".join([*known, *([rest] if rest else [])])
    return f"{what}: {where}" if where else what


ROW_FIELDS: list[Field[Point]] = [
    everywhere(Column("writeback", numeric=False), _trigger),
    everywhere(Column("batch"), _batch),
]
EFFECT_FIELDS: list[Field[Point]] = [
    *ROW_FIELDS,
    everywhere(Column("kills"), count_of(m.KILLED)),
    Field(Column("apps alive at the end", wrap=10), count_of(m.ALIVE), Column("alive")),
    Field(Column("major faults", wrap=7), lambda point: w.count(_sum(point, c.SWITCH_MAJOR_FAULTS))),
    Field(Column("refaults"), count_of(m.REFAULTS)),
    Field(Column("written, MiB", wrap=8), median_of(m.FLASH_WRITTEN), Column("written")),
    everywhere(Column("amplif."), median_of(m.WRITE_AMPLIFICATION)),
    Field(Column("read, pages", wrap=7), lambda point: w.count(_sum(point, c.SWITCH_FLASH_PAGES)), Column("read")),
    mail_only(Column("zram"), median_of(m.ZRAM_MEMORY_MEAN)),
    mail_only(Column("avail."), median_of(m.AVAILABLE)),
]


def _switch_fields(points: Sequence[Point]) -> list[Field[Point]]:
    def of_kind(kind: int) -> Field[Point]:
        def short(point: Point) -> str:
            found = _of_kind(point, kind)
            return w.number(_median(found)) if found is not None and found.size else w.MISSING

        def cell(point: Point) -> str:
            found = _of_kind(point, kind)
            if found is None or not found.size:
                return w.MISSING
            slow = _p90(found)
            return w.number(_median(found)) + (f" / {w.number(slow)}" if slow is not None else "") + f"\n({found.size})"

        return everywhere(Column(KINDS[kind]), cell, short)

    return [
        *ROW_FIELDS,
        everywhere(Column("n"), repeats_of(m.SWITCH_LATENCY)),
        everywhere(Column("ms"), median_of(m.SWITCH_LATENCY)),
        everywhere(Column("interval"), interval_of(m.SWITCH_LATENCY)),
        everywhere(Column("p90"), lambda point: w.number(_p90_of_all(point))),
        everywhere(Column("x off"), lambda point: _against_off_cell(points, point)),
        Field(Column("control, ms", wrap=8), median_of(m.SWITCH_CONTROL)),
        *map(of_kind, range(len(KINDS))),
    ]


def _switch_table(number: int, params: Mapping[str, Any], points: Sequence[Point]) -> Table:
    title = _title("What a switch costs, in ms", params)
    return build(f"switches-{number}", title, SWITCH_INTRO, _switch_fields(points), points)


def _effect_table(number: int, params: Mapping[str, Any], points: Sequence[Point]) -> Table:
    return build(f"switches-effect-{number}", _title("Kills and flash", params), EFFECT_INTRO, EFFECT_FIELDS, points)


def _memory_table(number: int, params: Mapping[str, Any], points: Sequence[Point]) -> Table:
    def psi(name: str) -> Field[Point]:
        def cell(point: Point) -> str:
            value = mapping_fact(point, "psi_total_us").get(name)
            return w.number(value / US_PER_S) if isinstance(value, int | float) else w.MISSING

        return Field(Column(f"{name}, s"), cell)

    def swapped(head: str, name: str) -> Field[Point]:
        def cell(point: Point) -> str:
            value = point.result.facts.get(name)
            return w.count(value) if isinstance(value, int | float) else w.MISSING

        return Field(Column(head), cell)

    def both(head: str, mean: m.Quantity, extreme: m.Quantity) -> Field[Point]:
        def cell(point: Point) -> str:
            return f"{w.number(point.median(mean))} / {w.number(point.median(extreme))}"

        return Field(Column(head, wrap=10), cell)

    fields: list[Field[Point]] = [
        *ROW_FIELDS,
        both("zram, MiB", m.ZRAM_MEMORY_MEAN, m.ZRAM_MEMORY),
        both("available, MiB", m.AVAILABLE_MEAN, m.AVAILABLE),
        psi("some"),
        psi("full"),
        swapped("in", "pswpin"),
        swapped("out", "pswpout"),
        Field(Column("°C before, after, at most", numeric=False, wrap=16), _temperature),
    ]
    return build(f"switches-memory-{number}", _title("Memory", params), MEMORY_INTRO, fields, points)


def _temperature(point: Point) -> str:
    found = mapping_fact(point, "temperature_c")
    values = [found.get(name) for name in ("before", "after", "max")]
    if all(value is None for value in values):
        return w.MISSING
    return ", ".join(w.number(value) if isinstance(value, int | float) else w.MISSING for value in values)


def _victim_table(number: int, params: Mapping[str, Any], points: Sequence[Point]) -> Table | None:
    rows = []
    for point in points:
        victims = point.result.facts.get("victims")
        for victim in victims if isinstance(victims, list) else []:
            if isinstance(victim, dict):
                at = victim.get("t_ms")
                when = f"{at / 1000:.1f}" if isinstance(at, int | float) else w.MISSING
                told = (w.clean(victim.get("app")), w.clean(victim.get("reason")))
                rows.append((_trigger(point), _batch(point), when, *told))
    if not rows:
        return None
    heads = (Column("writeback", False), Column("batch"), Column("after s"), Column("app", False, 30))
    title = _title("Who was killed", params)
    return Table(f"switches-victims-{number}", title, "", (*heads, Column("reason", False, 40)), tuple(rows))


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
    value = next(q.value for q in quantiles(found) if q.name == "p90")
    return None if value is None else value / NS_PER_MS


def _p90_of_all(point: Point) -> float | None:
    found = point.array(c.SWITCH_NS)
    return None if found is None else _p90(found)


def _sum(point: Point, row: c.Course) -> float | None:
    found = point.array(row)
    return None if found is None else float(found.sum())


def _against_off(points: Sequence[Point], point: Point) -> float | None:
    off = _off(points)
    mine, other = point.median(m.SWITCH_LATENCY), off.median(m.SWITCH_LATENCY) if off else None
    return None if point is off or mine is None or not other else mine / other


def _against_off_cell(points: Sequence[Point], point: Point) -> str:
    factor = _against_off(points, point)
    return (
        ("" if medians_differ(point, _off(points), m.SWITCH_LATENCY) else "~") + w.number(factor)
        if factor is not None
        else w.MISSING
    )


def _findings(points: Sequence[Point]) -> list[str]:
    off, chosen = _off(points), _chosen(points)
    sentences = []
    if off is not None:
        ms = with_interval(off, m.SWITCH_LATENCY)
        sentences.append(f"Without writeback a switch between apps took {ms} at the median, {_kills(off)}.")
    sentences += [_sentence(points, point, off) for point in chosen]
    return [*sentences, *_best_batches(points)]


def _sentence(points: Sequence[Point], point: Point, off: Point | None) -> str:
    batch = point.param("batch_size")
    which = f"{_trigger(point)} writeback" + (f", batch {w.clean(batch)}," if batch is not None else "")
    factor = _against_off(points, point)
    sure = "" if medians_differ(point, off, m.SWITCH_LATENCY) else ", no sure difference"
    against = f" ({w.number(factor, 2)} times{sure})" if factor is not None else ""
    parts = [f"With {which} it took {with_interval(point, m.SWITCH_LATENCY)}{against}, {_kills(point)}"]
    mine, other = point.median(m.ZRAM_MEMORY_MEAN), off.median(m.ZRAM_MEMORY_MEAN) if off else None
    if mine is not None and other is not None:
        parts.append(f"zram took {w.number(abs(other - mine))} MiB {'less' if mine <= other else 'more'} on average")
    written, read = point.median(m.FLASH_WRITTEN), _sum(point, c.SWITCH_FLASH_PAGES)
    if written is not None:
        back = f" and {w.count(read)} pages read back" if read is not None else ""
        parts.append(f"the price was {w.number(written)} MiB written{back}")
    return "; ".join(parts) + "."


def _kills(point: Point) -> str:
    kills = point.median(m.KILLED)
    if not kills:
        return "kills unknown" if kills is None else "no kill"
    return f"{w.count(kills)} kill{'' if kills == 1 else 's'}"


def _best_batches(points: Sequence[Point]) -> list[str]:
    """At which batch size it hurts least, per trigger, if that can be told at all."""
    told, unsure = [], []
    for trigger in dict.fromkeys(_trigger(point) for point in points if not _is_off(point)):
        members = [p for p in points if _trigger(p) == trigger]
        known = sorted(members, key=lambda p: p.median(m.SWITCH_LATENCY) or 0.0)
        if len(known) > 1 and medians_differ(known[0], known[1], m.SWITCH_LATENCY):
            told.append(f"With {trigger} writeback, batch {batch_label(known[0])} hurt least.")
        elif len(known) > 1:
            unsure.append(trigger)
    if unsure:
        told.append(f"Which batch size hurts least cannot be told for {w.listing(unsure)} writeback.")
    return told
