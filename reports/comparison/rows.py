"""The one table of a screen or a mail: as many figures as there is room for, the rest of each group in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from base.units import NS_PER_US
from records.metrics import CPU_ALL, SYS_CPU
from records.tests import TESTS, THROUGHPUT
from reports import wording as w
from reports.comparison import words
from reports.comparison.compare import Comparison
from reports.comparison.points import BATCH
from reports.comparison.tables import shared
from reports.comparison.verdicts import Compared, Verdict
from reports.text import MAIL_WIDTH

# Widths of BASE, CAND and the ratio.
_VALUE, _RATIO = 7, 5
_SHORT = {Verdict.undecided: "?", Verdict.none: w.MISSING}


def wanted(comparison: Comparison) -> list[Compared]:
    """The figures that deserve a row, the most wanted first.

    That is each primary one, and others only where they are better or worse. Where nothing primary was measured it is
    whatever carries a verdict.
    """
    system_time = _system_time(comparison)
    of_schema_1 = {id(each) for each in system_time}
    primary = [each for each in comparison.figures if each.figure.is_primary or id(each) in of_schema_1]
    if not primary:
        return sorted(comparison.judged or comparison.figures, key=_rank)
    decided = (Verdict.worse, Verdict.better)
    return sorted(
        [*primary, *(e for e in comparison.figures if not e.figure.is_primary and e.verdict in decided)], key=_rank
    )


def table(comparison: Comparison, room: int, width: int) -> list[str]:
    """The lines of the table, at most ``room``, none wider than ``width``."""
    ranked = wanted(comparison)
    has_primary = any(each.figure.is_primary for each in ranked)
    place = {id(each): number for number, each in enumerate(comparison.figures)}
    groups: list[_Group] = []
    for count in range(min(len(ranked), room), -1, -1):
        # Others are counted below the table.
        left = [each for each in ranked[count:] if each.figure.is_primary or not has_primary]
        groups = _grouped(sorted(ranked[:count], key=lambda each: place[id(each)]), left)
        if sum(group.height for group in groups) + bool(count) <= room:
            break
    lines = _drawn(groups, width)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"{len(lines) - room + 1} more lines like these: -v"]
    return [_cut(line, width) for line in lines]


@dataclass(frozen=True, slots=True)
class _Group:
    """Figures of one metric of one test: those with a row, and those that are folded into one line."""

    shown: tuple[Compared, ...]
    folded: tuple[Compared, ...]

    @property
    def height(self) -> int:
        return (1 + len(self.shown) if self.shown else 0) + bool(self.folded)

    @property
    def first(self) -> Compared:
        return (*self.shown, *self.folded)[0]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Widths of columns. A mail has room for the ends of an interval, and not for brackets around them."""

    width: int
    verdict: int

    @property
    def is_mail(self) -> bool:
        return self.width <= MAIL_WIDTH

    @property
    def interval(self) -> int:
        return 11 if self.is_mail else 16

    @property
    def label(self) -> int:
        """What the other columns leave."""
        return self.width - 2 * _VALUE - _RATIO - self.interval - self.verdict - len("  " * 4 + " ")

    def line(self, label: str, base: str, cand: str, ratio: str, interval: str, verdict: str) -> str:
        numbers = f"{base:>{_VALUE}} {cand:>{_VALUE}}  {ratio:>{_RATIO}}  {interval:>{self.interval}}"
        return f"{label:<{self.label}}  {numbers}  {verdict}".rstrip()


def _system_time(comparison: Comparison) -> list[Compared]:
    """What runs of schema 1 have in place of the CPU time per page: shown, and not judged."""
    per_page = {id(each.figure.pair) for each in comparison.figures if each.figure.metric == CPU_ALL.name}
    return [
        each
        for each in comparison.figures
        if each.figure.metric == SYS_CPU.name
        and each.figure.pair.test == THROUGHPUT.name
        and id(each.figure.pair) not in per_page
    ]


def _rank(each: Compared) -> tuple[int, bool]:
    """Whatever is worse first; of the rest, primary ones first."""
    primary = each.figure.is_primary
    order = {Verdict.worse: 0 if primary else 1, Verdict.better: 2 if primary else 5, Verdict.none: 4}
    return order.get(each.verdict, 3), each.figure.pair.test != THROUGHPUT.name


def _grouped(shown: Sequence[Compared], folded: Sequence[Compared]) -> list[_Group]:
    found: dict[tuple[str, str, str], tuple[list[Compared], list[Compared]]] = {}
    for number, members in enumerate((shown, folded)):
        for each in members:
            figure = each.figure
            found.setdefault((figure.pair.test, figure.metric, figure.quantile), ([], []))[number].append(each)
    return [_Group(tuple(rows), tuple(rest)) for rows, rest in found.values()]


def _drawn(groups: Sequence[_Group], width: int) -> list[str]:
    is_mail = width <= MAIL_WIDTH
    verdicts = [_verdict(each, is_mail) for group in groups for each in group.shown]
    layout = _Layout(width, max(map(len, ("verdict", *verdicts))))
    tests = {(group.first.figure.metric, group.first.figure.pair.test) for group in groups}
    lines = [layout.line("", "BASE", "CAND", "ratio", "95 %" if is_mail else "95 % interval", "verdict")]
    lines = lines if verdicts else []
    for group in groups:
        names_test = sum(metric == group.first.figure.metric for metric, _ in tests) > 1
        same = _same(group.shown)
        if group.shown:
            lines.append(_cut(_head(group.first, same, names_test=names_test), width))
        lines += [_row(each, same, layout) for each in group.shown]
        if group.folded:
            name = " more" if group.shown else _name(group.first, names_test=names_test)
            lines.append(f"{name}: {_folded(group.folded, is_mail)}")
    return lines


def _row(each: Compared, same: Mapping[str, Any], layout: _Layout) -> str:
    scale = NS_PER_US if each.figure.unit == "ns" else 1.0
    base, cand = (
        w.MISSING if side.figure is None else w.number(side.figure / scale)
        for side in (each.figure.base, each.figure.cand)
    )
    interval = w.MISSING
    if each.interval is not None:
        interval = "-".join(map(w.number, each.interval)) if layout.is_mail else w.span(*each.interval)
    label = f" {_label(each, same, layout.label - 1)}"
    return layout.line(label, base, cand, w.number(each.ratio), interval, _verdict(each, layout.is_mail))


def _verdict(each: Compared, is_mail: bool) -> str:
    """The verdict, and how many turns of BASE and CAND were left out."""
    base, cand = each.figure.base.disturbed, each.figure.cand.disturbed
    word = _SHORT.get(each.verdict, each.verdict.value) if is_mail or not each.verdict else each.verdict.value
    return f"{word} -{base}/{cand}" if base or cand else word


def _same(members: Sequence[Compared]) -> Mapping[str, Any]:
    """What all rows of a group have in common; a batch size always stands in the row."""
    if not members:
        return {}
    return {key: value for key, value in shared([each.figure.pair.params for each in members]).items() if key != BATCH}


def _head(each: Compared, same: Mapping[str, Any], *, names_test: bool) -> str:
    unit = "us" if each.figure.unit == "ns" else w.clean(each.figure.unit)
    where = f" ({w.params(same)})" if same else ""
    return f"{_name(each, names_test=names_test)} [{unit}]{where}"


def _name(each: Compared, *, names_test: bool) -> str:
    """``names_test``: others measured this too. A test that is there to measure it is name enough."""
    figure, test = each.figure, TESTS.get(each.figure.pair.test)
    if names_test and test and test.needs and test.needs.name == figure.metric:
        return f"{test.name} {figure.quantile}".strip()
    name = f"{words.metric_words(figure.metric)} {figure.quantile}".strip()
    return f"{name}, {w.clean(figure.pair.test)}" if names_test else name


def _label(each: Compared, same: Mapping[str, Any], width: int) -> str:
    params = each.figure.pair.params
    in_full = w.params(params, without=same) or "all"
    if len(in_full) <= width:
        return in_full
    # Values that stand for themselves: "storage, running, batch 32".
    bare = [
        w.params({key: value}) if key == BATCH else w.param(key, value)
        for key, value in params.items()
        if key not in same
    ]
    return _cut(", ".join(bare), width)


def _folded(members: Sequence[Compared], is_mail: bool) -> str:
    """``10 same and 2 not enough data, ratio 0.98-1.03, widest interval 0.71-1.40``."""
    said = [words.tally(members) or f"{len(members)} without verdict"]
    ratios = [each.ratio for each in members if each.ratio is not None]
    if ratios:
        said.append("ratio " + "-".join(dict.fromkeys((w.number(min(ratios)), w.number(max(ratios))))))
    intervals = [each.interval for each in members if each.interval is not None and each.interval[0] > 0]
    if intervals and not is_mail:
        low, high = max(intervals, key=lambda ends: float(ends[1] / ends[0]))
        said.append(f"widest interval {w.number(low)}-{w.number(high)}")
    told = ", ".join(said)
    return told.replace(Verdict.undecided.value, "?") if is_mail else told


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 3)]}..."
