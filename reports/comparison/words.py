"""A comparison in sentences: what a reader who reads nothing else should take away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from records.metrics import CORRUPT, METRICS
from records.model import Caveat, Provenance
from reports import wording as w
from reports.comparison.compare import Comparison
from reports.comparison.points import PooledPoint
from reports.comparison.sides import Side
from reports.comparison.verdicts import Compared, Verdict

NAMED_AT_MOST = 3


def findings(comparison: Comparison) -> list[str]:
    """The verdicts in words, regressions first."""
    said = [_tally(comparison)]
    for verdict in (Verdict.worse, Verdict.better, Verdict.same):
        said += _by_metric(comparison, verdict)
    if comparison.pairing.across_batches:
        said.append(_across_batches(comparison))
    return said


def alarms(comparison: Comparison) -> list[str]:
    """What must be read before the figures."""
    said = []
    for who, side in (("BASE", comparison.base), ("CAND", comparison.cand)):
        metrics = (result.metrics.get(CORRUPT.name) for run in side.runs for result in run.runs)
        if corrupt := sum(sum(metric.values) for metric in metrics if metric):
            said.append(f"{who}: DATA CORRUPTION: {w.count(corrupt)} pages came back different.")
    said += [alarm for side in (comparison.base, comparison.cand) for alarm in _state(side)]
    pairing = comparison.pairing
    for who, other, points in (("BASE", "CAND", pairing.only_base), ("CAND", "BASE", pairing.only_cand)):
        if points:
            said.append(
                f"Measured in {who} only, so not compared: {_counted(points)}. There is no such point in {other}."
            )
    return said


def doubts(comparison: Comparison) -> list[str]:
    """What holds for all figures of one side or both."""
    base, cand = comparison.base, comparison.cand
    said = []
    # A run that was cut off is told by name, with what must be read first.
    for caveat in dict.fromkeys(c for c in (*base.caveats, *cand.caveats) if c is not Caveat.incomplete_run):
        who = [side.name for side in (base, cand) if caveat in side.caveats]
        said.append(f"{w.listing(who)}: {caveat.value}")
    single = [side.name for side in (base, cand) if len(side.runs) == 1]
    if single:
        said.append(
            f"{w.listing(single)}: one run only. What runs differ by for no reason is taken to be 1.2 %; if it is "
            "more, a difference may be a run's. Four runs a side would show it."
        )
    return said


def title(comparison: Comparison) -> str:
    """Both sides in one line."""
    return f"zram writeback: {side_name(comparison.cand)} against {side_name(comparison.base)}"


def side_name(side: Side) -> str:
    """``CAND (Linux 7.3.4+deb13-amd64, 3 runs)``."""
    runs = "" if len(side.runs) == 1 else f", {len(side.runs)} runs"
    return f"{side.name} (Linux {w.clean(side.provenance.kernel_release)}{runs})"


def phone(p: Provenance) -> str:
    """Maker and model, and what is emulated."""
    known = " ".join(w.clean(part) for part in (p.manufacturer, p.model) if part) or w.clean(p.device)
    return f"{known}, virtual, {w.clean(p.accelerator)}" if p.virtual else known


def percent(share: float) -> str:
    return f"{100 * share:g} %"


def how(comparison: Comparison) -> str:
    """How the verdicts are made, in one paragraph."""
    least = percent(comparison.relevant)
    primary = sum(each.figure.is_primary for each in comparison.judged)
    return (
        "ratio: CAND over BASE (Hodges-Lehmann), with its 95 % interval. better, worse: a t-test on the runs' figures "
        f"shows a difference of more than {least}, corrected among the {primary} primary figures (throughput and CPU "
        f"by batch, p50 and p99 of latencies) or the {len(comparison.judged) - primary} others (false discovery rate "
        f"5 %). same: the whole interval is within {least}. disturbed: other work disturbed too many turns. not "
        "enough data: none of these. A latency is one value a turn, or a block of samples where there are no turns, "
        "because neighbouring samples are not independent."
    )


def tally(judged: Sequence[Compared]) -> str:
    """``1 worse, 1 better and 3 same``; empty for no figures."""
    counts = Counter(each.verdict for each in judged)
    return w.listing(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if verdict and counts[verdict])


def figures(count: int, which: str = "") -> str:
    """``12 other figures``."""
    return " ".join(filter(None, (str(count), which, "figure" if count == 1 else "figures")))


def turns(side: Side) -> str:
    """``470 turns, 47 disturbed``."""
    return f"{len(side.turns)} turns, {side.disturbed} disturbed" if side.turns else "no turns"


def name(each: Compared) -> str:
    """A figure by its words, parameters and quantile."""
    figure = each.figure
    return " ".join(filter(None, (metric_words(figure.metric), figure.quantile, f"({w.params(figure.pair.params)})")))


def place(point: PooledPoint) -> str:
    """A point's test and parameters."""
    where = w.params(point.params)
    return w.clean(point.test) + (f" ({where})" if where else "")


def metric_words(metric: str) -> str:
    row = METRICS.get(metric)
    return row.words if row else w.clean(metric)


def capital(text: str) -> str:
    """With a capital letter in front; those behind stay as they are."""
    return text[:1].upper() + text[1:]


def _tally(comparison: Comparison) -> str:
    judged = comparison.judged
    head = f"{side_name(comparison.cand)} against {side_name(comparison.base)}: "
    if not judged:
        return head + "nothing that carries a verdict was measured on both sides."
    open_ones = (Verdict.undecided, Verdict.disturbed)
    closing = " Nothing could be decided." if all(each.verdict in open_ones for each in judged) else ""
    return f"{head}of {len(judged)} figures {tally(judged)}.{closing}"


def _across_batches(comparison: Comparison) -> str:
    if comparison.base.has_batch_size:
        without, having, example = "CAND", "BASE", "batch 32/none: 32 in BASE, none in CAND"
    else:
        without, having, example = "BASE", "CAND", "batch none/32: none in BASE, 32 in CAND"
    return (
        f"{without} has no writeback_batch_size: its one point, one page at a time, stands against each batch size of "
        f"{having} ({example})."
    )


def _by_metric(comparison: Comparison, verdict: Verdict) -> list[str]:
    judged = comparison.judged
    said = []
    for test, metric in dict.fromkeys((each.figure.pair.test, each.figure.metric) for each in judged):
        alike = [each for each in judged if (each.figure.pair.test, each.figure.metric) == (test, metric)]
        found = [each for each in alike if each.verdict is verdict]
        if not found:
            continue
        elsewhere = any(each.figure.metric == metric and each.figure.pair.test != test for each in judged)
        where = f" ({w.clean(test)})" if elsewhere else ""
        ratios = [each.ratio for each in found if each.ratio is not None]
        span = f", {_times(ratios)}" if ratios else ""
        named = f": {_named(found)}" if verdict is Verdict.worse else ""
        said.append(
            f"{capital(verdict.value)}: {metric_words(metric)}{where}, {len(found)} of {len(alike)} "
            f"figures{span}{named}."
        )
    return said


def _times(ratios: list[float]) -> str:
    low, high = w.number(min(ratios)), w.number(max(ratios))
    return f"{low} times BASE" if low == high else f"{low} to {high} times BASE"


def _named(members: list[Compared]) -> str:
    names = [" ".join(filter(None, (w.params(each.figure.pair.params), each.figure.quantile))) for each in members]
    more = f"; and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return "; ".join(names[:NAMED_AT_MOST]) + more


def _state(side: Side) -> Iterable[str]:
    for run in side.runs:
        if not run.complete:
            yield (
                f"{side.name}: {w.clean(run.folder.name)} did not reach its end: it is compared as far as it goes, and "
                "the figures up to there are whole."
            )


def _counted(points: Iterable[PooledPoint]) -> str:
    tests: dict[str, int] = {}
    for point in points:
        tests[point.test] = tests.get(point.test, 0) + 1
    return w.listing(f"{w.clean(test)}, {count} point{'s' if count > 1 else ''}" for test, count in tests.items())
