"""The answer in plain words: what a reader who reads nothing else should take away."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from reports import wording as w
from reports.analysis import LATENCY, MIB_PER_S, Analysis, Panel, Point, batch_rank
from reports.ledger import mismatches
from reports.tables import NS_PER_US, batch_label, first_point, panel_title, ratio

KERNEL_DEFAULT_BATCH = 32
# A larger batch that gains less than this is not worth a reader's attention.
WORTHWHILE_GAIN = 1.10


@dataclass(frozen=True, slots=True)
class Verdict:
    """``alarms`` must be read before the figures, ``findings`` are the figures in words."""

    alarms: tuple[str, ...]
    findings: tuple[str, ...]


def verdict(analysis: Analysis) -> Verdict:
    """Alarms and findings of a run, most important first."""
    alarms = [*_state(analysis), *_bad_tests(analysis), *_corruption(analysis), *_books(analysis)]
    findings = [*_throughput(analysis), *_faults(analysis), *_integrity(analysis), *_passed(analysis)]
    return Verdict(tuple(alarms), tuple(findings) or ("Nothing was measured.",))


def headline_panel(analysis: Analysis) -> Panel | None:
    """The hardest case: incompressible pages, the largest data set."""
    hardest = [p for p in analysis.panels if p.params.get("pages") == "incompressible"] or list(analysis.panels)
    return hardest[-1] if hardest else None


def headline_points(panel: Panel) -> list[Point]:
    """The slot order that a phone sees, random, or else the first one measured."""
    lines = panel.by_order()
    return lines.get("random") or next(iter(lines.values()))


def flat_from(points: list[Point]) -> Point | None:
    """The smallest batch that no larger one beats by a worthwhile margin; None if that is the largest one."""
    ordered = sorted(points, key=batch_rank)
    for index, point in enumerate(ordered[:-1]):
        mine = point.median(MIB_PER_S)
        best = max(p.median(MIB_PER_S) or 0.0 for p in ordered[index + 1 :])
        if mine and best <= WORTHWHILE_GAIN * mine:
            return point
    return None


def _state(analysis: Analysis) -> list[str]:
    if analysis.run.complete:
        return []
    return ["The run did not reach its end: it was killed or the host went down. Figures up to there are whole."]


def _bad_tests(analysis: Analysis) -> list[str]:
    outcomes = analysis.run.outcomes
    bad = [o for o in outcomes if o.outcome in ("failed", "error")]
    if not bad:
        return []
    named = "; ".join(
        f"{w.clean(o.title or o.test)} ({textwrap.shorten(w.clean(o.reason), 160) or o.outcome})" for o in bad[:3]
    )
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    return [f"{len(bad)} of {len(outcomes)} tests did not pass: {named}{more}."]


def _corruption(analysis: Analysis) -> list[str]:
    corrupt = sum(sum(p.result.metrics["integrity.corrupt"].values) for p in analysis.integrity)
    return [f"DATA CORRUPTION: {w.count(corrupt)} pages came back different."] if corrupt else []


def _books(analysis: Analysis) -> list[str]:
    wrong = mismatches(analysis.points)
    if not wrong:
        return []
    names = w.listing(dict.fromkeys(f"{w.clean(result.test)} ({w.clean(name)})" for result, name in wrong))
    return [f"The kernel's own counters disagree with the measurement: {names}. Do not use those figures."]


def _throughput(analysis: Analysis) -> list[str]:
    panel = headline_panel(analysis)
    if panel is None:
        return []
    points = headline_points(panel)
    base = first_point(points)
    phone = "this virtual phone" if analysis.run.session.provenance.virtual else "this phone"
    order = points[0].result.params.get("order")
    where = panel_title(panel) + (f", {w.clean(order)} slot order" if order else "")
    chosen = next((p for p in points if p.result.params.get("batch_size") == KERNEL_DEFAULT_BATCH), points[-1])
    if base.result.params.get("batch_size") is None:
        one = f"On {phone}, writeback reached {_rate(base)} ({where}); this kernel writes one page at a time."
        return [one]
    if chosen is base:
        return [f"On {phone}, batch {batch_label(chosen)} wrote back {_rate(chosen)} ({where})."]
    times = w.number(ratio(chosen, base, MIB_PER_S), 2)
    compared = f"{times} times batch {batch_label(base)}" + (
        ", yet their intervals overlap" if _overlap(chosen, base) else ""
    )
    sentences = [f"On {phone}, batch {batch_label(chosen)} wrote back {_rate(chosen)}, {compared} ({where})."]
    flat = flat_from(points)
    if flat is not None:
        sentences.append(f"Batches above {batch_label(flat)} gain less than 10 %.")
    return sentences


def _faults(analysis: Analysis) -> list[str]:
    sentences = []
    for points in analysis.faults:
        medians = {p.result.params.get("slot"): p.quantile(LATENCY, "p50") for p in points}
        ram, written = medians.get("ram"), medians.get("written_back")
        if ram is None or written is None or not ram.value or not written.value:
            continue
        rest = w.params(points[0].result.params, without=("slot",))
        sentences.append(
            f"A fault on a written-back page took {w.number(written.value / NS_PER_US)} µs at the median against "
            f"{w.number(ram.value / NS_PER_US)} µs from RAM, {w.number(written.value / ram.value, 2)} times as long"
            + (f" ({rest})." if rest else ".")
        )
    return sentences


def _integrity(analysis: Analysis) -> list[str]:
    metrics = [p.result.metrics for p in analysis.integrity]
    checked = sum(sum(each["integrity.pages"].values) for each in metrics if "integrity.pages" in each)
    corrupt = sum(sum(each["integrity.corrupt"].values) for each in metrics)
    if not checked or corrupt:
        return []
    return [f"All {w.count(checked)} pages that were checked came back intact."]


def _passed(analysis: Analysis) -> list[str]:
    outcomes = [o.outcome for o in analysis.run.outcomes]
    passed, skipped = outcomes.count("passed"), outcomes.count("skipped")
    if not outcomes or passed + skipped < len(outcomes):
        return []
    return [f"{passed} tests passed" + (f", {skipped} skipped." if skipped else ".")]


def _rate(point: Point) -> str:
    summary = point.figures[MIB_PER_S]
    found = f" {w.interval(summary.interval)}" if summary.interval else ""
    return f"{w.number(summary.median)} MiB/s{found}"


def _overlap(one: Point, other: Point) -> bool:
    first, second = one.figures[MIB_PER_S].interval, other.figures[MIB_PER_S].interval
    return first is not None and second is not None and first.overlaps(second)
