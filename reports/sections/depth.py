"""How many writes are really in flight, at the loop device and at the disk below it, by batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from base.kernel import DEFAULT_BATCH_SIZE
from records import metrics as m
from records import tests as t
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import (
    batch_label,
    case_field,
    figure_cell,
    figure_of,
    mapping_fact,
    shared_words,
    short_cell,
    spoilt,
    times,
    turns_field,
    varying_fields,
)
from reports.plots import INCHES, Plot, plot
from reports.point import Point, batch_rank, find, group, ratio
from reports.sections.depth_requests import LAYER_WORDS, layer_label, requests_table, steps_table
from reports.sections.section import Section, Shows
from reports.tables import Column, Field, Table, build

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VARIED = ("batch_size", "layer")
LAYERS = ("loop", "disk")
# Depths that are told together: every doubling takes the same room.
BUCKETS = ((0, 0), (1, 1), (2, 4), (5, 8), (9, 16), (17, 32), (33, 64), (65, 1 << 62))

SHOWS: Shows = {
    t.DEPTH: (
        m.IN_FLIGHT_MEAN, m.IN_FLIGHT_MAX, m.IN_FLIGHT_PAGES, m.IDLE, m.MERGED, m.THROUGHPUT, m.UNTRACED, m.TRACE_COST
    )
}  # fmt: skip
HOW = (
    "Batching helps only if requests really wait at the storage together. Each bar is the time of the writebacks at "
    "one batch size, divided by how many writes were in flight: the darker, the more. Left as zram's loop device saw "
    "it, right as the disk below it did."
)
INTRO = (
    "Writes that were issued and not yet complete, counted from outside the driver. Limit: the smallest of those "
    "beside it, to which the max is compared. W: asynchronous writes. WS: writes marked synchronous."
)
TIME_INTRO = (
    "How the time of the writebacks divides up by the number of writes in flight, in %. 0: nothing to do for it."
)
COST_INTRO = (
    "The same writeback with the trace of block events on and off. The depth was measured with it on; all other "
    "throughput in this report was measured with it off."
)


def section(analysis: Analysis) -> Section | None:
    """The test of depth, or None where it was not run."""
    points = analysis.of(t.DEPTH)
    if not points:
        return None
    panels = [(params, sorted(members, key=_rank)) for params, members in group(points, VARIED)]
    ordered = [point for _, members in panels for point in members]
    return Section(
        key="depth",
        title="Writes in flight",
        how=HOW,
        table=_table(ordered, _queue(analysis)),
        findings=[*_findings(_main(panels)), *_other_pages(panels)],
        details=[
            table
            for table in (_time_table(ordered), requests_table(ordered), steps_table(ordered), _cost_table(ordered))
            if table
        ],
        draw=lambda: [
            _plot(params, members, f"depth-plot-{number}")
            for number, (params, members) in enumerate(panels, start=1)
            if any(_shares(point) for point in members)
        ],
    )


def batches(analysis: Analysis) -> list[Point]:
    """Return what was in flight at the disk, batch sizes ascending."""
    panels = group(analysis.of(t.DEPTH), VARIED)
    return sorted((p for p in _main(panels) if p.param("layer") == "disk"), key=_rank) if panels else []


def headline(analysis: Analysis) -> Point | None:
    """Return the disk's depth at the kernel's own batch size, or at the largest that was measured."""
    points = batches(analysis)
    return _at_default(points) if points else None


def _main(panels: Sequence[tuple[Mapping[str, Any], Sequence[Point]]]) -> Sequence[Point]:
    """The points that stand for all: those measured at most batch sizes; of several the last."""
    most = max(len(members) for _, members in panels)
    return [members for _, members in panels if len(members) == most][-1]


def _rank(point: Point) -> tuple[float, int]:
    layer = point.param("layer")
    return batch_rank(point), LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def _path(point: Point) -> str:
    """Which code path the requests' flags prove. The disk's requests are the loop driver's own: theirs prove none."""
    counted = ", ".join(f"{w.clean(n)} {w.clean(flag)}" for flag, n in mapping_fact(point, "flags").items() if n)
    sync = point.result.facts.get("sync")
    if sync is None or point.param("layer") != "loop":
        return counted or w.MISSING
    words = "synchronous: one page at a time" if sync else "asynchronous: the batched path"
    return f"{words} ({counted})" if counted else words


def _limits(point: Point) -> str:
    limits = mapping_fact(point, "expected_from")
    return ", ".join(f"{w.clean(name)} {w.clean(value)}" for name, value in limits.items()) or w.MISSING


def _number_fact(point: Point, name: str) -> float | None:
    value = point.result.facts.get(name)
    return float(value) if isinstance(value, int | float) else None


def _deepest(point: Point) -> float | None:
    """The most that were in flight at once, over all repeats."""
    return max(point.values(m.IN_FLIGHT_MAX), default=None)


def _verdict(point: Point) -> str:
    return w.clean(point.result.facts["verdict"]) if point.result.facts.get("verdict") else w.MISSING


BATCH, LAYER = Column("batch"), Column("at the", numeric=False)
FIELDS: list[Field[Point]] = [
    Field(BATCH, batch_label),
    # The word alone: the table has no room for more.
    Field(LAYER, lambda point: layer_label(point).removesuffix(" device")),
    Field(Column("mean"), lambda point: figure_cell(point, m.IN_FLIGHT_MEAN)),
    turns_field(m.IN_FLIGHT_MEAN),
    Field(Column("max"), lambda point: w.count(_deepest(point))),
    Field(Column("limit"), lambda point: w.count(_number_fact(point, "expected_max"))),
    Field(Column("smallest of", numeric=False, wrap=14), _limits),
    Field(Column("max is", numeric=False, wrap=11), _verdict),
    Field(Column("writes seen", numeric=False, wrap=18), _path),
]


def _table(points: Sequence[Point], queue: Sequence[str]) -> Table:
    title = f"Writes in flight by batch size{shared_words(points, VARIED)}"
    fields = [*case_field(points, VARIED), *FIELDS]
    return build("depth-table", title, INTRO, fields, points, [*_how_measured(points), *queue, *_kept(points)])


def _kept(points: Sequence[Point]) -> list[str]:
    """Where the events are that the depth comes from."""
    found = [p.result.facts.get("events") for p in points]
    kept = {file for files in found if isinstance(files, list) for file in files if isinstance(file, str)}
    left_out = sum(_number_fact(p, "events_left_out") or 0 for p in points if p.param("layer") == LAYERS[0])
    also = f"; of {w.count(left_out)} there was no room for them" if left_out else ""
    return [f"Block events of {len(kept)} turns are kept{also}: lab report RUN --events."] if kept else []


def _queue(analysis: Analysis) -> list[str]:
    """The settings of the disk's own queue, where writes wait."""
    known = analysis.run.session.provenance.backing.get("disk_queue")
    settings = {key: value for key, value in known.items() if value is not None} if isinstance(known, dict) else {}
    return [f"Queue of the disk: {w.params(settings)}."] if settings else []


def _how_measured(points: Sequence[Point]) -> list[str]:
    ways: dict[str, list[str]] = {}
    for point in points:
        facts = point.result.facts
        if facts.get("how"):
            devices = ways.setdefault(w.clean(facts["how"]), [])
            devices += [w.clean(facts["device"])] if facts.get("device") else []
    return [
        f"Measured from {how}" + (f" of {w.listing(dict.fromkeys(devices))}." if devices else ".")
        for how, devices in ways.items()
    ]


def _shares(point: Point) -> list[float]:
    """Share of the time per bucket, in the order of BUCKETS; empty where the depth over time is not known."""
    try:
        levels = [(int(level), float(share)) for level, share in mapping_fact(point, "time_at_depth").items()]
    except (TypeError, ValueError):
        return []
    if not levels:
        return []
    return [sum(share for level, share in levels if low <= level <= high) for low, high in BUCKETS]


def _bucket_label(bucket: tuple[int, int]) -> str:
    low, high = bucket
    if low == high:
        return str(low)
    return f"{low}-{high}" if high < BUCKETS[-1][1] else f"{low}+"


def _time_table(points: Sequence[Point]) -> Table | None:
    known = [point for point in points if _shares(point)]
    if not known:
        return None
    varying = varying_fields(known, VARIED)
    columns = (*(each.column for each in varying), BATCH, LAYER, *(Column(_bucket_label(bucket)) for bucket in BUCKETS))
    rows = tuple(
        (
            *(each.cell(point) for each in varying),
            batch_label(point),
            layer_label(point),
            *map(_percent, _shares(point)),
        )
        for point in known
    )
    return Table("depth-time", "Share of the time at each depth", TIME_INTRO, columns, rows)


def _percent(share: float) -> str:
    return w.MISSING if share == 0 else "<0.1" if share < 0.001 else f"{100 * share:.1f}"


def _cost_table(points: Sequence[Point]) -> Table | None:
    known = [point for point in points if point.value(m.TRACE_COST) is not None]
    if not known:
        return None
    fields: list[Field[Point]] = [
        *varying_fields(known, VARIED),
        Field(BATCH, batch_label),
        Field(Column("MiB/s traced", wrap=8), figure_of(m.THROUGHPUT)),
        Field(Column("MiB/s untraced", wrap=8), figure_of(m.UNTRACED)),
        Field(Column("cost %"), figure_of(m.TRACE_COST)),
        turns_field(m.TRACE_COST),
    ]
    return build("trace-cost", "What tracing cost", COST_INTRO, fields, known)


def _findings(points: Sequence[Point]) -> list[str]:
    """The mean at the disk beside the batch: the maximum is the batch size itself, and says little."""
    loops = [point for point in points if point.param("layer") == "loop"]
    disks = [point for point in points if point.param("layer") == "disk"]
    chosen = _at_default(disks or loops or points)
    batch = chosen.param("batch_size")
    under = f"batch {w.clean(batch)}" if batch is not None else "this kernel has no batches"
    loop = find(loops, batch_size=batch)
    said = f"{under}: {_mean(chosen)} at the {layer_label(chosen)} on average"
    if loop is not None and loop is not chosen:
        said += f", {short_cell(loop, m.IN_FLIGHT_MEAN)} at the {layer_label(loop)}"
    idle = mapping_fact(chosen, "time_at_depth").get("0")
    if isinstance(idle, int | float) and idle >= 0.005:
        said += f"; idle {100 * idle:.0f} % of the time"
    odd = [
        f"batch {batch_label(p)} had {w.count(_deepest(p))} instead of {w.count(_number_fact(p, 'expected_max'))}"
        for p in loops or points
        if _verdict(p) not in ("as expected", w.MISSING)
    ]
    said += spoilt(chosen)
    return [f"{said}.", *([f"Most in flight, not as expected: {w.listing(odd)}."] if odd else [])]


def _other_pages(panels: Sequence[tuple[Mapping[str, Any], Sequence[Point]]]) -> list[str]:
    """How deep the queue at the disk is with other pages: what must be decompressed first may come too slowly."""
    main = _main(panels)
    said = []
    for params, members in panels:
        point = _at_default([p for p in members if p.param("layer") == "disk"] or members)
        control = find(main, batch_size=point.param("batch_size"), layer=point.param("layer"))
        if members is main or control is None:
            continue
        own = {key: value for key, value in params.items() if control.param(key) != value}
        compared = ratio(point, control, m.IN_FLIGHT_MEAN)
        times_as = f", {times(compared)} as with {w.param('pages', control.param('pages'))}" if compared else ""
        said.append(
            f"{w.params(own)}, batch {batch_label(point)}: {_mean(point)} at the {layer_label(point)}{times_as}."
        )
    return said


def _at_default(points: Sequence[Point]) -> Point:
    return find(points, batch_size=DEFAULT_BATCH_SIZE) or points[-1]


def _mean(point: Point) -> str:
    mean = figure_cell(point, m.IN_FLIGHT_MEAN)
    return f"at most {w.count(_deepest(point))} writes" if mean == w.MISSING else f"{mean} writes"


def _plot(params: Mapping[str, Any], points: Sequence[Point], key: str) -> Plot:
    known = [point for point in points if _shares(point)]
    layers = list(dict.fromkeys(str(point.param("layer")) for point in known))
    batches = list(dict.fromkeys(batch_label(point) for point in known))
    used = [i for i in range(len(BUCKETS)) if any(_shares(point)[i] >= 0.001 for point in known)]

    def draw(figure: Figure) -> None:
        all_axes = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
        for axes, layer in zip(all_axes, layers, strict=True):
            members = [point for point in known if str(point.param("layer")) == layer]
            _bars(axes, members, batches, used)
            axes.set_title(f"at the {LAYER_WORDS.get(layer, w.clean(layer))}")
            axes.set_xlabel("% of the time")
        all_axes[0].set_ylabel("batch size")
        handles, labels = all_axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(used), handlelength=1.0, columnspacing=1.0,
            title="writes in flight", title_fontsize=8.5,
        )  # fmt: skip

    described = "; ".join(
        f"batch {batch_label(p)} at the {layer_label(p)} mean {w.number(p.value(m.IN_FLIGHT_MEAN))} "
        f"max {w.count(_deepest(p))}"
        for p in known
    )
    caption = f"Share of the time at each number of writes in flight, {w.params(params)}: {described}"
    return plot(key, caption, draw, (INCHES[0], 1.75 + 0.36 * len(batches)))


def _bars(axes: Axes, points: Sequence[Point], batches: Sequence[str], used: Sequence[int]) -> None:
    import matplotlib as mpl

    # Light to dark in even steps of brightness: the order survives print in grey and colour blindness.
    shades = mpl.colormaps["cividis_r"]
    ys = [batches.index(batch_label(point)) for point in points]
    left = [0.0] * len(points)
    for step, index in enumerate(used):
        widths = [100 * _shares(point)[index] for point in points]
        colour = "#ffffff" if index == 0 else shades((step + 0.5) / len(used))
        axes.barh(
            ys, widths, left=left, height=0.62, color=colour, edgecolor="#777777", linewidth=0.4,
            label=_bucket_label(BUCKETS[index]),
        )  # fmt: skip
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for y, point in zip(ys, points, strict=True):
        axes.annotate(
            f"max {w.count(_deepest(point))}", (100, y), xytext=(3, 0), textcoords="offset points",
            va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(batches)), batches)
    axes.set_ylim(len(batches) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 50, 100])
    axes.grid(False, axis="y")
