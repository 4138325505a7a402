"""What stands first in every report: the table by batch size, the doubts about the run, and what disturbed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from records import metrics as m
from records.model import Caveat
from reports import wording as w
from reports.analysis import Analysis
from reports.cells import batch_label, figure_cell, short_cell
from reports.point import Point, find
from reports.sections import depth, faults_writeback, throughput
from reports.tables import Column, Field, Table, build

TITLE = "By batch size"
INTRO = (
    "At the disk: writes in flight there on average. Fault: µs for a written-back page while such a writeback "
    "runs, and behind how many writes."
)
VIRTUAL = "a functional test; no figure or ratio of it may be quoted"


@dataclass(frozen=True, slots=True)
class Batch:
    """What was measured at one batch size, by test."""

    label: str
    rate: Point | None
    depth: Point | None
    fault: Point | None

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """None: what is in doubt is told once for the whole run."""
        return ()


def batch_table(analysis: Analysis) -> Table | None:
    """One row per batch size: throughput, its cost, depth at the disk, and faults meanwhile; None without any."""
    where, rates = throughput.batches(analysis)
    disks, faults = depth.batches(analysis), faults_writeback.batches(analysis)
    labels = {batch_label(point): point.param("batch_size") for point in (*rates, *disks, *faults)}
    rows = [
        Batch(label, *(find(points, batch_size=batch) for points in (rates, disks, faults)))
        for label, batch in sorted(labels.items(), key=lambda each: _rank(each[1]))
    ]
    title = f"{TITLE}: {where}" if where else TITLE
    return build("overview", title, INTRO, FIELDS, rows) if rows else None


def noise(analysis: Analysis) -> str:
    """How many turns other work disturbed, and how long the phone's CPUs had to wait for somebody else."""
    end = analysis.run.end
    told: Any = end.facts.get("noise") if end else None
    turns = [turn for point in analysis.points for turn in point.result.turns]
    waits = [turn.wait for turn in turns if turn.wait is not None]
    seen = {
        "turns": len(turns),
        "disturbed": sum(bool(turn.disturbed) for turn in turns),
        "wait_median": median(waits) if waits else None,
        "wait_worst": max(waits, default=None),
    }
    known = (told if isinstance(told, dict) else seen).items()
    found = {name: float(value) for name, value in known if isinstance(value, int | float)}
    count, spoilt = found.get("turns"), found.get("disturbed")
    if not count or spoilt is None:
        return "not known: this run has no turns"
    share = f"{100 * spoilt / count:.0f} % of turns disturbed ({w.count(spoilt)} of {w.count(count)})"
    if "wait_median" not in found or "wait_worst" not in found:
        return f"{share}; CPU wait not measured"
    waited = [f"{100 * found[name]:.1f} %" for name in ("wait_median", "wait_worst")]
    return f"{share}; CPU wait median {waited[0]}, worst {waited[1]}"


def doubts(analysis: Analysis) -> list[str]:
    """Every doubt once: first those about all figures, then those about some, with the number of their points."""
    everywhere = [c for c in analysis.session_caveats if c is not Caveat.virtual]
    counts: dict[Caveat, int] = {}
    for point in analysis.points:
        for caveat in point.caveats:
            counts[caveat] = counts.get(caveat, 0) + 1
    total = len(analysis.points)
    return [
        *(f"all figures: {caveat.value}" for caveat in everywhere),
        *(f"{count} of {total} points: {caveat.value}" for caveat, count in counts.items()),
    ]


def _rank(batch: object) -> tuple[float, str]:
    return (float(batch), "") if isinstance(batch, int | float) else (0.0, str(batch))


def _rate(batch: Batch) -> str:
    return figure_cell(batch.rate, m.THROUGHPUT) if batch.rate else w.MISSING


def _of(point: Point | None, metric: m.Quantity, quantile: str | None = None) -> str:
    return short_cell(point, metric, quantile) if point else w.MISSING


FIELDS: Sequence[Field[Batch]] = (
    Field(Column("batch"), lambda batch: batch.label),
    Field(Column("MiB/s [95 %]"), _rate),
    Field(Column("real s"), lambda batch: _of(batch.rate, m.WALL)),
    Field(Column("sys s"), lambda batch: _of(batch.rate, m.SYS_CPU)),
    Field(Column("CPU µs/page", wrap=7), lambda batch: _of(batch.rate, m.CPU_ALL)),
    Field(Column("at the disk", wrap=6), lambda batch: _of(batch.depth, m.IN_FLIGHT_MEAN)),
    Field(Column("writes ahead", wrap=6), lambda batch: _of(batch.fault, m.WRITES_AHEAD)),
    Field(Column("fault p50", wrap=6), lambda batch: _of(batch.fault, m.FAULT_LATENCY, "p50")),
    Field(Column("fault p99", wrap=6), lambda batch: _of(batch.fault, m.FAULT_LATENCY, "p99")),
)
