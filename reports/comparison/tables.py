"""The tables of a comparison as data, for text and HTML alike."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from base.units import NS_PER_US
from reports import wording as w
from reports.comparison import words
from reports.comparison.compare import Comparison
from reports.comparison.sides import Side
from reports.comparison.verdicts import Compared, Verdict
from reports.tables import Column, Doubts, Table


def verdict_tables(comparison: Comparison) -> list[Table]:
    """One table per test and metric that carries verdicts."""
    return [_verdict_table(f"verdicts-{number}", group) for number, group in enumerate(grouped(comparison), 1)]


def grouped(comparison: Comparison) -> list[list[Compared]]:
    """Figures with verdicts by test and metric, in the order of their tables."""
    groups: dict[tuple[str, str], list[Compared]] = {}
    for each in comparison.judged:
        groups.setdefault((each.figure.pair.test, each.figure.metric), []).append(each)
    return list(groups.values())


def shared(all_params: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The parameters that are the same at all points."""
    first = all_params[0]
    return {key: value for key, value in first.items() if all(each.get(key, _ABSENT) == value for each in all_params)}


_ABSENT = object()


def difference_table(comparison: Comparison) -> Table:
    """What is compared with what, and everything that is not the same on both sides."""
    base, cand = comparison.base, comparison.cand
    rows = [("runs", _runs(base), _runs(cand))]
    rows += [("turns", words.turns(base), words.turns(cand))] if base.turns or cand.turns else []
    rows += [(each.what, each.base, each.cand) for each in comparison.differs]
    columns = (Column("differs", False, 22), Column("BASE", False, 36), Column("CAND", False, 36))
    same = "" if comparison.differs else " Kernel and settings are the same on both sides."
    return Table("differs", "What differs", f"Both on {words.phone(cand.provenance)}.{same}", columns, tuple(rows))


def missing_table(comparison: Comparison) -> Table | None:
    """Every point without counterpart, by name."""
    pairing = comparison.pairing
    rows = [
        (only, words.place(point))
        for only, points in (("BASE", pairing.only_base), ("CAND", pairing.only_cand))
        for point in points
    ]
    if not rows:
        return None
    return Table(
        "missing", "Without counterpart", "Measured on one side only, so not compared.",
        (Column("only in", False), Column("point", False, 80)), tuple(rows),
    )  # fmt: skip


def information_table(comparison: Comparison) -> Table | None:
    """Figures without verdict: one row per metric, over all of its points."""
    groups: dict[tuple[str, str, str], list[Compared]] = {}
    for each in comparison.with_verdict(Verdict.none):
        figure = each.figure
        name = f"{figure.metric} {figure.quantile}".strip()
        groups.setdefault((figure.pair.test, name, figure.unit), []).append(each)
    if not groups:
        return None
    heads = [Column("test", False, 24), Column("figure", False, 28), Column("unit", False), Column("points")]
    rows = tuple(
        (w.clean(test), w.clean(metric), w.clean(unit), str(len(members)), *_summed_up(members))
        for (test, metric, unit), members in groups.items()
    )
    return Table(
        "information", "Without verdict",
        "Counts, what follows from another figure, and what is measured once per run: the middle of all points, and "
        "the ratio's smallest, middle and largest. --format json has every point.",
        (*heads, *map(Column, ("BASE", "CAND", "least", "ratio", "most"))), rows,
    )  # fmt: skip


def _verdict_table(key: str, group: Sequence[Compared]) -> Table:
    figure = group[0].figure
    same = shared([each.figure.pair.params for each in group])
    doubts, reasons = Doubts(), _Reasons()
    scale, unit = (NS_PER_US, "µs") if figure.unit == "ns" else (1.0, w.clean(figure.unit))
    rows = tuple(
        (
            w.params(each.figure.pair.params, without=same) or "all",
            each.figure.quantile,
            _n(each),
            _left_out(each),
            _scaled(each.figure.base.figure, scale),
            _scaled(each.figure.cand.figure, scale),
            w.number(each.ratio),
            w.MISSING if each.interval is None else w.span(*each.interval),
            each.verdict.value + reasons.mark(each),
            doubts.marks(each.caveats),
        )
        for each in group
    )
    columns = (
        Column("at", False, 30), Column("", False), Column("n"), Column("disturbed"), Column("BASE"), Column("CAND"),
        Column("ratio"), Column("interval"), Column("verdict", False, 12), Column("doubts", False),
    )  # fmt: skip
    title = f"{words.capital(words.metric_words(figure.metric))} in {unit}, {figure.better} is better"
    title += f" ({w.clean(figure.pair.test)})"
    intro = f"All at: {w.params(same)}." if same else ""
    return Table(key, title, intro, columns, rows, (*reasons.notes(), *doubts.notes()))


class _Reasons:
    """Numbers the reasons why there is not enough data, in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, each: Compared) -> str:
        if not each.why:
            return ""
        reason = f"{each.verdict.value}: {reason_of(each)}"
        return f" ({self._numbers.setdefault(reason, len(self._numbers) + 1)})"

    def notes(self) -> tuple[str, ...]:
        return tuple(f"{number}: {reason}" for reason, number in self._numbers.items())


def reason_of(each: Compared) -> str:
    """Why nothing was decided, and what would decide it."""
    return "; ".join(filter(None, (each.why, each.advice.words)))


def _n(each: Compared) -> str:
    base, cand = each.figure.base.n, each.figure.cand.n
    return str(base) if base == cand else f"{base}/{cand}"


def _left_out(each: Compared) -> str:
    """Disturbed turns of both sides; nothing where there are none."""
    base, cand = each.figure.base.disturbed, each.figure.cand.disturbed
    return f"{base}/{cand}" if base or cand else ""


def _scaled(value: float | None, scale: float) -> str:
    return w.MISSING if value is None else w.number(value / scale)


def _summed_up(members: Sequence[Compared]) -> tuple[str, ...]:
    base, cand = (
        [side.figure for side in sides if side.figure is not None]
        for sides in ([each.figure.base for each in members], [each.figure.cand for each in members])
    )
    ratios = [each.ratio for each in members if each.ratio is not None]
    if not ratios:
        return _middle(base), _middle(cand), w.MISSING, w.MISSING, w.MISSING
    spread = [w.number(min(ratios)), w.number(statistics.median(ratios)), w.number(max(ratios))]
    if len(ratios) == 1:
        spread[0] = spread[2] = w.MISSING
    return _middle(base), _middle(cand), *spread


def _middle(values: Sequence[float]) -> str:
    if not values:
        return w.MISSING
    value = statistics.median(values)
    return w.count(value) if value == int(value) else w.number(value)


def _runs(side: Side) -> str:
    return "\n".join(w.clean(run.folder.name) for run in side.runs)
