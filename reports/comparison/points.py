"""Which point of BASE is compared with which of CAND, and the values of both, run by run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from base.units import format_size
from records.model import Caveat, RunResult
from records.reading import StoredRun
from reports.comparison.sides import Side

BATCH = "batch_size"
DATA = "data_bytes"
# A record with this fact chose its amount of data by a first measurement, so that a writeback lasts long enough.
_SIZED = "sized_by_mib_s"


@dataclass(frozen=True, slots=True)
class PooledPoint:
    """One point of one side, from every run that measured it."""

    test: str
    params: Mapping[str, Any]
    parts: tuple[tuple[StoredRun, RunResult], ...]

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        return tuple(dict.fromkeys(caveat for _, result in self.parts for caveat in result.caveats))

    @property
    def held_fixed(self) -> Mapping[str, Any]:
        """The parameters but the batch size, and but the amount of data where the test chose it."""
        return _held_fixed(self.parts[0][1], without=(BATCH,))

    @property
    def books_differ(self) -> bool:
        """Whether a cross-check with the kernel's own counters failed: then the figures are not to be used."""
        checks = [check for _, result in self.parts for check in result.checks.values()]
        return any("expected" not in check or check["expected"] != check.get("seen") for check in checks)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two points that are compared.

    Their batch sizes may differ, see ``pair_points``, and the amount of data where both chose it themselves; all else
    is the same.
    """

    base: PooledPoint
    cand: PooledPoint

    @property
    def test(self) -> str:
        return self.cand.test

    @property
    def params(self) -> Mapping[str, Any]:
        """Parameters of the candidate; of what differs both values, as ``none/32``."""
        differing = {}
        for key, told in ((BATCH, str), (DATA, format_size)):
            both = [point.params.get(key) for point in (self.base, self.cand)]
            if both[0] != both[1]:
                differing[key] = "/".join("none" if each is None else told(each) for each in both)
        return {**self.cand.params, **differing}


@dataclass(frozen=True, slots=True)
class Pairing:
    """Every point of both sides is in a pair or in one of the two lists of points without counterpart."""

    pairs: tuple[Pair, ...]
    only_base: tuple[PooledPoint, ...]
    only_cand: tuple[PooledPoint, ...]

    @property
    def across_batches(self) -> bool:
        """Whether a point without the attribute stands against batch sizes."""
        return any(pair.base.params.get(BATCH) != pair.cand.params.get(BATCH) for pair in self.pairs)


def pair_points(base: Side, cand: Side) -> Pairing:
    """Points with the same test and parameters belong together, whatever amount of data they chose themselves.

    A kernel without ``writeback_batch_size`` has one point where another has one per batch size. That one point is
    compared with each of them: on the one side it is all that the kernel can do, on the other what one may choose.
    """
    mine, other = _pooled(base), _pooled(cand)
    pairs = [Pair(mine[key], other[key]) for key in other if key in mine]
    left = [point for key, point in mine.items() if key not in other]
    right = [point for key, point in other.items() if key not in mine]
    crossed: list[Pair] = []
    if not base.has_batch_size:
        crossed += [Pair(one, two) for one, two in _without_against_with(left, right)]
    if not cand.has_batch_size:
        crossed += [Pair(two, one) for one, two in _without_against_with(right, left)]
    used = {id(point) for pair in crossed for point in (pair.base, pair.cand)}
    tests = list(dict.fromkeys(point.test for point in other.values()))
    return Pairing(
        pairs=tuple(sorted((*pairs, *crossed), key=lambda pair: (tests.index(pair.test), *_rank(pair)))),
        only_base=tuple(point for point in left if id(point) not in used),
        only_cand=tuple(point for point in right if id(point) not in used),
    )


def _without_against_with(
    without: Sequence[PooledPoint], having: Sequence[PooledPoint]
) -> Iterator[tuple[PooledPoint, PooledPoint]]:
    for one in without:
        for two in having:
            alike = one.test == two.test and one.held_fixed == two.held_fixed
            if alike and one.params.get(BATCH, 0) is None and two.params.get(BATCH) is not None:
                yield one, two


def _but_batch(params: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key != BATCH}


def _held_fixed(result: RunResult, *, without: Sequence[str] = ()) -> dict[str, Any]:
    left_out = {*without, DATA} if _SIZED in result.facts else set(without)
    return {key: value for key, value in result.params.items() if key not in left_out}


@dataclass(slots=True)
class _Collected:
    params: Mapping[str, Any]
    parts: list[tuple[StoredRun, RunResult]] = field(default_factory=list)


def _pooled(side: Side) -> dict[tuple[str, str], PooledPoint]:
    """Points that hold figures, by test and parameters. Those that hold facts only have nothing to compare."""
    found: dict[tuple[str, str], _Collected] = {}
    for run in side.runs:
        for result in run.runs:
            if result.metrics or result.raw:
                key = (result.test, json.dumps(_held_fixed(result), sort_keys=True, default=str))
                found.setdefault(key, _Collected(result.params)).parts.append((run, result))
    return {key: PooledPoint(key[0], each.params, tuple(each.parts)) for key, each in found.items()}


def _rank(pair: Pair) -> tuple[Any, ...]:
    """A sweep's own order is shuffled: by parameters, sizes as numbers, batch sizes last."""
    rest = [(key, _number(value), str(value)) for key, value in _but_batch(pair.cand.params).items()]
    return rest, _number(pair.base.params.get(BATCH)), _number(pair.cand.params.get(BATCH))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
